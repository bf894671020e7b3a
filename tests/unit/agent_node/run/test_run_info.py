"""What of its run an agent sees in its context."""

from collections.abc import AsyncIterator
from typing import Any

from agent_node.run.call_terms import CallTerms
from agentring.agent import AgentEvent, Caller, Context
from agentring.ids import TaskKey, TaskRef, TenantId, parse_session
from harness.bench import EPOCH, Bench, completed


class Seen:
    async def agent(self, ctx: Context) -> AsyncIterator[AgentEvent]:
        self.ids = (ctx.agent, ctx.tenant, ctx.session_id, ctx.task_key, ctx.turn_id)
        self.caller = ctx.caller
        self.run: tuple[Any, ...] = (ctx.node_id, ctx.attempt, ctx.fencing_token, ctx.idempotency_key)
        yield "seen"


async def test_a_turn_names_its_session_and_its_caller(bench: Bench) -> None:
    seen = Seen()
    metadata = (("x-locale", "nb"), ("x-plan", "gold"))
    completed(await bench.run(seen.agent, ref=parse_session("acme", "s1"), name="shop", terms=CallTerms(metadata)))
    assert seen.ids == ("shop", "acme", "s1", "", "t")
    assert seen.caller == Caller("acme", "", {}, {"x-locale": "nb", "x-plan": "gold"})
    assert seen.run == ("n1", 1, EPOCH, "acme/session/s1/t")


async def test_a_task_has_neither_session_nor_turn(bench: Bench) -> None:
    seen = Seen()
    completed(await bench.run(seen.agent, ref=TaskRef(TenantId("acme"), TaskKey("job")), turn_id="", name="shop"))
    assert seen.ids == ("shop", "acme", "", "job", "")
    assert seen.caller == Caller("acme")
    assert seen.run[3] == "acme/task/job"
