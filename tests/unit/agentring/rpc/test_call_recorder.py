"""What a server's recorder is handed of a call: what its message names, and that it may not do what that asks for."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from agentring.auth.identity import Identity
from agentring.errors import AgentringError, NotAuthenticated, SessionNotFound, TenantForeign
from agentring.rpc.service import Call, serve
from agentring.rpc.service_stream import ServiceStream

ANN = Identity("acme", "ann", frozenset(), "k1", None)


class Recorder:
    """Keeps what it is handed, without the head."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def opened(self, _head: object, *said: Any) -> None:
        self.calls.append(("opened", *said))

    def named(self, _head: object, *said: Any) -> None:
        self.calls.append(("named", *said))

    def refused(self, _head: object, *said: Any) -> None:
        self.calls.append(("refused", *said))


async def recorded(error: AgentringError | None, caller: object | None) -> list[tuple[Any, ...]]:
    """Of a call that names a session, and ends with the error."""
    recorder, ends = Recorder(), list[AgentringError | None]()
    head = SimpleNamespace(refusal=None, metadata={}, method="/s/M")
    peer = SimpleNamespace(peer="10.0.0.1:5")
    stream = SimpleNamespace(recorder=recorder, head=head, connection=peer, caller=caller, end=ends.append)

    async def method(served: ServiceStream, _timeout_s: float) -> None:
        Call(served).named("acme", "session/s")
        if error is not None:
            raise error

    await serve(cast(ServiceStream, stream), method, 1.0)
    assert ends == [error]
    return recorder.calls


NAMED = ("named", "10.0.0.1:5", ANN, "acme", "session/s")


async def test_who_names_something_is_handed_on() -> None:
    assert await recorded(None, SimpleNamespace(identity=ANN)) == [NAMED]
    assert await recorded(None, None) == [("named", "10.0.0.1:5", None, "acme", "session/s")]


@pytest.mark.parametrize("error", [TenantForeign(), NotAuthenticated("it has ended")], ids=lambda error: error.reason)
async def test_a_message_that_asks_for_what_the_caller_may_not_have_is_refused(error: AgentringError) -> None:
    refused = ("refused", "10.0.0.1:5", ANN, error.reason)
    assert await recorded(error, SimpleNamespace(identity=ANN)) == [NAMED, refused]


async def test_another_end_is_no_refusal() -> None:
    assert await recorded(SessionNotFound(), SimpleNamespace(identity=ANN)) == [NAMED]
