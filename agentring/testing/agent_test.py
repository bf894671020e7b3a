"""AgentTest: an agent in the test's own process, on real nodes without etcd and network."""

import json
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime
from typing import Any, TypeAlias

from agentring.agent import Agent, Answer, JsonObject
from agentring.client.events import Question
from agentring.testing.clock import TestClock
from agentring.testing.crashes import MOST_CUTS, Beginning, CrashReport, crash_everywhere
from agentring.testing.cut_plans import AtNth, AtStep
from agentring.testing.ended_turn import Turn
from agentring.testing.errors import TurnNotAsExpected
from agentring.testing.loop_tasks import mortal_tasks
from agentring.testing.nodes import Nodes
from agentring.testing.running import Replies, input_of, run_task, run_turn

Reply: TypeAlias = str | JsonObject | Answer
"""An answer: its text, its data, or both."""

_WAIT_S = 10.0


class AgentTest:
    """One session of an agent, and its tasks, run by a node's own code in the test's event loop.

        async def test_the_greeter_counts():
            async with AgentTest(greeter) as t:
                turn = await t.turn("hi")
                assert turn.text == "Hello for the 1. time, nice to see you."
                assert turn.result == {"greeted": 1}
                assert t.state == {"greeted": 1}

    Works under pytest-asyncio, anyio (on asyncio) and plain `asyncio.run`. Nothing is shared with other AgentTests;
    nothing is stored but in memory. Resource handling: `async with`, in one task. At its end what is left of the agent
    is cancelled.
    """

    def __init__(self, agent: Agent, *, state: Mapping[str, Any] | None = None, now: datetime | None = None) -> None:
        """state: the session's in the beginning, as JSON; None: empty. now: what time it is, with a time zone; None:
        the beginning of 2026. Raises ValueError, and TypeError where the state is no JSON."""
        self.clock = TestClock(now)
        """By which `ctx.now()` goes."""
        self.state: JsonObject = json.loads(json.dumps(dict(state or {}), allow_nan=False))
        """The session's state after the last turn that completed, as JSON."""
        self._agent = agent
        self._nodes = Nodes(agent, self.clock)
        self._answers: deque[Reply] = deque()
        self._answer: Callable[[Question], Reply] | None = None
        self._count = 0
        self._stack = ExitStack()

    async def __aenter__(self) -> "AgentTest":
        self._stack.enter_context(mortal_tasks())
        await self._nodes.set_session(json.dumps(self.state), ())
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._nodes.close()
        finally:
            self._stack.close()

    async def turn(
        self, text: str = "", *, data: JsonObject | None = None, fails: str = "", timeout_s: float = _WAIT_S
    ) -> Turn:
        """Runs a turn to its end, over the deaths that `crash` has planned.

            turn = await t.turn("tea", data={"count": 2})
            broken = await t.turn("", fails="AGENT_ERROR")
            assert "KeyError" in repr(broken.error)

        text, data: the input. fails: the reason that it is to fail with; empty: it is to complete. timeout_s: how long
        it may take, by the machine's clock. Raises TurnNotAsExpected (with the agent's error as its cause),
        QuestionUnanswered, TurnTimeout, all of them AssertionErrors.
        """
        self._count += 1
        turn = await run_turn(self._nodes, f"turn-{self._count}", input_of(text, data), self._replies(), timeout_s)
        self.state = turn.state
        self._check(turn, f"the turn {text!r}", fails)
        return turn

    async def task(
        self, key: str, text: str = "", *, data: JsonObject | None = None, fails: str = "", timeout_s: float = _WAIT_S
    ) -> Turn:
        """Runs a task to its end; one that has ended is answered with its outcome, as in a cluster.

        report = await t.task("report-7", data={"month": 5})

        All else as `turn`.
        """
        turn = await run_task(self._nodes, key, input_of(text, data), timeout_s)
        self._check(turn, f"the task {key}", fails)
        return turn

    def answers(self, *answers: Reply | Callable[[Question], Reply]) -> None:
        """What the next questions of the agent are answered with, in their order; or a function of the question, for
        all that follow.

            t.answers("yes", {"amount": 7})
            t.answers(lambda question: "yes" if "sure" in question.prompt else "no")

        A question without an answer fails the turn: QuestionUnanswered. Raises TypeError.
        """
        for answer in answers:
            if callable(answer):
                self._answer = answer
            elif isinstance(answer, str | dict | Answer):
                self._answers.append(answer)
            else:
                raise TypeError(f"an answer is a str, a dict, an Answer or a function, not {type(answer).__name__}")

    def crash(
        self,
        *,
        before_step: int | None = None,
        in_step: int | None = None,
        after_step: int | None = None,
        at_wait: int | None = None,
        at_end: bool = False,
    ) -> None:
        """The node dies in the next turn or task, at one place; another one then goes on with it. Several calls are for
        several deaths, one after the other.

            t.crash(after_step=2)
            turn = await t.turn("buy tea")
            assert turn.attempts == 2
            assert [step.replayed for step in turn.steps] == [True, True, False]

        before_step: before the function of the step is called (steps are counted from 1, as they begin); in_step: after
        it was called, before its outcome is recorded; after_step: once that is recorded, before the agent has it;
        at_wait: at the wait of the agent's code of this number, before anything else happens; at_end: when the agent
        has ended, before that is stored. Raises ValueError unless exactly one is said. A turn that does not come to the
        place fails: TurnNotAsExpected.
        """
        plans: list[AtStep | AtNth] = [
            AtStep(kind, step)
            for kind, step in (("begin", before_step), ("called", in_step), ("recorded", after_step))
            if step is not None
        ]
        if at_wait is not None:
            plans.append(AtNth(at_wait, "wait"))
        if at_end:
            plans.append(AtNth(1, "end"))
        if len(plans) != 1:
            raise ValueError("say one place: before_step=, in_step=, after_step=, at_wait= or at_end=")
        self._nodes.plans.waiting += plans

    async def crash_everywhere(
        self,
        text: str = "",
        *,
        data: JsonObject | None = None,
        watch: Mapping[str, Callable[[], Any]] | None = None,
        setup: Callable[[], object] | None = None,
        accepts: Callable[[Turn], bool] | None = None,
        most_cuts: int = MOST_CUTS,
        timeout_s: float = _WAIT_S,
    ) -> CrashReport:
        """Runs the turn once as it is; then again and again from the same session, cut off each time at another place:
        before and after each wait of the agent's code, around each step, and before its end is stored. Each time
        another node goes on with it, and it must end the same: text, result, state, and the effects that it had.

            report = await t.crash_everywhere("buy tea", watch={"mails": lambda: outbox})
            assert len(report.cuts) > 5

        The effects are those of every `Effect` that the agent calls, and what `watch` shows: numbers and lists that
        grow, or anything that compares. setup: called before each run, to put fakes back. accepts: whether another end
        is right as well, that of an agent that says "unknown" say; then effects may be missing. most_cuts: more places
        are an error. timeout_s: of each run. t's own session is as it was afterwards.

        Raises CrashFound, an AssertionError that says what differs, where the node died, and what would help; and as
        `turn` where the turn does not even end without a crash.
        """
        beginning = Beginning(self._agent, lambda: TestClock(self.clock.now), *await self._nodes.session())
        answers = tuple(self._answers)

        async def run(nodes: Nodes) -> Turn:
            return await run_turn(nodes, "turn", input_of(text, data), self._replies(deque(answers)), timeout_s)

        return await crash_everywhere(
            beginning, run, watch=watch or {}, setup=setup, accepts=accepts, most_cuts=most_cuts
        )

    def _replies(self, answers: deque[Reply] | None = None) -> Replies:
        left = self._answers if answers is None else answers

        def reply(question: Question) -> Answer | None:
            if left:
                return _answer(left.popleft())
            return _answer(self._answer(question)) if self._answer is not None else None

        return reply

    def _check(self, turn: Turn, what: str, fails: str) -> None:
        if plans := self._nodes.plans.waiting:
            missed = ", ".join(map(str, plans))
            plans.clear()
            raise TurnNotAsExpected(f"{what} ended, and its node was still to die {missed}; it had: {turn!r}")
        if turn.failure == fails:
            return
        if not turn.failure:
            raise TurnNotAsExpected(f"{what} completed, and was to fail with {fails}: {turn!r}")
        wanted = f", and was to fail with {fails}" if fails else ""
        raised = f": {type(turn.error).__name__}: {turn.error}" if turn.error is not None else ""
        detail = f" ({turn.detail})" if turn.detail else ""
        raise TurnNotAsExpected(f"{what} failed with {turn.failure}{detail}{wanted}{raised}") from turn.error


def _answer(reply: Reply) -> Answer:
    match reply:
        case str():
            return Answer(reply, {})
        case Answer():
            return reply
        case _:
            return Answer("", reply)
