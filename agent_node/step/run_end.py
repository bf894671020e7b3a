"""What ends a run while its steps are under way: asked before they go on, and told by them.

Guarantees: what the run fails with first is what it fails with. Shared by the steps of one attempt (steps.py) and its
storage (storage.py), which so need not know each other: a run leaves nothing for the garbage collector.
"""

from typing import NoReturn

from agent_node.step.commits import Commits
from agent_node.step.errors import StepsFailed
from agent_node.step.recorder import StepRecorder
from agent_node.step.step_run import StepRun


class RunEnd:
    """Of one attempt."""

    def __init__(self, run: StepRun, recorder: StepRecorder, commits: Commits) -> None:
        self._run = run
        self._recorder = recorder
        self._commits = commits
        self._failure: StepsFailed | None = None

    def check(self) -> None:
        """Raises what ends the run by itself."""
        if self._failure is not None:
            raise self._failure
        self._run.check()
        self._recorder.check()
        self._commits.check()

    def fail(self, error: StepsFailed) -> NoReturn:
        """Ends the run with an error, which is raised, or with the one that it has failed with before."""
        self._failure = self._failure or error
        self._run.stop(self._failure)
        raise self._failure
