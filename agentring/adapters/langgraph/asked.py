"""A graph's interrupts as questions to the user.

Guarantees: an attempt that goes on with the graph where an earlier one was cut off asks that one's questions again, in
their order, so that each gets its own answer; those that were answered are answered at once.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from langgraph.types import Command, Interrupt

from agentring.adapters.langgraph.messages import plain
from agentring.agent import Answer, Context, JsonObject

_KEY = "langgraph-asked"
_PROMPTS = ("question", "prompt", "message", "description")
"""Where an interrupt's value has its text, if it is an object."""

Resume = Callable[[Interrupt[Any], Answer], Any]


class Asked:
    """The questions of one turn."""

    def __init__(self, ctx: Context[Any], resume: Resume) -> None:
        """resume: makes an interrupt's value of the user's answer."""
        self._ctx = ctx
        self._resume = resume
        self._questions: list[JsonObject] = []
        self._answers: dict[str, Answer] = {}

    async def again(self) -> None:
        """Asks what earlier attempts have asked."""
        stored = await self._ctx.storage.latest.get(_KEY)
        kept = json.loads(stored) if stored is not None else {}
        if kept.get("turn") == self._ctx.idempotency_key:
            self._questions = kept["questions"]
        for question in self._questions:
            self._answers[question["id"]] = await self._ctx.ask(question["prompt"], schema=question["schema"])

    async def answered(self, interrupts: Iterable[Interrupt[Any]]) -> Command[Any]:
        """What the graph goes on with. Raises as Context.ask."""
        values = {}
        for interrupt in interrupts:
            if interrupt.id not in self._answers:
                self._answers[interrupt.id] = await self._ask(interrupt)
            values[interrupt.id] = self._resume(interrupt, self._answers[interrupt.id])
        return Command(resume=values)

    async def _ask(self, interrupt: Interrupt[Any]) -> Answer:
        prompt = _prompt(interrupt.value)
        schema = interrupt.response_schema if isinstance(interrupt.response_schema, dict) else None
        question = {"id": interrupt.id, "prompt": prompt, "schema": schema}
        self._questions.append(question)
        kept = {"turn": self._ctx.idempotency_key, "questions": self._questions}
        await self._ctx.storage.latest.put(_KEY, json.dumps(kept).encode())
        return await self._ctx.ask(prompt, schema=schema)


def data_or_text(_: Interrupt[Any], answer: Answer) -> Any:
    """The answer's data where it has any, else its text."""
    return answer.data or answer.text


def _prompt(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        for name in _PROMPTS:
            if isinstance(value.get(name), str):
                return str(value[name])
    return json.dumps(plain(value), ensure_ascii=False)
