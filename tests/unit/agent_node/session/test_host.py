"""Which sessions a node opens: claimed once, within its limits, and never another node's."""

import asyncio
from pathlib import Path

import pytest

from agent_node.session.session import Session
from agentring.errors import (
    AgentMismatch,
    AgentNotFound,
    AgentRequired,
    CoordinatorUnavailable,
    NodeOverloaded,
    NotOwner,
)
from agentring.ids import parse_session
from harness.hosts import REF, hosting


async def test_concurrent_opens_claim_once(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        sessions = await asyncio.gather(*(node.host.open(REF, "held") for _ in range(10)))
        assert all(session is sessions[0] for session in sessions)
        assert node.claims.claimed == [REF]
        assert await node.host.find(REF) is sessions[0]
        with pytest.raises(AgentMismatch):
            await node.host.open(REF, "failing")


async def test_a_failed_claim_reaches_its_callers_and_the_next_open_claims_anew(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        node.claims.claim_error = CoordinatorUnavailable()
        with pytest.raises(CoordinatorUnavailable):
            await node.host.open(REF, "held")
        node.claims.claim_error = None
        assert (await node.host.open(REF, "held")).claim.epoch == 1


@pytest.mark.parametrize(("agent", "error"), [("", AgentRequired), ("nobodys", AgentNotFound)])
async def test_a_refusal_never_hides_another_nodes_session(tmp_path: Path, agent: str, error: type[Exception]) -> None:
    async with hosting(tmp_path) as node:
        with pytest.raises(error):
            await node.host.open(REF, agent)
        node.claims.held_elsewhere = NotOwner("n2", "n2:1", 5)
        with pytest.raises(NotOwner):
            await node.host.open(REF, agent)
        with pytest.raises(NotOwner):
            await node.host.find(REF)
        assert node.claims.claimed == []


async def test_a_full_node_refuses_new_sessions_and_keeps_its_own(tmp_path: Path) -> None:
    async with hosting(tmp_path, max_sessions=1) as node:
        first = await node.host.open(REF, "held")
        with pytest.raises(NodeOverloaded):
            await node.host.open(parse_session("", "other"), "held")
        assert await node.host.open(REF, "") is first


async def test_a_call_that_looked_for_capacity_while_another_activated_the_session_finds_it(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        node.capacity_known.clear()
        looking = asyncio.ensure_future(node.host.open(REF, "held"))
        await node.asked_for_capacity.wait()
        node.capacity_known.set()
        first = await node.host.open(REF, "held")
        assert await looking is first
        assert node.claims.claimed == [REF]


async def test_a_refused_call_takes_no_claim_from_a_session_that_comes_up_meanwhile(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        node.claims.go.clear()
        refused = asyncio.ensure_future(node.host.open(REF, "absent"))
        await node.claims.asked.wait()
        node.claims.asked.clear()
        opened = asyncio.ensure_future(node.host.open(REF, "held"))
        await node.claims.asked.wait()
        node.claims.go.set()
        with pytest.raises(AgentNotFound):
            await refused
        assert await opened is await node.host.find(REF)
        assert node.claims.disclaimed == []


async def test_a_caller_that_goes_away_does_not_end_the_activation(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        node.claims.go.clear()
        opening = asyncio.ensure_future(node.host.open(REF, "held"))
        await node.claims.asked.wait()
        opening.cancel()
        await asyncio.wait([opening])
        node.claims.go.set()
        session = await node.host.open(REF, "held")
        assert node.claims.claimed == [REF]
        assert await node.host.find(REF) is session


@pytest.mark.parametrize("wrong", ["", "nobodys"])
async def test_what_is_wrong_with_one_caller_does_not_reach_another(tmp_path: Path, wrong: str) -> None:
    async with hosting(tmp_path) as node:
        node.claims.go.clear()
        opens = [asyncio.ensure_future(node.host.open(REF, agent)) for agent in (wrong, "held")]
        await node.claims.asked.wait()
        node.claims.go.set()
        refused, opened = await asyncio.gather(*opens, return_exceptions=True)
        assert isinstance(refused, AgentRequired | AgentNotFound)
        assert isinstance(opened, Session)
        if not wrong:
            assert await node.host.open(REF, wrong) is opened


async def test_concurrent_activations_keep_to_the_limit(tmp_path: Path) -> None:
    async with hosting(tmp_path, max_sessions=3) as node:
        refs = [parse_session("", f"s{i}") for i in range(10)]
        opened = await asyncio.gather(*(node.host.open(ref, "held") for ref in refs), return_exceptions=True)
        assert [type(each) for each in opened] == [Session] * 3 + [NodeOverloaded] * 7
        assert len(node.host) == 3


async def test_a_session_that_comes_up_while_another_call_looks_for_its_agent_is_not_activated_again(
    tmp_path: Path,
) -> None:
    async with hosting(tmp_path) as node:
        looking, go = asyncio.Event(), asyncio.Event()

        async def stored_agent(_ref: object) -> str:
            looking.set()
            await go.wait()
            return "held"

        node.host._stored_agent = stored_agent  # type: ignore[assignment,method-assign]  # a store slow to answer
        unnamed = asyncio.ensure_future(node.host.open(REF, ""))
        await looking.wait()
        session = await node.host.open(REF, "held")
        go.set()
        assert await unnamed is session
        assert node.claims.claimed == [REF]
