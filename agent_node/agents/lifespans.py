"""What agents have opened for their process: connection pools, clients, models in memory.

Guarantees: each is opened before the agent's first run, in a task of its own, and closed in that task after the last
one; what one does, raises or does not get done in time keeps no other from being opened or closed. One that cannot be
opened is told in one line. Used by the node's app, and by children for the one agent that they run.
"""

import asyncio
from collections.abc import Mapping
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

import structlog

from agentring.agent import Agent
from agentring.agent.declaration import options_of
from agentring.plain_json import type_name
from agentring.process.owned_loop import OWNER, code_locations

OPEN_S = 60.0
"""How long opening may take."""
CLOSE_S = 10.0
"""How long closing may take; then it is left."""
_GRACE_S = 1.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OpenedAgent:
    """What an agent's runs find in their process."""

    settings: Any = None
    resources: Any = None


class Lifespans:
    """Those of one process. Resource handling: `open`, then `close` in any case."""

    def __init__(self, agents: Mapping[str, Agent], settings: Mapping[str, Any], open_s: float = OPEN_S) -> None:
        """agents, settings: by the agents' names; open_s: as OPEN_S."""
        self.opened = {name: OpenedAgent(found) for name, found in settings.items() if name in agents}
        """By the agents' names, those that have settings or resources."""
        self._open_s = open_s
        self._spans = {
            name: _Span(name, options.lifespan, settings.get(name))
            for name, agent in agents.items()
            if (options := options_of(agent)).lifespan is not None
        }

    async def open(self) -> dict[str, str]:
        """Opens all, side by side. Why some could not be, in a line each, by the agents' names. Cancellation: `close`
        closes what was opened."""
        for span in self._spans.values():
            span.begin()
        if self._spans:
            await asyncio.wait([span.opened for span in self._spans.values()], timeout=self._open_s)
        left_out = {}
        for name, span in list(self._spans.items()):
            if span.opened.done() and span.fault is None:
                self.opened[name] = OpenedAgent(span.settings, span.opened.result())
                continue
            left_out[name] = f"agent {name!r} cannot be opened: {span.fault or f'not within {self._open_s:g} s'}"
            _log.error("agent_left_out", agent=name, why=left_out[name])
            span.cancel()
        return left_out

    async def close(self) -> None:
        """Closes all, side by side. What is not closed in time is left."""
        running = {span.task: name for name, span in self._spans.items() if span.task is not None}
        for span in self._spans.values():
            span.close()
        if not running:
            return
        _, late = await asyncio.wait(running, timeout=CLOSE_S)
        for task in late:
            _log.error("agent_not_closed", agent=running[task], after_s=CLOSE_S)
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_GRACE_S)


class _Span:
    """One agent's, which is the owner (agentring/process/owned_loop.py) of all that it starts."""

    def __init__(self, name: str, lifespan: Any, settings: Any) -> None:
        self.log_fields = {"agent": name}
        """As Owner."""
        self.settings = settings
        self.task: asyncio.Task[None] | None = None
        self.fault: str | None = None
        """Why it could not be opened, or ended; None: it could."""
        self._lifespan = lifespan
        self._closing = asyncio.Event()
        self.opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def begin(self) -> None:
        context = copy_context()
        context.run(OWNER.set, self)
        self.task = asyncio.get_running_loop().create_task(self._live(), context=context)

    def close(self) -> None:
        self._closing.set()
        if not self.opened.done():
            self.cancel()

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def ended_by(self, error: BaseException) -> None:
        """As Owner."""
        where = code_locations(error.__traceback__)
        _log.error("agent_would_end_its_node", error=type(error).__name__, where=where, **self.log_fields)

    async def _live(self) -> None:
        structlog.contextvars.bind_contextvars(**self.log_fields)
        try:
            async with self._lifespan(self.settings) as resources:
                if not self.opened.done():
                    self.opened.set_result(resources)
                await self._closing.wait()
        except BaseException as error:  # an agent's code may raise whatever it likes
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        if self.opened.done():
            _log.error("agent_lifespan_failed", exc_info=error)
            return
        where = code_locations(error.__traceback__).partition(" < ")[0]
        self.fault = f"its lifespan raised {type_name(type(error))} ({where})"
        _log.error("agent_not_opened", exc_info=error)
        self.opened.set_result(None)
