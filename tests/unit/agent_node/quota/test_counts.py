"""What a node counts of sessions, turns and tasks is exact, however they begin and end."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_node.quota.quota import Held
from agentring.errors import AgentringError, NodeFenced
from agentring.v1.session_pb2 import ON_BUSY_ENQUEUE, ON_BUSY_INTERRUPT, ON_BUSY_REJECT
from harness.limited_nodes import SLOTS, LimitedNode, at_last, limited

LIMITS = """
[tenant]
sessions = 3
running_turns = 2
waiting_turns = 3
tasks = 3
[subject]
running_turns = 1
[tenants.b]
turns_per_s = 4
"""
NOTHING = dict.fromkeys(map(str, Held), 0)
_BUSY = st.sampled_from([ON_BUSY_ENQUEUE, ON_BUSY_INTERRUPT, ON_BUSY_REJECT])
_AGENTS = st.sampled_from(["held", "held", "failing"])
_NAMES = st.sampled_from(["1", "2", "3", "4"])
_TENANTS, _SUBJECTS = st.sampled_from("ab"), st.sampled_from(["", "x", "y"])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("turn"), _TENANTS, _SUBJECTS, _NAMES, _AGENTS, _BUSY),
        st.tuples(st.just("task"), _TENANTS, _SUBJECTS, _NAMES, _AGENTS, _BUSY),
        st.tuples(
            st.sampled_from(["cancel", "passivate", "close", "fail", "limits", "round", "go"]),
            *(_TENANTS, _SUBJECTS, _NAMES, _AGENTS, _BUSY),
        ),
    ),
    max_size=25,
)


async def rounds() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def carry_out(node: LimitedNode, calls: asyncio.TaskGroup, steps: list[tuple[object, ...]]) -> None:
    def begin(call: Awaitable[object]) -> None:
        async def end() -> None:
            with suppress(AgentringError):
                await call

        calls.create_task(end())

    for number, (step, tenant, subject, name, agent, on_busy) in enumerate(steps):
        sessions = [each for each in node.host.sessions if each.ref.session_id == name]
        match step:
            case "turn":
                turn = {"tenant": tenant, "subject": subject, "agent": agent, "on_busy": on_busy}
                begin(node.turn(str(name), f"t{number}", **turn))  # type: ignore[arg-type]
            case "task":
                begin(node.task(str(name), tenant=str(tenant), subject=str(subject), agent=str(agent)))
            case "cancel":
                for run in node.runs.under_way[:1]:
                    begin(node.runs.cancel(run))
                for session in sessions:
                    begin(session.cancel(session.running_turn_id or "t0"))
            case "passivate" | "close":
                for session in sessions:
                    begin(node.host.passivate(session) if step == "passivate" else node.host.close(session))
            case "fail":
                for session in sessions[:1]:
                    session.drop(NodeFenced())
                    begin(node.host.give_up(session))
            case "limits":
                node.limit(LIMITS.replace("2", str(1 + number % 4)))
            case "go":
                node.stage.go.set()
                await rounds()
                node.stage.go.clear()
            case _:
                await rounds()
        held = {what: node.quota.held(what, "a") + node.quota.held(what, "b") for what in Held}
        assert held[Held.SESSIONS] >= len(node.host)
        assert held[Held.RUNNING_TURNS] == SLOTS - node.slots.free
        assert held[Held.RUNNING_TURNS] <= held[Held.OPEN_TURNS]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_STEPS, st.sampled_from(["drain", "fence", "end"]))
async def test_whatever_begins_and_ends_nothing_is_counted_afterwards(
    tmp_path: Path, steps: list[tuple[object, ...]], how: str
) -> None:
    async with limited(tmp_path, LIMITS) as (node,):
        async with asyncio.TaskGroup() as calls:
            await carry_out(node, calls, steps)
            match how:
                case "fence":
                    node.fence()
                    node.claims.go.set()
                case "drain":
                    await node.host.drain(0.0)
                    await node.runs.drain(0.0)
                case _:
                    node.stage.go.set()
        await at_last(lambda: not node.runs.running)
        if how == "end":
            await at_last(lambda: all(session.is_idle or session.closed for session in node.host.sessions))
            assert node.quota.totals() == {**NOTHING, "sessions": len(node.host)}
            for session in node.host.sessions:
                await node.host.passivate(session)
        node.stage.go.set()
        await at_last(lambda: (node.quota.totals(), node.slots.free) == (NOTHING, SLOTS))
