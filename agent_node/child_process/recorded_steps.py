"""The steps of a run in a child process (`ctx.step`): the child has the journal, the node records it.

Guarantees: what the child's recorder is asked for, the run's own recorder on the node does, under all its compares; a
write that was begun there is carried out to its end, whatever becomes of the child. Used by child.py and run.py.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from agent_node.single_flight import SingleFlight
from agent_node.step.recorder import StepRecorder
from agent_node.store.step_records import BlobChunk, StoredStep
from agent_node.store.storage_records import StorageEntry, StorageValue, StorageWrite

_METHODS = ("read", "read_chunk", "read_value", "read_keys", "begun", "keep", "keep_chunk")


class ChildSteps:
    """A StepRecorder in the child."""

    def __init__(
        self,
        life_id: str,
        tasks: asyncio.TaskGroup,
        request: Callable[..., Awaitable[Any]],
        send: Callable[..., None],
        check: Callable[[], None],
    ) -> None:
        """request: asks the node, and returns its reply; send: tells it, in the order of the run's events; check: as
        StepRecorder, as far as the node has said."""
        self._check = check
        self._send = send
        self._marks = 0
        self.life_id = life_id
        self.tasks = tasks
        self._request = request

    def mark(self) -> int:
        """As StepRecorder. The node knows the number, which says here which mark it is: a negative one."""
        self._marks -= 1
        self._send("mark", self._marks)
        return self._marks

    def check(self) -> None:
        """As StepRecorder."""
        self._check()

    async def read(self, after_ordinal: int) -> Sequence[StoredStep]:
        """As StepRecorder."""
        rows: Sequence[StoredStep] = await self._request("steps", "read", after_ordinal)
        return rows

    async def read_chunk(self, digest: bytes, number: int) -> bytes | None:
        """As StepRecorder."""
        data: bytes | None = await self._request("steps", "read_chunk", digest, number)
        return data

    async def read_value(self, key: bytes) -> StorageValue | None:
        """As StepRecorder."""
        value: StorageValue | None = await self._request("steps", "read_value", key)
        return value

    async def read_keys(self, after: bytes) -> Sequence[StorageEntry]:
        """As StepRecorder."""
        entries: Sequence[StorageEntry] = await self._request("steps", "read_keys", after)
        return entries

    async def begun(self, step: StoredStep) -> None:
        """As StepRecorder."""
        await self._request("steps", "begun", step)

    async def keep(self, steps: Sequence[StoredStep], storage: Sequence[StorageWrite] = ()) -> None:
        """As StepRecorder."""
        await self._request("steps", "keep", list(steps), list(storage))

    async def keep_chunk(self, chunk: BlobChunk) -> None:
        """As StepRecorder."""
        await self._request("steps", "keep_chunk", chunk)

    def close(self) -> None:
        """As StepRecorder: the node closes the run's own."""


class NodeSteps:
    """The node's side."""

    def __init__(self, recorder: StepRecorder, may_begin: Callable[[], Awaitable[None]]) -> None:
        """recorder: the run's own; may_begin: awaited before a step begins."""
        self._recorder = recorder
        self._may_begin = may_begin
        self._marks: dict[int, int] = {}
        self._under_way: SingleFlight[object, Any] = SingleFlight(recorder.tasks)

    @property
    def life_id(self) -> str:
        """As StepRecorder."""
        return self._recorder.life_id

    @property
    def is_cut_off(self) -> bool:
        """Whether the attempt ends and the run does not."""
        try:
            self._recorder.check()
        except Exception:
            return True
        return False

    def mark(self, number: int) -> None:
        """The child says that this is what it has told."""
        self._marks[number] = self._recorder.mark()

    async def answer(self, method: str, *arguments: Any) -> Any:
        """What the child asks for."""
        if method not in _METHODS:
            raise ValueError(method)
        if method == "begun":
            await self._may_begin()
            self._recorder.check()  # which the child cannot
        if method == "keep":
            steps, *others = arguments
            arguments = (self._with_seq(steps), *others)
        call = getattr(self._recorder, method)
        return await self._under_way.get(object(), lambda: call(*arguments))

    def _with_seq(self, steps: list[StoredStep]) -> list[StoredStep]:
        """With the number in the place of a mark. A later commit has no earlier mark."""
        published = steps[-1].published if steps else None
        if published is None or published.seq >= 0:
            return steps
        seq = self._marks[published.seq]
        for earlier in [number for number in self._marks if number > published.seq]:
            del self._marks[earlier]
        return [*steps[:-1], replace(steps[-1], published=replace(published, seq=seq))]

    def close(self) -> None:
        """The run is over."""
        self._recorder.close()
