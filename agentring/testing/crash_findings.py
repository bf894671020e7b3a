"""What differs between a turn that was cut off and one that was not, in words that say what to do."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agentring.testing.effect import Effect, EffectCall
from agentring.testing.ended_turn import Turn

_COMPARED = ("failure", "text", "result", "state", "emitted")

_OUTSIDE = (
    "{name} is called outside of any step, and what is not in a step runs again in every attempt: call it by "
    'await ctx.step("{name}", {name}, ...)'
)
_INSIDE = (
    "a step that was cut off after its function was called runs again: let {name} have a parameter idempotency_key, "
    "which is the same in every attempt, and hand it on to the service, or call the step with idempotent=False"
)
_TWO_KEYS = "it was called with different idempotency keys: use the one that the step hands to the function"
_WATCHED = (
    "what is not in a step runs again in every attempt, and a step that was cut off before its outcome was recorded "
    "does, too: put the effect into a step, and let it have the step's idempotency_key"
)
_DIVERGED = (
    "in every attempt the agent must ask for the same steps in the same order: what decides on them must come from "
    "steps, from ctx.state, or from ctx.now(), ctx.uuid() and ctx.random()"
)
_ENDS = (
    "what ends otherwise in the next attempt was made outside of steps (the time, a random number, ctx.attempt, "
    "something in memory): make it in a step, or say accepts= where this end is right, too"
)


class Tried(Protocol):
    """One run of the turn."""

    @property
    def turn(self) -> Turn:
        """How it ended."""

    @property
    def effects(self) -> list[tuple[Effect, EffectCall]]:
        """In their order."""

    @property
    def watched(self) -> dict[str, Any]:
        """What else was looked at."""


@dataclass(frozen=True)
class Finding:
    """One difference."""

    where: str
    """The cut; empty: it is of no single one."""
    what: str


def differences(whole: Tried, cut_off: Tried, accepts: Callable[[Turn], bool] | None) -> list[str]:
    """whole: without a crash; accepts: whether another end is right, too. With such an end effects may be missing."""
    same_end = _end(whole.turn) == _end(cut_off.turn)
    accepted = not same_end and accepts is not None and accepts(cut_off.turn)
    found = [] if same_end or accepted else [_ends(whole.turn, cut_off.turn)]
    found += _effects(whole, cut_off, may_miss=accepted)
    for name, value in whole.watched.items():
        if cut_off.watched[name] != value and not accepted:
            found.append(f"{name} is {cut_off.watched[name]!r}, without a crash {value!r}\n  {_WATCHED}")
    return found


def text_of(findings: Sequence[Finding], cuts: int, *, shown: int) -> str:
    """For the one who reads the test's failure: equal findings once, with the places."""
    places: dict[str, list[str]] = {}
    for finding in findings:
        places.setdefault(finding.what, []).append(finding.where)
    lines = [f"the turn was cut off at {cuts} places, and its next attempt does not always make up for it"]
    for what, wheres in list(places.items())[:shown]:
        lines += ["", *what.splitlines()]
        named = [where for where in wheres if where]
        lines += [f"  the node died {where}" for where in named[:shown]]
        if len(named) > shown:
            lines.append(f"  and at {len(named) - shown} places more")
    if len(places) > shown:
        lines += ["", f"and {len(places) - shown} findings more"]
    return "\n".join(lines)


def _end(turn: Turn) -> tuple[Any, ...]:
    return turn.failure, turn.text, turn.result, turn.state, turn.emitted


def _ends(whole: Turn, turn: Turn) -> str:
    lines = []
    for name, before, now in zip(_COMPARED, _end(whole), _end(turn), strict=True):
        if before != now:
            lines.append(f"the turn's {name} is {now!r}, without a crash {before!r}")
    if turn.failure and turn.detail:
        lines.append(f"  {turn.detail}")
    if turn.failure and turn.error is not None:
        lines.append(f"  the agent raised {type(turn.error).__name__}: {turn.error}")
    lines.append(f"  {_DIVERGED if turn.failure == 'STEP_DIVERGED' else _ENDS}")
    return "\n".join(lines)


def _effects(whole: Tried, cut_off: Tried, *, may_miss: bool) -> list[str]:
    before, now = (Counter(effect.name for effect, _ in each.effects) for each in (whole, cut_off))
    found = []
    for name in sorted(before | now):
        if now[name] > before[name]:
            found.append(_twice(name, before[name], [call for effect, call in cut_off.effects if effect.name == name]))
        elif now[name] < before[name] and not may_miss:
            found.append(f"{name} took effect {_times(now[name])}, without a crash {_times(before[name])}")
    return found


def _twice(name: str, before: int, calls: Sequence[EffectCall]) -> str:
    lines = [f"{name} took effect {_times(len(calls))}, without a crash {_times(before)}"]
    for call in calls:
        where = f"in {call.step}" if call.step else "outside of any step"
        lines.append(f"  on node {call.node}, {where}{', with an idempotency key' if call.idempotency_key else ''}")
    if any(not call.step for call in calls):
        hint = _OUTSIDE
    else:
        hint = _TWO_KEYS if all(call.idempotency_key for call in calls) else _INSIDE
    return "\n".join([*lines, f"  {hint.format(name=name)}"])


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")
