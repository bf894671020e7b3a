"""Calls that are recorded as steps are, but whose errors come again as themselves: tools, and steps of `ctx.once`.

Guarantees: a call that has ended is not made again in a later attempt of its run; the same call has the same call_id in
every attempt; equal calls may run beside each other, and are told apart by the order of their beginnings. Where the run
records nothing, calls are made all the same. Used by tool_calls.py and context.py.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from agent_node.run.outcome import new_error_id
from agent_node.run.tool_places import CallPlace
from agent_node.step import own_errors
from agent_node.step.function import StepCall, StepOptions
from agent_node.step.outcome import KeptError, StepOutcome
from agent_node.step.steps import Steps
from agent_node.store.step_records import StepState
from agentring.agent import StepFailed, StepUnknown


@dataclass(frozen=True, slots=True)
class OwnCall:
    """What is to be called."""

    kind: str
    """Calls of different kinds are different."""
    name: str
    key: str
    """Tells it from calls of other arguments."""
    idempotent: bool = True
    waits: bool = False
    """Whether a question may be asked meanwhile, if it is idempotent."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended."""

    value: Any = None
    """JSON."""
    error: BaseException | None = None
    error_id: str = ""
    """Of the error, the same in every attempt."""
    is_again: bool = False
    """Whether an earlier attempt made the call."""


@dataclass(frozen=True, slots=True)
class MadeCall:
    """A call that is made."""

    call_id: str
    idempotency_key: str
    fencing_token: int
    restart: Callable[[], None] = lambda: None
    """Called before a further try: what the last one has stored by key is not to be stored."""


class RecordedCalls:
    """Of one run."""

    def __init__(self, attempt: str, idempotency_key: str, token: int) -> None:
        """attempt: names it among those of the session; idempotency_key, token: the run's."""
        self._attempt = attempt
        self._idempotency_key = idempotency_key
        self._token = token
        self._count = 0
        """Of calls that are not recorded."""

    async def carry_out(
        self,
        steps: Steps | None,
        call: OwnCall,
        function: Callable[[MadeCall], Awaitable[Any]],
        known: Callable[[str], None] = lambda _: None,
        place: CallPlace | None = None,
    ) -> Ended:
        """Makes the call, unless it is recorded. steps: of the run; None: nothing is recorded. function: returns JSON;
        it may be called again, where a key of the storage was another step's. known: is called with the call_id at once
        where the function will not be. place: taken before the call begins.

        Raises what ends the run, NodeFenced say, and what Steps.open does. Cancellation: as Context.step.
        """
        try:
            if steps is None:
                return await self._unrecorded(function, place)
            return await self._recorded(steps, call, function, known, place)
        finally:
            if place is not None:
                place.leave()

    async def _recorded(
        self,
        steps: Steps,
        call: OwnCall,
        function: Callable[[MadeCall], Awaitable[Any]],
        known: Callable[[str], None],
        place: CallPlace | None,
    ) -> Ended:
        ended: list[Ended] = []
        options = StepOptions(call.key, call.idempotent)
        if place is not None:
            options = replace(options, take_place=place.take, leave_place=place.leave)

        async def run(idempotency_key: str, fencing_token: int) -> Any:
            made = MadeCall(call_id, idempotency_key, fencing_token, opened.storage.restart)
            try:
                return await function(made)
            except Exception as error:
                ended[:] = [Ended(error=error, error_id=new_error_id())]
                raise KeptError([*own_errors.recorded(error), ended[0].error_id], error) from None

        step_call = StepCall(run, (), {})
        await steps.ready()
        opened = steps.open(call.kind, call.name, step_call, options, alone=False, waits=call.waits and call.idempotent)
        call_id = opened.row.step_id.hex()
        try:
            is_again = steps.journal.knows(opened.row.step_id)
            if is_again:
                known(call_id)
            outcome = await steps.carry_out(opened, step_call, options)
        finally:
            steps.close(opened)
        return ended.pop() if ended and outcome.state == StepState.FAILED else _read(call, outcome, is_again)

    async def _unrecorded(self, function: Callable[[MadeCall], Awaitable[Any]], place: CallPlace | None) -> Ended:
        self._count += 1
        key = f"{self._idempotency_key}/step/{self._count}"
        made = MadeCall(f"{self._attempt}.{self._count}", key, self._token)
        if place is not None:
            await place.take()
        try:
            return Ended(await function(made))
        except Exception as error:
            return Ended(error=error, error_id=new_error_id())


def _read(call: OwnCall, outcome: StepOutcome, is_again: bool) -> Ended:
    if outcome.state == StepState.UNKNOWN:
        return Ended(error=StepUnknown(call.name), error_id=new_error_id(), is_again=is_again)
    said = json.loads(outcome.value)
    if outcome.state == StepState.COMPLETED:
        return Ended(said, is_again=is_again)
    kind, text, *more = said
    if more:
        *of_class, error_id = more
        return Ended(error=own_errors.again([kind, text, *of_class]), error_id=error_id, is_again=is_again)
    # Not of the function's doing: what it waited for was cancelled, or there is no room for what it returned.
    error = asyncio.CancelledError() if kind == "CancelledError" else StepFailed(call.name, kind, text)
    return Ended(error=error, error_id=new_error_id(), is_again=is_again)
