"""A turn that runs again: what was told before a step was committed stays told, to each client as it takes it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentring.agent import AgentEvent, Context
from agentring.ids import Epoch
from harness.sessions import EPOCH, acting
from harness.stores import RecordingStore
from harness.turn_clients import TurnClient

Op = tuple[str, Any]
RANGE = 1 << 16


class Program:
    """An agent of these operations, which stops at a tick of each attempt: at the end of the attempt, then."""

    def __init__(self, ops: Sequence[Op], stops_at: Sequence[int]) -> None:
        self.ops = ops
        self.stops_at = stops_at
        self.has_stopped = asyncio.Event()
        self._ticks = 0

    async def agent(self, ctx: Context) -> AsyncIterator[AgentEvent]:
        self._ticks = 0
        for number, (kind, what) in enumerate(self.ops):
            await self._tick(ctx)
            if kind == "say":
                yield what
            elif kind == "say attempt":
                yield f"{what}{ctx.attempt}"
            elif kind == "step":
                yield await ctx.step("step", self._echo, what, key=str(number))
            elif kind == "silent step":
                await ctx.step("step", self._echo, what, key=str(number))
            elif kind == "stream":
                async for piece in ctx.stream_step("stream", self._pieces, ctx, what, key=str(number)):
                    yield piece
            elif kind == "tool":
                await ctx.tool(what, self._look)
            elif kind == "two":
                streaming = asyncio.ensure_future(self._streamed(ctx, str(number)))
                yield await ctx.step("beside", self._echo, what, key=str(number))
                yield await streaming
        await self._tick(ctx)

    async def _streamed(self, ctx: Context, key: str) -> str:
        return "".join([piece async for piece in ctx.stream_step("two", self._pieces, ctx, ("x", "y"), key=key)])

    async def _pieces(self, ctx: Context, pieces: Sequence[str]) -> AsyncIterator[str]:
        for piece in pieces:
            await self._tick(ctx)
            yield f"{piece}{ctx.attempt}"

    async def _echo(self, what: str) -> str:
        return what

    async def _look(self) -> str:
        return "seen"

    async def _tick(self, ctx: Context) -> None:
        await asyncio.sleep(0)
        self._ticks += 1
        if ctx.attempt <= len(self.stops_at) and self._ticks == self.stops_at[ctx.attempt - 1]:
            self.has_stopped.set()
            await asyncio.get_running_loop().create_future()


def all_clients() -> list[TurnClient]:
    return [
        TurnClient(keeps_valid=keeps, merge_bytes=merge_bytes)
        for keeps in (True, False)
        for merge_bytes in (0, 1 << 14)
    ]


async def run(ops: Sequence[Op], stops_at: Sequence[int], reads: Sequence[int]) -> tuple[str, list[TurnClient]]:
    """Runs the program over all its attempts; the text that is kept, and clients: those that have read all the time,
    then some that read so many responses in each attempt, and some that came at the end."""
    program, store = Program(ops, stops_at), RecordingStore(durable=True, seq_range=RANGE)
    always, some = all_clients(), all_clients()
    epoch, is_first = int(EPOCH), True
    while True:
        program.has_stopped.clear()
        async with acting(program.agent, store=store, epoch=Epoch(epoch), lost=True) as actor:
            if is_first:
                await actor.submit("t")
            ended = asyncio.ensure_future(actor.until_ended("t"))
            stopped = asyncio.ensure_future(program.has_stopped.wait())
            await asyncio.wait([ended, stopped, actor.runner], return_when=asyncio.FIRST_COMPLETED)
            assert not actor.runner.done(), actor.failure
            for _ in range(20):
                await asyncio.sleep(0)  # what was told is committed, or not
            for client in always:
                await client.read(actor.session.log)
            has_ended = ended.done()
            for client, at_most in zip(some, reads, strict=False):
                await client.read(actor.session.log, None if has_ended else at_most)
            late = all_clients() if has_ended else []
            for client in late:
                await client.read(actor.session.log)
            for each in (ended, stopped):
                each.cancel()
            if has_ended:
                assert ended.result() == ["turn_completed"]
                (past,) = actor.session.stored.history
                return past.output_text, [*always, *some, *late]
        epoch, is_first = epoch + 1, False


def check(text: str, clients: Sequence[TurnClient], tools: Sequence[str] = ()) -> None:
    for client in clients:
        assert client.words.decode() == text, (client.keeps_valid, client.restarts)
        assert [name for _, name in client.emitted] == [each for tool in tools for each in (tool, f"{tool} done")]


async def test_words_before_a_committed_step_are_told_once() -> None:
    ops = [("say", "h\u00e9llo "), ("step", "a"), ("say", " and "), ("step", "b"), ("say", " end")]
    text, clients = await run(ops, [3, 5], [0] * 4)
    assert text == "h\u00e9llo a and b end"
    check(text, clients)
    keeps, anew = clients[1], clients[3]
    assert (keeps.restarts, keeps.sent_bytes) == (["NODE_LOST"] * 2, len(text.encode()) + len("ab"))
    assert anew.sent_bytes > keeps.sent_bytes


async def test_a_stream_that_was_cut_off_is_told_again_from_its_beginning() -> None:
    text, clients = await run([("say", "a"), ("silent step", "s"), ("stream", ("x", "y")), ("say", "z")], [5], [0] * 4)
    assert text == "ax2y2z"
    check(text, clients)
    assert clients[1].sent_bytes == len("a" + "x1" + "x2y2z")


async def test_a_stream_that_has_an_outcome_is_told_once() -> None:
    text, clients = await run([("stream", ("x", "y")), ("say", "z"), ("say", "!")], [5], [0] * 4)
    assert text == "x1y1z!"
    check(text, clients)
    assert clients[1].sent_bytes == len(text + "z")


async def test_words_that_differ_are_void_from_the_last_commit_that_agrees() -> None:
    ops = [("say", "same "), ("step", "a"), ("say attempt", " try "), ("step", "b"), ("say", " end")]
    text, clients = await run(ops, [5], [0] * 4)
    assert text == "same a try 2b end"
    check(text, clients)
    assert clients[0].restarts == ["NODE_LOST", "WORDS_DIFFER"]


async def test_fewer_words_than_before_are_void_too() -> None:
    ops = [("silent step", "a"), ("say attempt", "x"), ("silent step", "b")]

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "both "
        await ctx.step("a", program._echo, "a")
        if ctx.attempt == 1:
            yield "only the first"
        await ctx.step("b", program._echo, "b")
        await program._tick(ctx)

    program = Program(ops, [1])
    program.agent = agent  # type: ignore[method-assign]
    store = RecordingStore(durable=True, seq_range=RANGE)
    clients = all_clients()
    async with acting(agent, store=store) as actor:
        await actor.submit("t")
        await program.has_stopped.wait()
        for client in clients:
            await client.read(actor.session.log)
    program._ticks = 0
    async with acting(agent, store=store, epoch=Epoch(EPOCH + 1), lost=True) as actor:
        await actor.until_ended("t")
        for client in clients:
            await client.read(actor.session.log)
    check("both ", clients)


async def test_tool_events_stay_too_and_are_told_once() -> None:
    ops = [("tool", "look"), ("silent step", "a"), ("tool", "see"), ("silent step", "b")]
    text, clients = await run(ops, [4], [0] * 4)
    check(text, clients, ["look", "see"])


async def test_a_stop_within_what_is_told_again() -> None:
    ops = [("say", "a"), ("silent step", "1"), ("say", "b"), ("silent step", "2"), ("say", "c"), ("silent step", "3")]
    text, clients = await run(ops, [6, 2, 4, 7], [1] * 4)
    assert text == "abc"
    check(text, clients)


OPS = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(["a", "\u00e9", "\N{GRINNING FACE}", "long " * 10])),
    st.tuples(st.just("say attempt"), st.just("n")),
    st.tuples(st.sampled_from(["step", "silent step", "two"]), st.sampled_from(["r", "\u00fc"])),
    st.tuples(st.just("stream"), st.lists(st.sampled_from(["p", "\u00f6"]), max_size=3)),
    st.tuples(st.just("tool"), st.sampled_from(["look", "see"])),
)


@settings(max_examples=20)
@given(
    ops=st.lists(OPS, min_size=1, max_size=6),
    stops_at=st.lists(st.integers(1, 12), max_size=4),
    reads=st.lists(st.integers(0, 6), min_size=4, max_size=4),
)
async def test_any_program_cut_off_anywhere_leaves_every_client_with_the_text_that_is_kept(
    ops: list[Op], stops_at: list[int], reads: list[int]
) -> None:
    text, clients = await run(ops, stops_at, reads)
    check(text, clients, [what for kind, what in ops if kind == "tool"])
