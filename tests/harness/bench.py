"""One run of an agent without a session: a lease on a clock of the test's, a log in memory."""

from collections.abc import Awaitable, Callable
from typing import Any

from agent_node.events.log import EventLog
from agent_node.run.agent_run import run_agent
from agent_node.run.call_terms import NO_TERMS, CallTerms
from agent_node.run.environment import RunEnvironment, TurnLimits
from agent_node.run.outcome import Completed, Failed
from agent_node.run.run_input import Questions, TurnInput
from agent_node.step.recorder import StepRecorder
from agent_node.store import ToolStart
from agentring.agent import Agent, PastTurn
from agentring.ids import Epoch, Incarnation, NodeId, SessionRef, TaskRef, parse_session
from agentring.v1.session_pb2 import Event
from harness.clock import PATIENCE_S, FakeClock
from harness.premises import lease_on
from harness.read_events import read
from harness.sessions import ListedAudit, kind_of
from harness.streams import assert_gapless

EPOCH = Epoch(7)
MAX_TEXT_BYTES = 100_000
MAX_STATE_BYTES = 1_000
SHORT_S = 0.02


class Bench:
    """What one run stands on."""

    def __init__(
        self,
        *,
        timeout_s: float = PATIENCE_S,
        grace_s: float = SHORT_S,
        max_text_bytes: int = MAX_TEXT_BYTES,
        max_state_bytes: int = MAX_STATE_BYTES,
        step_wait_s: float = PATIENCE_S,
        max_storage_bytes: int = 64 << 20,
    ) -> None:
        self.clock = FakeClock()
        self.audit = ListedAudit()
        limits = TurnLimits(
            timeout_s,
            max_text_bytes,
            max_state_bytes,
            cancel_grace_s=grace_s,
            step_wait_s=step_wait_s,
            max_storage_bytes=max_storage_bytes,
        )
        self.env = RunEnvironment(NodeId("n1"), lease_on(self.clock), self.audit, limits, Incarnation(1))
        self.log = EventLog(EPOCH, 1 << 22)

    async def run(
        self,
        agent: Agent,
        *,
        ref: SessionRef | TaskRef | None = None,
        turn_id: str = "t",
        state_json: str = "{}",
        text: str = "hi",
        data: dict[str, Any] | None = None,
        history: tuple[PastTurn, ...] = (),
        questions: Questions | None = None,
        tool_starts: Callable[[ToolStart], Awaitable[None]] | None = None,
        attempt: int = 1,
        steps: Callable[[], StepRecorder] | None = None,
        name: str = "",
        terms: CallTerms = NO_TERMS,
    ) -> Completed | Failed:
        turn = TurnInput(
            ref=ref or parse_session("", "s"),
            turn_id=turn_id,
            attempt=attempt,
            steps=steps,
            text=text,
            data=data or {},
            state_json=state_json,
            history=history,
            turn_number=len(history) + 1,
            questions=questions,
            tool_starts=tool_starts,
            agent=name,
            terms=terms,
        )
        return await run_agent(self.env, agent, turn, self.log, EPOCH)

    def events(self) -> list[Event]:
        seq, events = 0, []
        while seq < self.log.head_seq:
            seq, more = read(self.log, seq)
            events += more
        assert_gapless(events, 0)
        return events

    @property
    def kinds(self) -> list[str]:
        return [kind_of(event) for event in self.events()]

    @property
    def text(self) -> str:
        return "".join(event.text_delta.text for event in self.events())


def completed(outcome: Completed | Failed) -> Completed:
    assert isinstance(outcome, Completed), outcome
    return outcome


def failed(outcome: Completed | Failed) -> str:
    """The reason."""
    assert isinstance(outcome, Failed), outcome
    assert len(outcome.error_id) == 16
    event = outcome.to_event()
    assert (event.reason, event.error_id) == (outcome.reason, outcome.error_id)
    return outcome.reason
