"""AgentTest: an agent in the test's own process, on real nodes without etcd and network."""

import json
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from agentring.agent import Agent, JsonObject
from agentring.client.events import Question
from agentring.testing.answering import Answers, Reply, check_end
from agentring.testing.clock import TestClock
from agentring.testing.cluster_test import ClusterTest
from agentring.testing.crashes import MOST_CUTS, Beginning, CrashReport, crash_everywhere
from agentring.testing.cut_plans import plan_of
from agentring.testing.ended_turn import Turn
from agentring.testing.loop_tasks import mortal_tasks
from agentring.testing.nodes import Nodes
from agentring.testing.running import input_of, run_task, run_turn
from agentring.testing.surroundings import log_plainly, surroundings

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

    def __init__(
        self,
        agent: Agent,
        *,
        state: Mapping[str, Any] | None = None,
        now: datetime | None = None,
        settings: Any = None,
        resources: Any = None,
    ) -> None:
        """state: the session's in the beginning, as JSON; None: empty. now: what time it is, with a time zone; None:
        the beginning of 2026. settings: `ctx.settings`; None: the defaults of the class that the agent declares.
        resources: `ctx.resources`, a fake say; None: what the agent's lifespan opens, once, and closes at the end.
        Raises ValueError, and TypeError where the state is no JSON."""
        self.clock = TestClock(now)
        """By which `ctx.now()` goes."""
        self.state: JsonObject = json.loads(json.dumps(dict(state or {}), allow_nan=False))
        """The session's state after the last turn that completed, as JSON."""
        self._agent = agent
        self._nodes = Nodes(agent, self.clock)
        self._answers = Answers()
        self._count = 0
        self._is_open = False
        self._surroundings = surroundings(agent, settings, resources)
        self._stack = AsyncExitStack()

    @staticmethod
    def cluster(
        agent: Agent, *, state: Mapping[str, Any] | None = None, nodes: int = 3, data_dir: Path | None = None
    ) -> ClusterTest:
        """The same test on a real local cluster: nodes, router and etcd are processes, and `crash` kills the node's
        (kill -9).

            async with AgentTest.cluster(counter) as t:
                t.crash(after_step=1)
                assert (await t.turn("hi")).attempts == 2

        agent: one that a module defines, since the nodes import it. nodes: each death takes one away. data_dir: where
        the cluster keeps its data and logs; None: in a directory that is removed. Takes some seconds, and each death
        some more; `crash_everywhere`, `at_wait` and the clock are for the test's own process. Raises ValueError.
        """
        return ClusterTest(agent, state=state, nodes=nodes, data_dir=data_dir)

    async def __aenter__(self) -> "AgentTest":
        if self._is_open or self._nodes.are_closed:
            raise RuntimeError("an AgentTest is entered once; make another one")
        log_plainly()
        try:
            self._nodes.opened = await self._stack.enter_async_context(self._surroundings)
            self._stack.enter_context(mortal_tasks())
        except BaseException:
            await self._stack.aclose()
            raise
        self._is_open = True
        await self._nodes.set_session(json.dumps(self.state), ())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_open = False
        try:
            await self._nodes.close()
        finally:
            await self._stack.aclose()

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
        self._check_open()
        self._count += 1
        turn = await run_turn(self._nodes, f"turn-{self._count}", input_of(text, data), self._answers, timeout_s)
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
        self._check_open()
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
        self._answers.add(answers)

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

        before_step: before the function of the step is called (steps are counted from 1, as they begin, tools and those
        of `ctx.once` among them); in_step: after it was called, before its outcome is recorded; after_step: once that
        is recorded, before the agent has it; at_wait: at the wait of the agent's code of this number, before anything
        else happens; at_end: when the agent has ended, before that is stored. Raises ValueError unless exactly one is
        said. A turn that does not come to the place fails: TurnNotAsExpected.
        """
        self._nodes.plans.waiting.append(plan_of(before_step, in_step, after_step, at_wait, at_end=at_end))

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
        another node goes on with it, and it must end the same: text, result, state, what it emitted, and its effects.

            report = await t.crash_everywhere("buy tea", watch={"mails": lambda: outbox})
            assert len(report.cuts) > 5

        The effects are those of every `Effect` that the agent calls, and what `watch` shows: numbers and lists that
        grow, or anything that compares. setup: called before each run, to put fakes back. accepts: whether another end
        is right as well, that of an agent that says "unknown" say; then effects may be missing. most_cuts: more places
        are an error. timeout_s: of each run. t's own session is as it was afterwards.

        Raises CrashFound, an AssertionError that says what differs, where the node died, and what would help; and as
        `turn` where the turn does not even end without a crash.
        """
        self._check_open()
        beginning = Beginning(
            self._agent, lambda: TestClock(self.clock.now), self._nodes.opened, *await self._nodes.session()
        )
        answers = self._answers.copy()

        async def run(nodes: Nodes) -> Turn:
            return await run_turn(nodes, "turn", input_of(text, data), answers.copy(), timeout_s)

        return await crash_everywhere(
            beginning, run, watch=watch or {}, setup=setup, accepts=accepts, most_cuts=most_cuts
        )

    def _check_open(self) -> None:
        if not self._is_open:
            raise RuntimeError("an AgentTest runs within its block: async with AgentTest(agent) as t")

    def _check(self, turn: Turn, what: str, fails: str) -> None:
        plans = self._nodes.plans.waiting
        missed = ", ".join(map(str, plans))
        plans.clear()
        check_end(turn, what, fails, missed)
