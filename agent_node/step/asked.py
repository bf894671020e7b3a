"""The places of a run's questions among its steps.

Guarantees: a question that was answered has the same number in every attempt, also where others were asked inside a
tool that is answered from its record, and are not asked again; none is asked in an attempt that goes another way than
those before it. The questions themselves, and their answers, are the session's (session/questions.py).
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from agent_node.step.function import StepCall, StepOptions
from agent_node.step.identity import QUESTION_KIND
from agent_node.step.journal import QUESTION
from agent_node.step.steps import Steps
from agent_node.store.step_records import StepState

_OPTIONS = StepOptions(key="")


async def asked(steps: Steps, ask: Callable[[int], Awaitable[Any]]) -> Any:
    """The answer. ask: asks the question of this number, from 1, unless it was answered.

    Raises what it raises, and as Context.step. Cancellation: as there.
    """
    found: list[Any] = []
    failure: Exception | None = None

    async def first() -> int:
        nonlocal failure
        steps.journal.questions += 1
        number = steps.journal.questions
        try:
            found.append(await ask(number))
        except Exception as error:
            failure = error
            raise
        return number

    call = StepCall(first, (), {})
    await steps.ready()
    opened = steps.open(QUESTION_KIND, QUESTION, call, _OPTIONS, alone=False, waits=True)
    try:
        outcome = await steps.carry_out(opened, call, _OPTIONS)
    finally:
        steps.close(opened)
    if failure is not None:
        raise failure
    if found:
        return found[0]
    if outcome.state == StepState.COMPLETED:
        return await ask(json.loads(outcome.value))
    raise RuntimeError("an earlier attempt could not ask this question")
