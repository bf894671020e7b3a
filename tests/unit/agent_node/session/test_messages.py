"""What an agent reads of its session's past."""

from collections.abc import AsyncIterator

import pytest

from agentring.agent import AgentEvent, Context, Message, UserMessage
from agentring.ids import Epoch
from agentring.v1.session_pb2 import ON_BUSY_ENQUEUE, Input
from harness.sessions import EPOCH, Actor, acting
from harness.stores import RecordingStore


class Remembering:
    """An agent that says its input twice, in many pieces, and notes what it has read of the past."""

    def __init__(self, *, limit: int = 50, pieces: int = 1) -> None:
        self.limit = limit
        self.pieces = pieces
        self.before: int | None = None
        self.read: list[Message] = []

    async def run(self, ctx: Context) -> AsyncIterator[AgentEvent]:
        self.read = [each async for each in ctx.messages(limit=self.limit, before=self.before)]

        async def twice(text: str) -> str:
            return text * 2

        for _ in range(self.pieces):
            yield "."
        yield await ctx.tool("twice", twice, text=ctx.input_text)

    @property
    def seen(self) -> list[str]:
        return [f"{each.role} {each.result if each.role == 'tool' else each.text.lstrip('.')}" for each in self.read]


async def turns(actor: Actor, *names: str) -> None:
    for name in names:
        await actor.session.submit(name, Input(text=name), ON_BUSY_ENQUEUE)
        assert await actor.until_ended(name) == ["turn_completed"]


def of(*names: str) -> list[str]:
    return [
        line for name in names for line in (f"user {name}", "assistant ", f"tool {name * 2}", f"assistant {name * 2}")
    ]


async def test_the_past_is_read_oldest_first_and_without_the_turn_itself() -> None:
    agent = Remembering()
    async with acting(agent.run) as actor:
        await turns(actor, "a")
        assert agent.read == []
        await turns(actor, "b", "c")
        assert agent.seen == of("a", "b")
        assert isinstance(agent.read[0], UserMessage)
        positions = [each.position for each in agent.read]
        assert positions == sorted(positions)


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 4, 7])
async def test_pages_are_the_whole_past_also_of_long_turns_and_of_earlier_owners(limit: int, durable: bool) -> None:
    """A turn has more numbers than are looked at first, and a page may begin within one."""
    agent, store = Remembering(pieces=700), RecordingStore(durable=durable)
    names = "abcdef"
    async with acting(agent.run, store=store) as actor:
        await turns(actor, *names)
        if not durable:
            await read_back(actor, agent, limit, names)
    if durable:
        async with acting(agent.run, store=store, epoch=Epoch(EPOCH + 1)) as after:
            await read_back(after, agent, limit, names)


async def read_back(actor: Actor, agent: Remembering, limit: int, names: str) -> None:
    agent.limit, agent.pieces = limit, 0
    pages: list[list[str]] = []
    count = 0
    while count < 4 * len(names):
        await turns(actor, f"reads-{len(pages)}")
        if agent.before is None:
            # The reader's own turns come later than what it goes back from.
            agent.before = agent.read[-1].position + 1
            assert len(agent.read) == limit
        assert 0 < len(agent.read) <= limit
        agent.before = agent.read[0].position
        pages.insert(0, agent.seen)
        count += len(agent.read)
    assert [line for page in pages for line in page] == of(*names)


@pytest.mark.parametrize("limit", [0, 1_001, -1])
async def test_a_limit_out_of_bounds_is_refused(limit: int) -> None:
    agent = Remembering(limit=limit)
    async with acting(agent.run) as actor:
        await actor.session.submit("a", Input(text="a"), ON_BUSY_ENQUEUE)
        assert await actor.until_ended("a") == ["turn_failed"]


async def test_who_does_not_look_back_reads_nothing() -> None:
    async def forgetful(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "done"

    store = RecordingStore(durable=True)
    async with acting(forgetful, store=store) as actor:
        await turns(actor, "a", "b")
    assert "read_events" not in store.calls
