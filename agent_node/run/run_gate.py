"""What holds a run's next step while the run is halted, and refuses it where its caller's credential was revoked.

Guarantees: no step, tool, `ctx.once` or question begins while the run is halted; one that waits keeps none of the
node's slots, and the run's time stands still. A halt that cancels comes as the run's cancellation
(agent_node/lifecycle/halting.py), so that it ends as cancelled and not by an error of its agent's; a run that was
asked to end begins nothing more, its clean-up included. Made with a run's first step, or its first `once`.
"""

from collections.abc import Callable

from agent_node.run.environment import RunEnvironment
from agent_node.run.run_input import RunPlace, TurnInput
from agent_node.run.time_limit import PausableDeadline
from agentring.errors import CredentialRevoked


class RunGate:
    """Of one run."""

    __slots__ = ("_agent", "_halts", "_is_revoked", "_is_stopping", "_ref", "_slot", "_time", "_waiting", "_was_left")

    def __init__(
        self,
        env: RunEnvironment,
        turn: TurnInput,
        time: PausableDeadline,
        slot: RunPlace | None,
        is_stopping: Callable[[], bool],
    ) -> None:
        """time: the run's; slot: that it holds, None: nobody counts it; is_stopping: whether it was asked to end."""
        self._halts = env.halts
        self._is_revoked = env.revocation(turn.ref.tenant, turn.terms)
        self._ref = turn.ref
        self._agent = turn.agent
        self._time = time
        self._slot = slot
        self._is_stopping = is_stopping
        self._waiting = 0
        """How many of its steps wait."""
        self._was_left = False
        """The slot was given back meanwhile."""

    @property
    def is_shut(self) -> bool:
        """Whether nothing may begin now."""
        if self._is_revoked is not None and self._is_revoked():
            return True
        return self._halts.current is not None and self._halts.find(self._ref, self._agent) is not None

    async def pass_by(self) -> None:
        """Returns once the run is not halted. Raises Halted where it was asked to end, CredentialRevoked. Cancellation:
        nothing begins."""
        if not self.is_shut:
            return
        self._check_revoked()
        self._waiting += 1
        try:
            await self._halts.pass_by(self._ref, self._agent, self._is_stopping, self._wait)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._time.resume()
        if self._was_left and self._slot is not None:
            self._was_left = False
            await self._slot.acquire()
        self._check_revoked()

    def _check_revoked(self) -> None:
        # Invariant: no step begins for a credential that was revoked (tests/unit/agent_node/run/test_run_gate.py).
        if self._is_revoked is not None and self._is_revoked():
            raise CredentialRevoked

    def _wait(self) -> None:
        self._time.pause()
        if self._slot is not None:
            self._was_left = True
            self._slot.release()
