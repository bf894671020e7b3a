"""What an idle session holds of the process's memory, by Python's own count."""

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_node.agents.echo import echo
from agent_node.run.slots import RunSlots
from agent_node.session.host import Host
from agent_node.settings import NodeSettings
from agent_node.store.opening import open_store
from agentring.errors import NodeFenced
from agentring.ids import parse_session
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import ON_BUSY_ENQUEUE
from harness.clock import PATIENCE_S, FakeClock
from harness.premises import FakeClaims, environment
from harness.stored_turns import HERE

SESSIONS = 100


async def use(host: Host, name: str) -> None:
    """A turn of 20 tokens, to its end."""
    session = await host.open(parse_session("", name), "echo")
    turn_input = session_pb2.Input(text="hi")
    turn_input.data.update({"tokens": 20})
    await session.submit("t", turn_input, ON_BUSY_ENQUEUE)
    woken = asyncio.Event()
    session.log.subscribe(woken)
    while session.turn("t").end_seq is None:
        woken.clear()
        await woken.wait()
    session.log.unsubscribe(woken)


async def takes_new(*_: object) -> bool:
    return True


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
async def test_an_idle_session_holds_little(tmp_path: Path) -> None:
    """Resident memory is about half as much again: protobuf's own, and what lies between."""
    clock = FakeClock()
    store = await open_store(f"sqlite:///{tmp_path / 'store.db'}", HERE, timeout_s=5, max_history_turns=0)
    assert store is not None
    settings = NodeSettings.model_validate({"node_id": "n1", "data_dir": tmp_path})
    async with asyncio.timeout(12 * PATIENCE_S), asyncio.TaskGroup() as tasks:
        slots = RunSlots(100, 0)
        env, claims = environment(clock), FakeClaims().as_claims
        host = Host(env, claims, store, {"echo": echo}, clock, settings, slots, tasks, takes_new)
        held: list[int] = []
        for batch in range(3):  # the first warms up
            for number in range(SESSIONS):
                await use(host, f"{batch}.{number}")
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
        assert (held[2] - held[1]) / SESSIONS < 10 << 10
        host.drop_all(NodeFenced())
    await store.close()
