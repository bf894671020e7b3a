"""A step of `ctx.once` whose function is in a child process: what the node knows of it. Used by run.py."""

import asyncio
import contextvars
import json
from typing import Any

from agent_node.store.once_records import ENDED_NODE


class Step:
    """A step of `ctx.once` whose function is in the child."""

    def __init__(self, number: int, idempotent: bool) -> None:
        self.number = number
        self._idempotent = idempotent
        self.result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.context = contextvars.copy_context()

    def finish(self, error: tuple[str, str] | None, result_json: str | None) -> None:
        """result_json None, without an error: it is no JSON."""
        if self.result.done():
            return
        if error is not None:
            self.result.set_exception(type(error[0], (Exception,), {})(error[1]))
        else:
            self.result.set_result(json.loads(result_json) if result_json is not None else object())

    def ended_its_process(self) -> None:
        """Another process that ran it would be ended too. One that must not run twice may have taken effect all the
        same: then it is cut off."""
        if self._idempotent and not self.result.done():
            self.result.set_exception(type(ENDED_NODE, (Exception,), {})("the step ended or blocked its process"))

    def cut_off(self) -> None:
        """Nobody knows how far it was."""
        self.result.cancel()
