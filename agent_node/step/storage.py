"""What a run reads and writes by key: its keys are read once, at its first use of storage, its values when asked for.

Guarantees: what is read is what was written, or the run fails (STEP_CORRUPT); what is written beside the steps is
committed in the order in which it came, behind what steps have committed before. Used by steps.py and agent_storage.py.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn

from agent_node.step.commits import Commits
from agent_node.step.errors import StepCorrupt
from agent_node.step.identity import digest
from agent_node.step.recorder import StepRecorder
from agent_node.step.step_run import StepRun
from agent_node.step.storage_keys import Changes, StorageKeys
from agent_node.store.step_records import StepState, StoredStep
from agent_node.store.storage_records import PAGE_KEYS, StorageEntry


class RunStorage:
    """Of one attempt."""

    def __init__(
        self,
        recorder: StepRecorder,
        commits: Commits,
        steps_ready: Callable[[], Awaitable[None]],
        check: Callable[[], None],
        fail: Callable[[StepCorrupt], NoReturn],
        run: StepRun,
    ) -> None:
        """steps_ready: returns when what earlier attempts recorded is known; check: raises what ends the run by itself;
        fail: ends it with an error, which it raises."""
        self._recorder = recorder
        self._commits = commits
        self._check = check
        self._fail = fail
        self._steps_ready = steps_ready
        self._attempt = run.attempt
        self._has_gained = False
        self.keys = StorageKeys(run.most_storage_bytes, run.wait_s)
        self._loading: asyncio.Future[None] | None = None

    async def ready(self) -> None:
        """Returns once the keys are known."""
        self._check()
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_future()
            self._recorder.tasks.create_task(self._load(self._loading))
        await asyncio.shield(self._loading)
        self._check()

    async def read(self, key: str) -> bytes | None:
        """The committed value; None: there is none."""
        await self.ready()
        if key not in self.keys.sizes:
            return None
        value = await self._recorder.read_value(key.encode())
        self._check()
        if value is None:
            return None  # it was removed meanwhile
        if not value.is_intact:
            self._fail(StepCorrupt("what is stored under a key is not what was written"))
        return value.data

    async def change(self, values: Mapping[str, bytes | None]) -> None:
        """Commits all of these, as no step's. Cancellation: they may be committed."""
        await self._steps_ready()  # whose rows have the ordinals before
        await self.ready()
        changes = Changes(self.keys)
        try:
            for key, value in values.items():
                self.keys.change(changes, key, value, hold=False)
        except BaseException:
            self.keys.undo(changes)
            raise
        if changes.values:
            row = None if self._has_gained else self._gain()
            self._has_gained = True
            await self._commits.add(row, changes.writes(), settled=self.settling(changes))
            self._check()

    def _gain(self) -> StoredStep:
        """A row that says that the attempt has gained something, as one with a step's outcome does: what is stored here
        is what a framework goes on with, so a run that is cut off then was not in vain."""
        step_id = digest(b"stored", self._recorder.life_id.encode(), str(self._attempt).encode())
        return StoredStep(0, step_id, b"", "storage", self._attempt, StepState.NOTED, pure=True)

    def settling(self, changes: Changes) -> "Callable[[asyncio.Future[None]], None]":
        """What is to be called once it is known whether they were committed."""

        def settled(committed: "asyncio.Future[None]") -> None:
            has_failed = committed.cancelled() or committed.exception() is not None
            if changes.values:
                self.keys.undo(changes) if has_failed else self.keys.committed(changes)

        return settled

    async def _load(self, loaded: "asyncio.Future[None]") -> None:
        entries: list[StorageEntry] = []
        try:
            is_last = False
            while not is_last:
                page = await self._recorder.read_keys(entries[-1].key if entries else b"")
                entries += page
                is_last = len(page) < PAGE_KEYS
            self.keys.load(entries)
            loaded.set_result(None)
        except Exception as error:
            loaded.set_exception(error)
            loaded.exception()  # nobody may be waiting for it any more
        finally:
            if not loaded.done():
                loaded.cancel()
