"""Streams whose connection to their node breaks, or whose node goes, with real processes: what their clients notice."""

import asyncio
import signal
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import pairwise

import grpc
import pytest
from grpc import aio
from prometheus_client.parser import text_string_to_metric_families

from agentring.rpc.status import read_error
from agentring.v1 import session_pb2, session_pb2_grpc, task_pb2, task_pb2_grpc
from agentring.v1.session_pb2 import Event
from harness.client import connect, run_turn, turn
from harness.cluster import Cluster
from harness.streams import Conversation, Stream, assert_gapless, first_seq, watch
from robustness.chaos.cluster.links import Link
from robustness.chaos.cluster.ports import own_port

HOST = "127.0.0.1"
WORDS = " ".join(f"token{index}" for index in range(60))


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """The only way to the node that listens where it leads."""
    link = Link(f"{HOST}:{own_port()}")
    await link.start(HOST)
    yield link
    await link.stop()


def behind(link: Link) -> tuple[str, ...]:
    """A node's flags."""
    return (f"--listen={link.to}", f"--advertise={link.address}")


def running(channel: aio.Channel, sent: session_pb2.Turn) -> Stream:
    """A RunTurn stream."""
    request = session_pb2.RunTurnRequest(session_id="s", agent="echo", turn=sent)
    return Stream(session_pb2_grpc.SessionServiceStub(channel).RunTurn(request, timeout=40))


def task(channel: aio.Channel, rate: int) -> Stream:
    """A RunTask stream."""
    request = task_pb2.RunTaskRequest(task_key="k", agent="echo")
    request.input.data.update({"tokens": 60, "rate": rate})
    return Stream(task_pb2_grpc.TaskServiceStub(channel).RunTask(request, timeout=40))


def watched_task(channel: aio.Channel) -> Stream:
    """A WatchTask stream."""
    request = task_pb2.WatchTaskRequest(task_key="k", after_seq=0)
    return Stream(task_pb2_grpc.TaskServiceStub(channel).WatchTask(request, timeout=40))


def final_text(events: Iterable[Event], turn_id: str) -> str:
    """The words of the last attempt."""
    mine = [event for event in events if event.turn_id == turn_id]
    last = max(event.attempt for event in mine)
    return "".join(event.text_delta.text for event in mine if event.attempt == last)


def assert_covers(events: Iterable[Event], after_seq: int = 0) -> None:
    """Nothing lacks, and nothing but a gap or a restart speaks of what was told before."""
    received = [event for event in events if event.seq]
    for before, event in pairwise([Event(seq=after_seq), *received]):
        anew = event.HasField("attempt_restarted") or event.HasField("gap")
        assert first_seq(event) <= before.seq + 1 <= event.seq, event
        assert anew or first_seq(event) == before.seq + 1, event


def metric(address: str, name: str) -> dict[tuple[str, ...], float]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        samples = [sample for family in families for sample in family.samples]
    return {tuple(sample.labels.values()): sample.value for sample in samples if sample.name == name}


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_broken_connections_to_a_node_that_lives_are_not_noticed(
    make_cluster: Callable[..., Cluster], link: Link, store: str
) -> None:
    metrics = f"{HOST}:{own_port()}"
    flags = (*behind(link), "--store=memory:") if store == "memory" else behind(link)
    cluster = make_cluster(nodes=1, flags=flags, router_flags=(f"--metrics-listen={metrics}",))
    async with connect(cluster.router) as channel:
        conversation = Conversation(channel)
        await conversation.open("s")
        sent = turn(tokens=60, rate=40)
        await conversation.turn(sent)
        await conversation.until("turn_started")
        joined, watching = running(channel, sent), watch(channel, "s")
        task_run = task(channel, 40)
        await task_run.until("turn_started")
        task_watch = watched_task(channel)
        streams = [conversation, joined, watching, task_run, task_watch]
        for tokens in (5, 20, 35):
            for stream in streams:
                await stream.until_true(lambda s=stream: len(s.text.split()) >= tokens, f"{tokens} tokens")  # type: ignore[misc]  # noqa: B023
            link.break_connections()
        await conversation.close()
        await asyncio.gather(joined.until_end(), task_run.until_end(), task_watch.until_end())
        await watching.until("turn_completed")
        watching.call.cancel()
    for stream in streams:
        assert stream.text.strip() == WORDS
        assert_gapless(stream.events, 0)
        assert {event.attempt for event in stream.events if event.turn_id} <= {1}
        assert len({event.epoch for event in stream.events if event.epoch}) == 1
        assert stream.kinds.count("turn_completed") == 1
    assert conversation.kinds.count("opened") == 1
    assert len(cluster.audit("claimed")) == 2
    lost = metric(metrics, "agentring_router_reattachments_total")
    assert lost == {("connection", "resumed"): 15.0}
    assert metric(metrics, "agentring_router_reattaching_seconds_count")[()] == 15


async def test_a_cancel_that_is_sent_while_the_node_cannot_be_reached_is_not_lost(
    make_cluster: Callable[..., Cluster], link: Link
) -> None:
    cluster = make_cluster(nodes=1, flags=behind(link), router_flags=("--connect-timeout-s=0.3",))
    async with connect(cluster.router) as channel:
        conversation = Conversation(channel)
        await conversation.open("s")
        sent = turn(tokens=10_000, rate=20)
        await conversation.turn(sent)
        await conversation.until("text_delta")
        link.cut()
        link.break_connections()
        await conversation.cancel(sent.turn_id)
        await conversation.turn(turn("after", turn_id="after"))
        link.mend()
        await conversation.until("turn_cancelled", sent.turn_id)
        await conversation.close()
    assert conversation.kinds[-1] == "turn_completed"
    assert final_text(conversation.events, "after") == "after"
    assert_gapless(conversation.events, 0)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_every_kind_of_stream_outlives_its_node(
    make_cluster: Callable[..., Cluster], how: signal.Signals
) -> None:
    """The client's side of the conversation is closed: its stream must not end before its turn has."""
    cluster = make_cluster(nodes=2, routers=2, flags=("--drain-timeout-s=0.3",))
    async with connect(cluster.router) as channel, connect(cluster.routers["r2"].address) as other:
        conversation = Conversation(channel)
        opened = await conversation.open("s")
        sent = turn(turn_id="t", tokens=60, rate=40)
        await conversation.turn(sent)
        await conversation.call.done_writing()
        await conversation.until("turn_started")
        joined, watching = running(other, sent), watch(other, "s")
        streams = [conversation, joined, watching]
        for stream in streams:
            await stream.until_true(lambda s=stream: len(s.text.split()) >= 5, "5 tokens")  # type: ignore[misc]
        cluster.nodes[opened.node_id].process.send(how)
        await asyncio.gather(conversation.until_end(), joined.until_end())
        await watching.until("turn_completed")
        watching.call.cancel()
    for stream in streams:
        assert stream.kinds.count("attempt_restarted") == 1
        assert stream.kinds.count("turn_completed") == 1
        assert final_text(stream.events, "t").strip() == WORDS
        assert_covers(stream.events)
        assert len({event.epoch for event in stream.events if event.epoch}) == 2


async def test_everybody_who_had_joined_a_lost_run_of_a_task_joins_the_next(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=2, routers=2)
    async with connect(cluster.router) as channel, connect(cluster.routers["r2"].address) as other:
        streams = [task(channel, 40), task(other, 40)]
        await streams[0].until("turn_started")
        for stream in streams:
            await stream.until_true(lambda s=stream: len(s.text.split()) >= 5, "5 tokens")  # type: ignore[misc]
        owner = dict(await streams[0].call.initial_metadata())["x-agentring-node"]
        cluster.nodes[owner].process.send(signal.SIGKILL)
        await asyncio.gather(*(stream.until_end() for stream in streams))
    for stream in streams:
        assert stream.kinds.count("attempt_restarted") == 1
        assert final_text(stream.events, "").strip() == WORDS
        assert_covers(stream.events)
        assert sum(bool(getattr(response, "disposition", 0)) for response in stream.responses) == 1
    assert len(cluster.audit("task_committed")) == 1


async def test_a_volatile_session_that_is_lost_is_not_gone_on_with(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2, flags=("--store=memory:",))
    async with connect(cluster.router) as channel:
        conversation = Conversation(channel)
        opened = await conversation.open("s")
        await conversation.turn(turn("first"))
        await conversation.until("turn_completed")
        seen_seq = conversation.through_seq
        cluster.nodes[opened.node_id].process.stop(signal.SIGKILL)
        with pytest.raises(grpc.RpcError) as raised:
            await conversation.until_end()
        report = read_error(raised.value)
        assert report.reason == "RESUME_OFFSET_EXPIRED"
        assert int(report.variables["head_seq"]) < seen_seq
        again = await run_turn(channel, "s", turn("anew"))
    assert again.events[0].seq == 1
