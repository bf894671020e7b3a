"""A call's messages are kept until a node has accepted it."""

import asyncio

import pytest

from agentring.errors import FirstFrameTimeout, MessageTooLarge
from agentring.rpc.limits import MAX_MESSAGE_BYTES
from router.client_messages import KEPT_BYTES, ClientMessages


class Client:
    """Sends what the test puts, and counts what was read."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.read_count = 0

    async def read(self) -> bytes | None:
        message = await self.queue.get()
        self.read_count += 1
        return message

    def send(self, *messages: bytes | None) -> None:
        for message in messages:
            self.queue.put_nowait(message)


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_each_attempt_reads_from_the_first_message_until_one_is_accepted() -> None:
    client = Client()
    messages = ClientMessages(client.read)
    client.send(b"a", b"b", None)
    async with asyncio.TaskGroup() as group:
        group.create_task(messages.run())
        for _ in range(3):
            assert [await messages.get(place) for place in range(3)] == [b"a", b"b", None]
        messages.accept()
        assert [await messages.get(place) for place in range(3)] == [b"a", b"b", None]


async def test_a_cancelled_attempt_loses_no_message() -> None:
    client = Client()
    messages = ClientMessages(client.read)
    async with asyncio.TaskGroup() as group:
        group.create_task(messages.run())
        waiting = group.create_task(messages.get(0))
        await _settle()
        waiting.cancel()
        client.send(b"a", None)
        assert [await messages.get(place) for place in range(2)] == [b"a", None]


async def test_what_is_kept_is_bounded_and_flows_again_once_accepted() -> None:
    client = Client()
    messages = ClientMessages(client.read)
    piece = bytes(KEPT_BYTES // 2)
    client.send(*[piece] * 6, None)
    async with asyncio.TaskGroup() as group:
        group.create_task(messages.run())
        assert await messages.get(0) == piece
        await _settle()
        assert client.read_count == 2
        messages.accept()
        assert [await messages.get(place) for place in range(7)] == [*[piece] * 6, None]


async def test_one_message_of_the_largest_size_always_fits() -> None:
    client = Client()
    messages = ClientMessages(client.read)
    client.send(bytes(MAX_MESSAGE_BYTES), b"next", None)
    async with asyncio.TaskGroup() as group:
        group.create_task(messages.run())
        assert len(await messages.get(0) or b"") == MAX_MESSAGE_BYTES
        messages.accept()
        assert [await messages.get(place) for place in (1, 2)] == [b"next", None]


async def test_a_message_over_the_limit_ends_the_call_after_what_came_before_it() -> None:
    client = Client()
    messages = ClientMessages(client.read)
    client.send(b"a", bytes(MAX_MESSAGE_BYTES + 1))
    async with asyncio.TaskGroup() as group:
        group.create_task(messages.run())
        assert await messages.get(0) == b"a"
        with pytest.raises(MessageTooLarge):
            await messages.get(1)


async def test_a_silent_client_is_waited_for_only_so_long() -> None:
    client = Client()
    messages = ClientMessages(client.read)
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(messages.run())
        with pytest.raises(FirstFrameTimeout):
            await messages.first(0.01)
        reader.cancel()
