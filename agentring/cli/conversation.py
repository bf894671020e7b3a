"""One session as somebody speaks with it at a terminal: a line is a turn, and its events are shown as they come.

Guarantees what agentring.client does; adds that what happens is shown, that questions are asked, and that an address
where nobody has ever answered is told at once. Called by `chat`.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from agentring.cli.errors import CallFailed
from agentring.cli.screen import Screen
from agentring.client import (
    AgentringError,
    ClientError,
    InputRequired,
    Policy,
    Ring,
    RingUnreachable,
    TurnCompleted,
    UnknownFailure,
    connect,
)


class Conversation:
    """A session, as one person speaks with it. Who makes one calls `close`."""

    def __init__(
        self, router: str, session_id: str, agent: str, tenant: str, screen: Screen, policy: Policy | None = None
    ) -> None:
        """Nothing is sent yet. Raises CallFailed: a name is not well formed."""
        self._router = router
        self._screen = screen
        self._answered = False
        self._noted = False
        with self._explained():
            self._ring: Ring = connect(router, tenant=tenant, policy=replace(policy or Policy(), on_retry=self._note))
            self._session = self._ring.session(session_id, agent=agent)

    async def attach(self) -> None:
        """Attaches to the session, which is made if it does not exist. Raises CallFailed."""
        with self._explained():
            attached = await self._session.open()
        self._answered = True
        self._noted = False
        self._screen.show_place(attached.node_id, attached.epoch)

    async def run_turn(self, text: str, ask: Callable[[], Awaitable[str | None]]) -> bool:
        """Runs one turn to its end and shows it; whether it completed. `ask` answers the agent's questions.

        Raises CallFailed. Cancellation: the turn goes on without us.
        """
        self._screen.begin_turn()
        with self._explained():
            async with self._session.send(text) as turn:
                async for event in turn:
                    self._answered = True
                    self._noted = False
                    self._screen.show(event.raw)
                    if isinstance(event, InputRequired):
                        if (answer := await ask()) is None:
                            await turn.cancel()
                        else:
                            await turn.reply(event.input_id, answer)
                return isinstance(turn.end, TurnCompleted)

    async def close(self) -> None:
        """Ends the connection."""
        await self._ring.close()

    def _note(self, error: Exception) -> None:
        if isinstance(error, RingUnreachable) and not self._answered:
            # Nobody has ever answered at this address: that is not a connection lost, but a wrong address.
            raise error
        if not self._noted:
            self._noted = True
            reason = error.reason if isinstance(error, AgentringError) else "the connection was lost"
            self._screen.note(f"({reason}; trying again)")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except AgentringError as error:
            variables = tuple(sorted(error.variables.items()))
            raise CallFailed(self._router, error.code.name, error.reason, error.sentence, variables) from None
        except UnknownFailure as error:
            variables = tuple(sorted(error.variables.items()))
            raise CallFailed(self._router, error.status, error.reason, error.sentence, variables) from None
        except ClientError as error:
            raise CallFailed(self._router, "UNAVAILABLE", "", str(error)) from None
