"""What must hold when all clients are done: I3. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from robustness.soak.client import ClientRecord, Script


def lost(script: Script, records: Sequence[ClientRecord], counted: Mapping[str, int]) -> list[str]:
    """Turns that were accepted and not completed, in order, once.

    counted: how many turns of a session the store has as completed.
    """
    found = []
    for each in records:
        wanted = [script.turn_id(number) for number in range(script.turns)]
        if each.events.completed != wanted:
            found.append(f"{each.session_id}: {len(each.events.completed)} of {len(wanted)} turns were told completed")
        if counted[each.session_id] != len(wanted):
            found.append(f"{each.session_id}: the store has {counted[each.session_id]} of {len(wanted)} turns")
    return found


def twice(commits: Iterable[Mapping[str, object]]) -> list[str]:
    """Turns that were run to completion twice; commits: the audit's `turn_committed` lines."""
    seen = Counter((line["session"], line["turn"]) for line in commits)
    return [f"{session}: {turn} was committed {times} times" for (session, turn), times in seen.items() if times > 1]
