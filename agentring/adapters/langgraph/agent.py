"""A compiled graph as an agent.

Guarantees: a node that has finished is not run again, also where the turn goes on elsewhere: the graph goes on at its
last checkpoint, which is committed before the next nodes run; a turn that is run again says again what its finished
nodes have said, so that its text is whole; what earlier turns have put into the graph's state is there in the next one.
"""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph.types import StateSnapshot

from agentring.adapters.current import within
from agentring.adapters.langgraph.asked import Asked, Resume, data_or_text
from agentring.adapters.langgraph.messages import Transcript, in_update, plain
from agentring.adapters.langgraph.saver import AgentringSaver
from agentring.adapters.langgraph.shown import CUSTOM, NODE, TOOL, USED, WORDS, Piece, Shown
from agentring.agent import AgentEvent, Context, JsonObject, Result
from agentring.usage import Usage

MESSAGES = "messages"
_TURN = "agentring_turn"
"""In a checkpoint's metadata: the idempotency key of the turn that has made it."""
_BEFORE = "agentring_messages_before"
"""Likewise: how many messages the state had when that turn began."""

Graph = Pregel[Any, Any, Any, Any]
GraphAgent = Callable[[Context[Any]], AsyncIterator[AgentEvent]]


def langgraph_agent(
    graph: Graph,
    *,
    input: Callable[[Context[Any]], Any] | None = None,
    output: Callable[[Any], Mapping[str, Any] | None] | None = None,
    resume: Resume = data_or_text,
    config: RunnableConfig | None = None,
    context: Callable[[Context[Any]], Any] | None = None,
    prune: bool = True,
    node_events: bool = False,
) -> GraphAgent:
    """Makes an agent of a compiled graph, which stays as it is:

        agent = langgraph_agent(builder.compile())

    graph: of any kind; its checkpointer, if it has one, is an AgentringSaver's place. input: what a turn begins with;
    by default the user's text as a message, and the input's data beside it, or the data alone where the state has no
    `messages`. output: the turn's result, made of the state; by default all but the messages, as JSON; None: no result.
    resume: what an interrupt returns, made of it and of the user's answer; by default the answer's data, or its text
    where it has none. config: as the graph's methods take it, without a thread. context: the run's, as the graph
    declares it. prune: removes the checkpoints that the next turn does not need when a turn has completed. node_events:
    sends an event `node` at the end of each node.

    What models say is streamed as text, by the nodes' and subgraphs' own streams; tool calls are shown with their
    results; what a node writes with a stream writer is the event `custom`; tokens are counted; an interrupt is asked by
    `ctx.ask`.

    In a turn it raises what the graph raises; NobodyToAsk at an interrupt in a task.
    """
    runs = graph.copy({"checkpointer": AgentringSaver()})

    async def agent(ctx: Context[Any]) -> AsyncIterator[AgentEvent]:
        turn = _GraphTurn(ctx, runs, config or {}, resume, node_events=node_events)
        with within(ctx), ctx.scope("langgraph", resumes=True):
            first = (input or _default_input)(ctx) if input is not None or _has_messages(runs) else ctx.input_data
            async with aclosing(turn.run(first, context(ctx) if context is not None else None)) as events:
                async for event in events:
                    yield event
            values = await turn.values()
            if prune:
                await turn.prune()
        result = output(values) if output is not None else _default_output(values)
        if result is not None:
            yield Result(result)

    # A node that is handed a module takes the agents that are defined there.
    agent.__module__ = sys._getframe(1).f_globals.get("__name__", __name__)
    return agent


class _GraphTurn:
    """One attempt of a turn."""

    def __init__(
        self, ctx: Context[Any], graph: Graph, config: RunnableConfig, resume: Resume, *, node_events: bool
    ) -> None:
        self._ctx = ctx
        self._graph = graph
        self._thread_id = ctx.session_id or ctx.task_key
        self._given = config
        self._node_events = node_events
        self._config = self._with({})
        self._asked = Asked(ctx, resume)
        self._shown = Shown(ctx)

    async def run(self, first: Any, context: Any) -> AsyncGenerator[str, None]:
        """Until the graph has come to its end: its words. first: its input, where this is the first attempt."""
        state = await self._graph.aget_state(self._config)
        messages, metadata = _messages(state), state.metadata or {}
        goes_on = metadata.get(_TURN) == self._ctx.idempotency_key
        before = int(str(metadata.get(_BEFORE, 0))) if goes_on else len(messages)
        self._config = self._with({_TURN: self._ctx.idempotency_key, _BEFORE: before})
        transcript = Transcript(self._ctx, messages[:before])
        for kind, what in await self._shown.again(await self._begun_anew() if goes_on else None):
            if kind == WORDS:
                yield what
            else:
                await self._tell(transcript, kind, what)
        if goes_on:
            # What was cut off between a node's writes and what is kept of its words.
            for message in messages[before:]:
                if message.id not in self._shown.message_ids and (words := transcript.words(message)):
                    transcript.used(message)
                    yield words
            await transcript.show_tools(messages[before:])
            await self._asked.again()
        following = first if not goes_on else await self._asked.answered(state.interrupts) if state.interrupts else None
        while not goes_on or state.tasks:  # `next` is empty already where the last ones have only to be put together
            async with aclosing(self._stream(following, context, transcript)) as words_of_models:
                async for words in words_of_models:
                    yield words
            state, goes_on = await self._graph.aget_state(self._config), True
            if not state.interrupts:
                return
            following = await self._asked.answered(state.interrupts)

    async def values(self) -> Any:
        """Of the graph's state."""
        return (await self._graph.aget_state(self._config)).values

    async def prune(self) -> None:
        """Removes what the next turn does not need."""
        await AgentringSaver().aprune([self._thread_id])

    async def _begun_anew(self) -> list[str]:
        """The places of tasks that are about to run again, and whose subgraphs do not go on: they had come to their
        end, or are not known."""
        anew: list[str] = []
        waiting = [("", await self._graph.aget_state(self._config, subgraphs=True))]
        while waiting:
            graph, state = waiting.pop()
            for task in state.tasks:
                place = f"{graph}{task.name}:{task.id}"
                if isinstance(task.state, StateSnapshot) and task.state.tasks:
                    waiting.append((f"{place}|", task.state))
                elif task.result is None:
                    anew.append(place)
        return anew

    async def _tell(self, transcript: Transcript, kind: str, what: Any) -> None:
        if kind == USED:
            self._ctx.add_usage(Usage(*what))
        elif kind == TOOL:
            await transcript.show_tool(what)
        else:
            self._ctx.emit(kind, what)

    async def _stream(self, following: Any, context: Any, transcript: Transcript) -> AsyncGenerator[str, None]:
        stream = self._graph.astream(
            following,
            self._config,
            context=context,
            stream_mode=["messages", "custom", "updates", "tasks"],
            subgraphs=True,
            durability="sync",
        )
        shown, tools = self._shown, list[JsonObject]()
        part: Any
        async for part in stream:
            namespace, mode, payload = part
            if mode == "messages":
                message, place = payload[0], payload[1].get("langgraph_checkpoint_ns", "")
                if counts := transcript.used(message):
                    shown.by_task(place, USED, counts)
                if words := transcript.words(message):
                    shown.by_task(place, WORDS, words, message.id)
                    yield words
            elif mode == "custom":
                shown.by_step(namespace, CUSTOM, data := plain(payload))
                self._ctx.emit(CUSTOM, data)
            elif mode == "updates":
                for update in payload.values():
                    tools += await transcript.show_tools(in_update(update))
            else:
                await shown.task_changed(namespace, payload, self._ended(namespace, payload, tools))

    def _ended(self, namespace: Sequence[str], task: Mapping[str, Any], tools: list[JsonObject]) -> Sequence[Piece]:
        """What a task shows with its end. tools: what was shown since another one ended."""
        if "input" in task or task["error"] or task["interrupts"]:
            return ()
        pieces: list[Piece] = [(TOOL, tool) for tool in tools]
        tools.clear()
        if self._node_events:
            pieces.append((NODE, {"node": task["name"], "namespace": list(namespace)}))
            self._ctx.emit(*pieces[-1])
        return pieces

    def _with(self, metadata: Mapping[str, Any]) -> RunnableConfig:
        configurable = {**self._given.get("configurable", {}), "thread_id": self._thread_id}
        merged = {**self._given, "configurable": configurable}
        merged["metadata"] = {**self._given.get("metadata", {}), **metadata}
        return cast(RunnableConfig, merged)


def _has_messages(graph: Graph) -> bool:
    return MESSAGES in graph.channels


def _messages(state: StateSnapshot) -> list[BaseMessage]:
    found = state.values.get(MESSAGES) if isinstance(state.values, dict) else None
    return [each for each in found or [] if isinstance(each, BaseMessage)]


def _default_input(ctx: Context[Any]) -> dict[str, Any]:
    return {**ctx.input_data, MESSAGES: [HumanMessage(ctx.input_text)]}


def _default_output(values: Any) -> Mapping[str, Any] | None:
    others = {name: value for name, value in values.items() if name != MESSAGES} if isinstance(values, dict) else {}
    return plain(others) if others else None
