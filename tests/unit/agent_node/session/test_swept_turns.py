"""Turns that a dead node left run though no client comes back for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from agent_node.run.slots import RunSlots
from agent_node.session.host import Host
from agent_node.session.sweep import SessionSweep
from agent_node.settings import NodeSettings
from agent_node.store import Ownership
from agentring.errors import NodeFenced, NotOwner
from agentring.ids import Epoch, NodeId, SessionRef, parse_session
from agentring.v1.session_pb2 import TURN_STATE_COMPLETED, TURN_STATE_RUNNING
from harness.clock import PATIENCE_S, FakeClock
from harness.memberships import node, snapshot
from harness.premises import TTL_S, FakeClaims, Stage, environment
from harness.stored_turns import accepted
from harness.stores import RecordingStore

HERE = NodeId("n1")


def ref(name: str) -> SessionRef:
    return parse_session("", name)


class Left:
    """A host on a durable store in which a dead node left the turn `t1` running and `t2` waiting."""

    def __init__(self, tasks: asyncio.TaskGroup, tmp_path: Path) -> None:
        clock = FakeClock()
        self.claims = FakeClaims()
        self.claims.revision = 1
        self.stage = Stage()
        self.stage.go.set()
        self.store = RecordingStore(durable=True)
        self.host = Host(
            environment(clock),
            self.claims.as_claims,
            self.store,
            {"echo": self.stage.held},
            clock,
            NodeSettings.model_validate({"node_id": "n1", "data_dir": tmp_path}),
            RunSlots(10, 10),
            tasks,
            self._takes_new,
        )
        self.sweep = SessionSweep(
            self.store,
            self.host,
            lambda: snapshot(node("n1")),
            HERE,
            clock,
            interval_s=TTL_S,
            claims_are_made=lambda: True,
        )

    async def _takes_new(self, *_: object) -> bool:
        return True

    @property
    def ended(self) -> list[tuple[str, int]]:
        """Turns that were completed, and in which run."""
        return [(turn.turn_id, turn.attempt) for turn in self.store.turns if turn.state == TURN_STATE_COMPLETED]


@asynccontextmanager
async def left(tmp_path: Path) -> AsyncIterator[Left]:
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        stage = Left(tasks, tmp_path)
        dead = Ownership(ref("s"), Epoch(1), "n0/1")
        await stage.store.activate(dead, "echo")
        first = replace(accepted(1), state=TURN_STATE_RUNNING)
        await stage.store.accept_turn(dead, first, 0)
        await stage.store.accept_turn(dead, accepted(2), None)
        stage.store.turns.clear()
        yield stage
        stage.host.drop_all(NodeFenced())


async def test_the_turns_run_though_no_client_asks_and_each_completes_once(tmp_path: Path) -> None:
    async with left(tmp_path) as stage:
        completed = asyncio.Event()
        stage.store.watch = lambda method: completed.set() if method == "commit_turn" else None
        for _ in range(4):
            await stage.sweep.sweep()
        while len(stage.ended) < 2:
            completed.clear()
            await completed.wait()
        for _ in range(4):
            await stage.sweep.sweep()
        assert stage.ended == [("t1", 2), ("t2", 1)]
        assert stage.stage.runs == 2
        assert stage.claims.claimed == [ref("s")]


async def test_a_session_whose_claim_stands_is_never_activated(tmp_path: Path) -> None:
    """Its owner may be in the middle of a long turn, or be unreachable from here alone."""
    async with left(tmp_path) as stage:
        stage.claims.held_elsewhere = NotOwner("n2", "n2:1", 5)
        for _ in range(4):
            await stage.sweep.sweep()
        assert stage.claims.claimed == []
        assert len(stage.host) == 0
        assert stage.store.calls.count("activate") == 1
