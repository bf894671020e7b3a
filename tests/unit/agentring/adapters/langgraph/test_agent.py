"""Graphs as agents: what they say, ask and remember, and that a turn which is cut off runs no finished node again."""

import asyncio
import operator
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import interrupt

from agentring.adapters import current_context
from agentring.adapters.langgraph import langgraph_agent
from agentring.testing import AgentTest


class Model:
    """A model that says what the test scripts, and counts its calls."""

    def __init__(self, *replies: str | AIMessage) -> None:
        self.calls = 0
        self.seen: list[int] = []
        self._replies = list(replies)
        self._model = GenericFakeChatModel(messages=self._each())

    def _each(self) -> Iterator[AIMessage]:
        while True:
            yield AIMessage(str(self._reply))

    @property
    def _reply(self) -> str | AIMessage:
        return self._replies[min(self.calls, len(self._replies)) - 1]

    async def __call__(self, state: MessagesState) -> dict[str, Any]:
        self.calls += 1
        self.seen.append(len(state["messages"]))
        if isinstance(self._reply, AIMessage):
            return {"messages": [self._reply]}
        return {"messages": [await self._model.ainvoke(state["messages"])]}


class Repeating(Model):
    """Says by what it is sent, not by how often, so that a call which is made again has the same answer."""

    def __init__(self) -> None:
        super().__init__("first ", "last")

    @property
    def _reply(self) -> str | AIMessage:
        return self._replies[0 if self.seen[-1] == 1 else 1]


def chain(*nodes: tuple[str, Any], state: Any = MessagesState) -> Any:
    builder = StateGraph(state)
    for name, node in nodes:
        builder.add_node(name, node)
    builder.add_edge(START, nodes[0][0])
    for (before, _), (after, _) in pairwise(nodes):
        builder.add_edge(before, after)
    builder.add_edge(nodes[-1][0], END)
    return builder.compile()


def used(reply: str, tokens: int) -> AIMessage:
    usage: Any = {"input_tokens": tokens, "output_tokens": 2, "total_tokens": tokens + 2}
    return AIMessage(reply, usage_metadata=usage)


async def test_words_are_streamed_and_the_next_turn_knows_the_conversation() -> None:
    model = Model("hello there", "and again")
    agent = langgraph_agent(chain(("model", model)))
    async with AgentTest(agent) as test:
        first = await test.turn("hi")
        assert (first.text, first.result) == ("hello there", None)
        assert (await test.turn("more")).text == "and again"
    assert model.seen == [1, 3]


async def test_tools_are_shown_once_with_their_results() -> None:
    @tool
    async def weather(city: str) -> str:
        """The weather of a city."""
        if city == "Atlantis":
            raise ValueError("no such city")
        return f"rain in {city}"

    calls: Any = [
        {"name": "weather", "args": {"city": city}, "id": f"call {city}", "type": "tool_call"}
        for city in ("Oslo", "Atlantis")
    ]
    model = Model(AIMessage("let me see. ", tool_calls=calls), "it rains")
    builder = StateGraph(MessagesState)
    builder.add_node("model", model)
    builder.add_node("tools", ToolNode([weather], handle_tool_errors=True))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    async with AgentTest(langgraph_agent(builder.compile())) as test:
        turn = await test.turn("weather?")
        assert turn.text == "let me see. it rains"
        assert [(call.name, call.arguments) for call in turn.tools] == [
            ("weather", {"city": "Oslo"}),
            ("weather", {"city": "Atlantis"}),
        ]
        assert turn.tools[0].result == "rain in Oslo"
        again = await test.turn("and now?")
        assert (again.text, again.tools) == ("it rains", ())


def asking(model: Model, questions: int = 1) -> Any:
    async def ask(state: MessagesState) -> dict[str, Any]:
        answers = [interrupt(f"sure about {number}?") for number in range(questions)]
        return {"messages": [AIMessage(f"[{answers}]")]}

    async def echo(state: MessagesState) -> dict[str, Any]:
        return await model(state)

    return chain(("first", model), ("ask", ask), ("last", echo))


async def test_an_interrupt_is_a_question_and_its_answer_what_it_returns() -> None:
    model = Model("first ", "last")
    async with AgentTest(langgraph_agent(asking(model, questions=2))) as test:
        test.answers("yes", {"sure": True})
        turn = await test.turn("go")
        assert turn.text == "first [['yes', {'sure': True}]]last"
        assert list(turn.questions) == ["sure about 0?", "sure about 1?"]
        failed = await test.task("key", "go", fails="AGENT_ERROR")
        assert type(failed.error).__name__ == "NobodyToAsk"
    assert model.calls == 3


@pytest.mark.parametrize("waits", [1, 7, 8, 26, 48, 62])
async def test_wherever_a_turn_is_cut_off_no_finished_node_runs_again_and_its_text_is_whole(waits: int) -> None:
    """Before anything, behind the first writes and the first checkpoint, in the question, in a model, at the end."""
    model = Repeating()
    async with AgentTest(langgraph_agent(asking(model))) as test:
        test.answers("yes", "yes")
        test.crash(at_wait=waits)
        turn = await test.turn("go")
        assert (turn.text, turn.attempts) == ("first [['yes']]last", 2)
        assert model.calls <= 3, "one call of each node, and the one that was cut off"
        assert (await test.turn("next")).text == "last[['yes']]last"


async def test_answered_questions_keep_their_answers_where_the_node_dies_after_each() -> None:
    ran: Counter[str] = Counter()

    def node(name: str) -> Any:
        async def asks(state: MessagesState) -> dict[str, Any]:
            answer = interrupt(f"{name}?")
            ran[name] += 1
            return {"messages": [AIMessage(f"{name}={answer} ")]}

        return name, asks

    agent = langgraph_agent(chain(node("a"), node("b"), node("c")))
    for waits in (8, 20):
        ran.clear()
        async with AgentTest(agent) as test:
            test.answers("1", "2", "3")
            test.crash(at_wait=waits)
            test.crash(at_wait=3)
            assert (await test.turn("go")).text == "a=1 b=2 c=3 "
        assert max(ran.values()) <= 3


async def test_a_graph_without_messages_takes_data_and_returns_its_state() -> None:
    class State(TypedDict):
        number: int
        path: Annotated[list[str], operator.add]

    async def double(state: State) -> dict[str, Any]:
        get_stream_writer()({"doubling": state["number"]})
        attempt = current_context().attempt
        return {"number": state["number"] * 2, "path": [f"double {attempt}"]}

    agent = langgraph_agent(chain(("double", double), ("again", double), state=State))
    async with AgentTest(agent) as test:
        turn = await test.task("key", data={"number": 4, "path": []})
        assert turn.result == {"number": 16, "path": ["double 1", "double 1"]}
        assert turn.text == ""


async def test_what_the_author_says_of_input_output_and_answers_counts() -> None:
    class State(TypedDict):
        question: str
        answer: Any

    async def ask(state: State) -> dict[str, Any]:
        return {"answer": interrupt({"prompt": state["question"], "more": 1})}

    agent = langgraph_agent(
        chain(("ask", ask), state=State),
        input=lambda ctx: {"question": f"{ctx.input_text}?"},
        output=lambda values: {"got": values["answer"]},
        resume=lambda interrupt, answer: [interrupt.value["more"], answer.text],
    )
    async with AgentTest(agent) as test:
        test.answers("yes")
        turn = await test.turn("really")
        assert turn.questions[0] == "really?"
        assert turn.result == {"got": [1, "yes"]}


async def test_old_checkpoints_go_with_the_turn_s_end_unless_they_are_to_stay() -> None:
    counts: list[int] = []

    async def count(state: MessagesState) -> dict[str, Any]:
        counts.append(len(await current_context().storage.latest.list("langgraph/")))
        return {"messages": [AIMessage("x")]}

    for prune in (True, False):
        counts.clear()
        async with AgentTest(langgraph_agent(chain(("count", count)), prune=prune)) as test:
            for _ in range(4):
                await test.turn("go")
        assert (counts[3] - counts[2] == 0) is prune


async def test_a_graph_that_raises_fails_the_turn_and_the_next_one_goes_on_from_before() -> None:
    model = Model("fine")

    async def fails(state: MessagesState) -> dict[str, Any]:
        if state["messages"][-1].text == "fail":
            raise LookupError("broken")
        return await model(state)

    async with AgentTest(langgraph_agent(chain(("fails", fails)))) as test:
        failed = await test.turn("fail", fails="AGENT_ERROR")
        assert isinstance(failed.error, LookupError)
        assert (await test.turn("go")).text == "fine"


async def test_steps_of_nodes_may_be_gone_past() -> None:
    ran: Counter[str] = Counter()

    async def effect(name: str) -> str:
        ran[name] += 1
        return name

    def node(name: str) -> Any:
        async def steps(state: MessagesState) -> dict[str, Any]:
            said = await current_context().step("effect", effect, name)
            return {"messages": [AIMessage(f"{said} ")]}

        return name, steps

    agent = langgraph_agent(chain(node("a"), node("b"), node("c")))
    for step in (1, 3):
        ran.clear()
        async with AgentTest(agent) as test:
            test.crash(after_step=step)
            assert (await test.turn("go")).text == "a b c "
        assert ran == {"a": 1, "b": 1, "c": 1}


async def test_a_cancelled_turn_cancels_its_nodes() -> None:
    ended: list[str] = []

    async def slow(state: MessagesState) -> dict[str, Any]:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return {}

    async with AgentTest(langgraph_agent(chain(("slow", slow)))) as test:
        with pytest.raises(AssertionError):
            await test.turn("go", timeout_s=0.2)
    assert ended == ["cancelled"]


async def test_tokens_are_counted_once_a_message() -> None:
    from agentring.adapters.langgraph.messages import Transcript
    from agentring.usage import Usage

    counted: list[Usage] = []

    class Metered:
        def add_usage(self, usage: Usage) -> None:
            counted.append(usage)

    transcript = Transcript(Metered(), [])  # type: ignore[arg-type]
    for message in (used("a", 5), used("b", 7)):
        message.id = "one"
        transcript.used(message)
    assert sum((usage for usage in counted), Usage()) == Usage(12, 4, 0, 1)
