"""Sessions whose owner has died and that no client comes back to: which are activated, when, and by which node."""

import asyncio
from typing import cast

import pytest
import structlog

from agent_node.ownership.sweep import AT_ONCE, PAGE
from agent_node.session.host import Host
from agent_node.session.sweep import SessionSweep
from agent_node.store import OpenSession
from agentring.cluster.ring import Ring
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.errors import AgentringError, NodeOverloaded, NotOwner, StoreUnavailable
from agentring.ids import NodeId, SessionRef, parse_session
from harness.clock import PATIENCE_S, FakeClock
from harness.memberships import node, snapshot
from harness.premises import TTL_S
from harness.stores import RecordingStore

HERE = NodeId("n1")


def ref(name: str) -> SessionRef:
    return parse_session("", name)


class Swept:
    """What is left in a store, a host that notes what it is asked for, and the sweep between them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.open: list[OpenSession] = []
        self.members: MembershipSnapshot | None = snapshot(node("n1"))
        self.claims_are_made = True
        self.draining = False
        self.here: set[SessionRef] = set()
        self.found: list[str] = []
        self.errors: dict[str, Exception] = {}
        """By session: why it cannot be activated."""
        self.store_error: AgentringError | None = None
        self.lists = 0
        self.listed = asyncio.Event()
        self.asked = asyncio.Event()
        self.under_way = 0
        self.most_under_way = 0
        self.sweep = SessionSweep(
            cast(RecordingStore, self),
            cast(Host, self),
            lambda: self.members,
            HERE,
            self.clock,
            interval_s=TTL_S,
            claims_are_made=lambda: self.claims_are_made,
        )

    def leave(self, *names: str, commit: int = 1, agent: str = "echo") -> None:
        """These have turns that have not ended."""
        self.open += [OpenSession(ref(name), agent, commit) for name in names]
        self.open.sort(key=lambda each: each.ref.session_id)

    async def twice(self) -> list[str]:
        """What two sweeps ask the host for."""
        await self.sweep.sweep()
        await self.sweep.sweep()
        return self.found

    def __contains__(self, each: object) -> bool:
        return each in self.here

    async def list_open(self, after: SessionRef | None, at_most: int) -> list[OpenSession]:
        self.lists += 1
        self.listed.set()
        if self.store_error is not None:
            raise self.store_error
        return [each for each in self.open if after is None or each.ref.session_id > after.session_id][:at_most]

    async def find(self, each: SessionRef, _asking: object) -> None:
        self.found.append(each.session_id)
        self.asked.set()
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if (error := self.errors.get(each.session_id)) is not None:
            raise error


async def test_a_session_is_activated_at_the_second_sweep_that_finds_it_unchanged() -> None:
    swept = Swept()
    swept.leave("s")
    await swept.sweep.sweep()
    assert swept.found == []
    await swept.sweep.sweep()
    assert swept.found == ["s"]


async def test_what_has_changed_since_the_last_sweep_is_left_alone() -> None:
    swept = Swept()
    for commit in range(1, 5):
        swept.open = [OpenSession(ref("s"), "echo", commit)]
        await swept.sweep.sweep()
    assert swept.found == []
    await swept.sweep.sweep()
    assert swept.found == ["s"]


async def test_what_was_ended_in_between_is_found_anew() -> None:
    swept = Swept()
    swept.leave("s")
    await swept.sweep.sweep()
    swept.open = []
    await swept.sweep.sweep()
    swept.leave("s")
    await swept.sweep.sweep()
    assert swept.found == []


async def test_a_node_looks_after_those_that_the_ring_gives_it() -> None:
    swept = Swept()
    members = swept.members = snapshot(node("n1"), node("n2"), node("n3", active=False))
    names = [f"s{number}" for number in range(50)]
    swept.leave(*names)
    ring = Ring(members)
    mine = [name for name in names if next(ring.candidates(ref(name).ring_key)).node_id == HERE]
    assert sorted(await swept.twice()) == sorted(mine)
    assert 0 < len(mine) < len(names)


async def test_what_another_node_left_is_taken_over_once_the_ring_gives_it_here() -> None:
    swept = Swept()
    both = swept.members = snapshot(node("n1"), node("n2"))
    elsewhere = next(
        name for name in map(str, range(100)) if next(Ring(both).candidates(ref(name).ring_key)).node_id != HERE
    )
    swept.leave(elsewhere)
    assert await swept.twice() == []
    swept.members = snapshot(node("n1"), revision=2)
    assert await swept.twice() == [elsewhere]


async def test_an_agents_sessions_go_to_a_node_that_hosts_it() -> None:
    swept = Swept()
    swept.members = snapshot(node("n1"), node("n2", agents=("other",)))
    swept.leave("theirs", agent="other")
    swept.leave("nobodys", agent="unknown")
    swept.leave(*(f"s{number}" for number in range(9)))
    assert sorted(await swept.twice()) == [f"s{number}" for number in range(9)]


async def test_what_this_node_has_is_left_to_it() -> None:
    swept = Swept()
    swept.leave("here", "left")
    swept.here = {ref("here")}
    assert await swept.twice() == ["left"]


@pytest.mark.parametrize("why", ["draining", "no claims", "no membership"])
async def test_a_node_that_takes_nothing_new_does_not_sweep(why: str) -> None:
    swept = Swept()
    swept.leave("s")
    swept.draining = why == "draining"
    swept.claims_are_made = why != "no claims"
    swept.members = None if why == "no membership" else swept.members
    assert await swept.twice() == []
    assert swept.lists == (2 if why == "no membership" else 0)
    swept.draining, swept.claims_are_made, swept.members = False, True, snapshot(node("n1"))
    assert await swept.twice() == ["s"]


async def test_a_drain_that_begins_meanwhile_ends_the_sweep() -> None:
    swept = Swept()
    swept.leave(*(f"s{number:03}" for number in range(3 * AT_ONCE)))
    await swept.sweep.sweep()
    taking_up = asyncio.create_task(swept.sweep.sweep())
    async with asyncio.timeout(PATIENCE_S):
        await swept.asked.wait()
        swept.draining = True
        await taking_up
    assert len(swept.found) == AT_ONCE


@pytest.mark.parametrize("error", [NodeOverloaded(), NotOwner("n2", "n2:1", 5), RuntimeError("corrupt")])
async def test_one_that_cannot_be_activated_keeps_no_other_from_it_and_is_tried_again(error: Exception) -> None:
    swept = Swept()
    swept.leave("bad", "good")
    swept.errors["bad"] = error
    with structlog.testing.capture_logs() as logs:
        assert await swept.twice() == ["bad", "good"]
        swept.open = swept.open[:1]
        await swept.sweep.sweep()
    assert swept.found == ["bad", "good", "bad"]
    assert ("error" in {line["log_level"] for line in logs}) == isinstance(error, RuntimeError)


async def test_all_pages_are_swept_a_few_sessions_at_a_time() -> None:
    swept = Swept()
    names = [f"s{number:05}" for number in range(2 * PAGE + 1)]
    swept.leave(*names)
    assert await swept.twice() == names
    assert swept.most_under_way == AT_ONCE


async def test_a_store_that_does_not_answer_is_asked_again_at_the_next_sweep() -> None:
    swept = Swept()
    swept.leave("s")
    swept.store_error = StoreUnavailable()
    running = asyncio.create_task(swept.sweep.run())
    for _ in range(3):
        assert await swept.clock.next_due_s() == swept.clock.now_s() + TTL_S
        swept.clock.advance(TTL_S)
        async with asyncio.timeout(PATIENCE_S):
            swept.listed.clear()
            await swept.listed.wait()
        swept.store_error = None
    await swept.clock.next_due_s()
    assert swept.found == ["s"]
    running.cancel()
    await asyncio.wait([running])
