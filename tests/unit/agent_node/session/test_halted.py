"""A session that is halted: what runs in it, what waits, what comes for it, and what of it begins elsewhere."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from agent_node.lifecycle.halting import stop_halted
from agent_node.run.halted_start import HALTED
from agentring.agent import AgentEvent, Context, Retry
from agentring.cluster.halts import HaltScope
from agentring.errors import Halted
from agentring.ids import Epoch
from harness.halts import EVERYTHING, halted, session, tenant
from harness.sessions import EPOCH, Actor, acting, quick
from harness.stores import RecordingStore

SCOPES = pytest.mark.parametrize("scope", [EVERYTHING, tenant(), session()])


class Stepping:
    """An agent of steps, each of which the test sees and lets go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go = asyncio.Event()
        self.cleaned = ""
        self.first = asyncio.Event()

    async def effect(self, name: str) -> str:
        self.begun.append(name)
        self.first.set()
        await self.go.wait()
        return name

    async def __call__(self, ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            yield str(await ctx.step("a", self.effect, "a"))
            yield str(await ctx.step("b", self.effect, "b"))
            yield str(await ctx.tool("c", self.effect, name="c"))
        finally:
            try:
                await ctx.step("undo", self.effect, "undo")
            except BaseException as error:
                self.cleaned = type(error).__name__
                raise


class _Hosted:
    """As a host that has one session."""

    def __init__(self, actor: Actor) -> None:
        self.sessions = [actor.session]
        self.under_way: list[object] = []


def enforce(actor: Actor, tasks: asyncio.TaskGroup) -> "asyncio.Task[None]":
    hosted = _Hosted(actor)
    return tasks.create_task(
        stop_halted(actor.env.halts, hosted, hosted, tasks)  # type: ignore[arg-type]
    )


async def until(found: object) -> None:
    """Lets everything that can go on go on."""
    for _ in range(50):
        await asyncio.sleep(0)


@SCOPES
async def test_a_turn_that_runs_is_cancelled_and_no_step_of_it_starts(scope: HaltScope) -> None:
    agent = Stepping()
    async with acting(agent, store=RecordingStore(durable=True)) as actor, asyncio.TaskGroup() as tasks:
        enforcing = enforce(actor, tasks)
        await actor.submit("running")
        await actor.submit("waiting")
        await agent.first.wait()
        actor.env.halts.say(halted(scope))
        agent.go.set()
        assert await actor.until_ended("running", "waiting") == ["turn_cancelled"] * 2
        cancelled = [event for event in actor.events() if event.HasField("turn_cancelled")]
        assert {event.turn_cancelled.reason for event in cancelled} == {HALTED}
        assert agent.begun == ["a"]
        assert agent.cleaned == "Halted"  # nor what would undo it
        with pytest.raises(Halted) as refused:
            await actor.submit("later")
        assert refused.value.what == scope.options
        assert not await actor.submit("running")  # it is known, and changes nothing
        actor.env.halts.unsay(scope)
        assert await actor.submit("later")
        assert await actor.until_ended("later") == ["turn_completed"]
        enforcing.cancel()


@SCOPES
async def test_a_turn_that_is_held_goes_on_with_its_next_step_when_it_is_resumed(scope: HaltScope) -> None:
    agent = Stepping()
    async with acting(agent, store=RecordingStore(durable=True)) as actor, asyncio.TaskGroup() as tasks:
        enforcing = enforce(actor, tasks)
        await actor.submit("running")
        await actor.submit("waiting")
        await agent.first.wait()
        actor.env.halts.say(halted(scope, hold=True))
        actor.env.halts.say(halted(scope, hold=True))  # once more
        agent.go.set()
        await until(agent)
        assert agent.begun == ["a"]
        running = actor.session.running
        assert running is not None
        assert not running.slot.is_held  # others may have it
        with pytest.raises(Halted):
            await actor.submit("later")
        actor.env.halts.unsay(scope)
        assert await actor.until_ended("running", "waiting") == ["turn_completed"] * 2
        assert agent.begun == ["a", "b", "c", "undo"] * 2
        enforcing.cancel()


async def test_a_turn_that_is_held_is_cancelled_by_its_client_or_by_a_halt_that_cancels() -> None:
    for ended_by in ("client", "halt"):
        agent = Stepping()
        async with acting(agent, store=RecordingStore(durable=True)) as actor, asyncio.TaskGroup() as tasks:
            enforcing = enforce(actor, tasks)
            await actor.submit("t")
            await agent.first.wait()
            actor.env.halts.say(halted(tenant(), hold=True))
            agent.go.set()
            await until(agent)
            if ended_by == "client":
                await actor.session.cancel("t")
            else:
                actor.env.halts.say(halted(session()))
            assert await actor.until_ended("t") == ["turn_cancelled"]
            assert agent.begun == ["a"]
            enforcing.cancel()


@pytest.mark.parametrize("hold", [True, False])
async def test_what_an_earlier_owner_left_is_held_or_cancelled_where_it_would_begin_again(hold: bool) -> None:
    agent, store = Stepping(), RecordingStore(durable=True)
    async with acting(agent, store=store) as lost:
        await lost.submit("t")
        await agent.first.wait()
    agent.begun.clear()
    agent.go.set()
    async with acting(quick, store=store, epoch=Epoch(EPOCH + 1), lost=True) as owner:
        owner.env.halts.say(halted(EVERYTHING, hold=hold))  # before the runner's first step
        if hold:
            await until(owner)
            assert owner.session.running is not None
            assert owner.session.turn("t").end_seq is None
            owner.env.halts.unsay(EVERYTHING)
        assert await owner.until_ended("t") == ["turn_completed" if hold else "turn_cancelled"]


async def test_a_halt_of_another_session_costs_nobody_anything() -> None:
    async with acting(quick) as actor, asyncio.TaskGroup() as tasks:
        enforcing = enforce(actor, tasks)
        actor.env.halts.say(halted(session("other")))
        await actor.submit("t")
        assert await actor.until_ended("t") == ["turn_completed"]
        enforcing.cancel()


async def test_a_function_that_failed_is_not_tried_again_while_its_run_is_held() -> None:
    tries: list[int] = []

    async with acting(quick) as actor:
        pass
    made: list[Actor] = []

    async def failing() -> str:
        tries.append(1)
        if len(tries) == 1:
            made[0].env.halts.say(halted(session(), hold=True))
            raise OSError
        return "done"

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield str(await ctx.step("f", failing, retry=Retry(most_tries=3, first_wait_s=0.0)))

    async with acting(agent, store=RecordingStore(durable=True)) as actor:
        made.append(actor)
        await actor.submit("t")
        await until(actor)
        assert len(tries) == 1
        actor.env.halts.unsay(session())
        assert await actor.until_ended("t") == ["turn_completed"]
        assert len(tries) == 2
