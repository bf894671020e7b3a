"""Clients that put files at their own pace: none keeps the others from it for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent_node.lifecycle.supervisor import IncarnationSupervisor
from agent_node.services.blob import BlobService
from agent_node.session.session import Session
from agent_node.settings import NodeSettings
from agentring.errors import FirstFrameTimeout, InvalidFile, NodeOverloaded, QuotaExceeded
from agentring.rpc.service import Call
from agentring.v1.blob_pb2 import PutBlobRequest, PutBlobResponse
from harness.limited_nodes import quota_of
from harness.premises import Stage
from harness.sessions import Actor, acting

CAT = b"\x89PNG cat"
QUICK_S = 0.05


class Putting:
    """A call that puts files."""

    def __init__(self, actor: Actor) -> None:
        self.caller = None
        self.metadata = dict[str, str]()
        self.sent = list[Any]()
        self._session = actor.session
        registration = SimpleNamespace(identity=SimpleNamespace(node_id="n1"))
        host = SimpleNamespace(open=self._open)
        current = SimpleNamespace(host=host, registration=registration, quota=actor.env.quota)
        settings = {"node_id": "n1", "data_dir": Path("unused"), "first_frame_timeout_s": QUICK_S}
        self.service = BlobService(
            cast(IncarnationSupervisor, SimpleNamespace(current=current)), NodeSettings.model_validate(settings)
        )

    async def _open(self, *_: object) -> Session:
        return self._session

    def named(self, *_: str) -> None:
        """As Call."""

    async def accept(self, *_: object) -> None:
        """As Call."""

    async def send(self, response: Any) -> None:
        """As Call."""
        self.sent.append(response)

    async def put(self, first: PutBlobRequest, *more: bytes, then_nothing: bool = False) -> None:
        async def requests() -> AsyncIterator[PutBlobRequest]:
            yield first
            for data in more:
                yield PutBlobRequest(data=data)
            while then_nothing:
                yield PutBlobRequest()
                await asyncio.sleep(0)

        await self.service.PutBlob(requests(), cast(Call, self))


def first(size_bytes: int, data: bytes = CAT) -> PutBlobRequest:
    return PutBlobRequest(session_id="s1", agent="a", sha256=sha256(data).digest(), size_bytes=size_bytes)


async def test_a_file_comes_in_pieces_and_whole_or_not_at_all() -> None:
    async with acting(Stage().held) as actor:
        putting = Putting(actor)
        for wrong in ((CAT[:4],), (CAT, b"more"), (b"\x89PNG dog",)):
            with pytest.raises(InvalidFile):
                await putting.put(first(len(CAT)), *wrong)
        await putting.put(first(len(CAT)), CAT[:4], b"", CAT[4:])
        assert putting.sent == [PutBlobResponse()]
        assert await actor.store.files.size(actor.session.ref, sha256(CAT).digest()) == len(CAT)


async def test_a_file_that_comes_without_end_has_a_deadline() -> None:
    async with acting(Stage().held) as actor:
        with pytest.raises(FirstFrameTimeout):
            await Putting(actor).put(first(len(CAT)), then_nothing=True)


async def test_who_waits_too_long_for_a_place_is_told_to_come_again() -> None:
    async with acting(Stage().held) as actor:
        putting = Putting(actor)
        slow = [asyncio.ensure_future(putting.put(first(16 << 20), then_nothing=True)) for _ in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(NodeOverloaded):
            await putting.put(first(len(CAT)), CAT)
        for each in slow:
            each.cancel()
            with suppress(asyncio.CancelledError):
                await each
        await putting.put(first(len(CAT)), CAT)
        assert putting.sent == [PutBlobResponse()]


async def test_a_files_bytes_count_before_they_come() -> None:
    quota = quota_of("[tenant]\nbytes_in_per_s = 4")
    async with acting(Stage().held, quota=quota) as actor:
        putting = Putting(actor)
        await putting.put(first(len(CAT)), CAT)
        with pytest.raises(QuotaExceeded) as refused:
            await putting.put(first(len(CAT)), then_nothing=True)
        assert refused.value.what == "bytes_in_per_s"
        assert refused.value.wait_s == pytest.approx(len(CAT) / 4, abs=0.01)
