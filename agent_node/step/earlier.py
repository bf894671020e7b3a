"""What earlier attempts of a run have recorded, read with this attempt's first step."""

import asyncio

from agent_node.step.commits import Commits
from agent_node.step.journal import Journal
from agent_node.step.recorder import StepRecorder
from agent_node.step.run_end import RunEnd
from agent_node.store.step_records import PAGE_ROWS, StoredStep


class EarlierRows:
    """Read once, whoever asks first; a failed read is everybody's."""

    def __init__(
        self, recorder: StepRecorder, journal: Journal, commits: Commits, run_end: RunEnd, *, are_known: bool
    ) -> None:
        """journal: gets them all; commits: goes on behind them; are_known: there are none."""
        self._recorder = recorder
        self._journal = journal
        self._commits = commits
        self._end = run_end
        self._reading: asyncio.Future[None] | None = None
        self.are_known = are_known
        """Whether the journal has got them."""

    async def ready(self) -> None:
        """Returns when they are known. Raises what ends the run, and what the store raises. Cancellation: they are read
        all the same."""
        self._end.check()
        if self.are_known:
            return
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_future()
            self._recorder.tasks.create_task(self._read(self._reading))
        await asyncio.shield(self._reading)
        self._end.check()

    async def _read(self, done: "asyncio.Future[None]") -> None:
        rows: list[StoredStep] = []
        try:
            is_last = False
            while not is_last:
                page = await self._recorder.read(rows[-1].ordinal if rows else 0)
                rows += page
                is_last = len(page) < PAGE_ROWS
            self._journal.load(rows)
            self._commits.last_ordinal = self._journal.last_ordinal
            self.are_known = True
            done.set_result(None)
        except Exception as error:
            done.set_exception(error)
            done.exception()  # nobody may be waiting for it any more
        finally:
            if not done.done():
                done.cancel()
