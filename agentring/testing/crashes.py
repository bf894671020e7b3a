"""The same turn, cut off at each place in turn, and run on to its end: whether it ends as it does without a crash.

Guarantees: each try begins from the same session, on nodes of its own; after the cut nothing of the dead node goes on
until the try was looked at. Bounded: at most `most_cuts` tries, and it says so where that was not all.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent_node.agents.lifespans import OpenedAgent
from agentring.agent import Agent, PastTurn
from agentring.testing.clock import TestClock
from agentring.testing.crash_findings import Finding, differences, text_of
from agentring.testing.cut_plans import AtNth
from agentring.testing.effect import Effect, EffectCall
from agentring.testing.ended_turn import Turn
from agentring.testing.errors import CrashFound, TurnTimeout
from agentring.testing.nodes import Nodes

MOST_CUTS = 500
_SHOWN = 5


@dataclass(frozen=True)
class Beginning:
    """What every try begins from."""

    agent: Agent
    clock: Callable[[], TestClock]
    opened: OpenedAgent
    state_json: str
    past: Sequence[PastTurn]


@dataclass(frozen=True)
class CrashReport:
    """What `crash_everywhere` returns where it found nothing.

    report = await t.crash_everywhere("buy tea")
    assert report.cuts
    """

    turn: Turn
    """Without a crash."""
    cuts: tuple[str, ...] = field(repr=False)
    """Where it was cut off, for people."""

    def __str__(self) -> str:
        """One line."""
        return f"cut off at {len(self.cuts)} places, and ends the same each time"


@dataclass
class Try:
    """One run of the turn."""

    turn: Turn
    effects: list[tuple[Effect, EffectCall]]
    watched: dict[str, Any]


async def crash_everywhere(
    beginning: Beginning,
    run: Callable[[Nodes], Awaitable[Turn]],
    *,
    watch: Mapping[str, Callable[[], Any]],
    setup: Callable[[], object] | None,
    accepts: Callable[[Turn], bool] | None,
    most_cuts: int,
) -> CrashReport:
    """As AgentTest.crash_everywhere."""
    whole = await _try(beginning, run, watch, setup, None)
    if isinstance(whole, Finding):
        raise TurnTimeout(whole.what)
    findings: list[Finding] = []
    cuts: list[str] = []
    for nth in range(1, most_cuts + 2):
        if nth > most_cuts:
            findings.append(
                Finding("", f"it was cut off {most_cuts} times, and there are more places: give most_cuts=")
            )
            break
        cut_off = await _try(beginning, run, watch, setup, AtNth(nth))
        if isinstance(cut_off, Finding):  # others would take as long
            findings.append(cut_off)
            break
        if not cut_off.turn.cuts:
            break
        where = cut_off.turn.cuts[0]
        cuts.append(where)
        findings += [Finding(where, found) for found in differences(whole, cut_off, accepts)]
    if findings:
        raise CrashFound(text_of(findings, len(cuts), shown=_SHOWN))
    return CrashReport(whole.turn, tuple(cuts))


async def _try(
    beginning: Beginning,
    run: Callable[[Nodes], Awaitable[Turn]],
    watch: Mapping[str, Callable[[], Any]],
    setup: Callable[[], object] | None,
    plan: AtNth | None,
) -> Try | Finding:
    """What came of it; a Finding: it did not end."""
    if setup is not None:
        setup()
    before = {name: _copy(look()) for name, look in watch.items()}
    nodes = Nodes(beginning.agent, beginning.clock())
    nodes.opened = beginning.opened
    try:
        await nodes.set_session(beginning.state_json, beginning.past)
        if plan is not None:
            nodes.plans.waiting.append(plan)
        turn = await run(nodes)
        watched = {name: _since(before[name], look()) for name, look in watch.items()}
        return Try(turn, list(nodes.effects), watched)
    except TurnTimeout as error:
        return Finding(nodes.cuts[0] if nodes.cuts else "", str(error))
    finally:
        await nodes.close()


def _copy(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _since(before: Any, now: Any) -> Any:
    """What has come since, of counts and lists that only grow; all of what is anything else."""
    if isinstance(now, list | tuple):
        return list(now)[len(before) :]
    return now - before if isinstance(now, int | float) and not isinstance(now, bool) else now
