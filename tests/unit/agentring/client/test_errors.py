"""Every reason of the wire becomes its own class, and nothing of gRPC's is raised."""

from dataclasses import fields, is_dataclass

import grpc
import pytest
from grpc import aio

from agentring import errors
from agentring.client.errors import RingUnreachable, UnknownFailure, read_failure, to_error
from agentring.errors import AgentringError, NoNodes, ResumeOffsetExpired, RouterStopping, TurnInProgress
from agentring.rpc.status import trailers

LEAVES = [
    found
    for name in errors.__all__
    for found in [getattr(errors, name)]
    if "sentence" in vars(found) and found is not AgentringError
]


def failed(error: AgentringError) -> aio.AioRpcError:
    return aio.AioRpcError(error.code, aio.Metadata(), aio.Metadata(*trailers(error)), error.sentence)


@pytest.mark.parametrize("kind", LEAVES)
def test_every_reason_comes_back_as_its_class(kind: type[AgentringError]) -> None:
    variables = {field.name: 3 if field.type is int else "x" for field in fields(kind)} if is_dataclass(kind) else {}
    sent = kind(**variables)
    failure = read_failure(failed(sent))
    assert type(failure.error) is kind
    assert isinstance(failure.error, AgentringError)
    assert failure.error.variables == sent.variables
    assert failure.is_final is not sent.retryable
    assert failure.retry_after_s == (sent.wait_s or 0.0)


def test_a_reason_that_is_not_known_here_keeps_its_words() -> None:
    error = to_error("BRAND_NEW", {"a": "b"}, "FAILED_PRECONDITION", "something new")
    assert isinstance(error, UnknownFailure)
    assert (error.reason, error.variables, error.status) == ("BRAND_NEW", {"a": "b"}, "FAILED_PRECONDITION")
    assert str(error) == "FAILED_PRECONDITION BRAND_NEW: something new"


@pytest.mark.parametrize("reason", [TurnInProgress.reason, ResumeOffsetExpired.reason])
def test_a_known_reason_without_its_variables_stays_as_it_is(reason: str) -> None:
    assert isinstance(to_error(reason, {"head_seq": "no number"}, "OUT_OF_RANGE", "?"), UnknownFailure)


@pytest.mark.parametrize(
    ("code", "words", "final"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", False),
        (grpc.StatusCode.CANCELLED, "", False),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2", False),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", True),
        (grpc.StatusCode.PERMISSION_DENIED, "a proxy's words", True),
    ],
)
def test_somebody_elses_words(code: grpc.StatusCode, words: str, final: bool) -> None:
    failure = read_failure(aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), words))
    assert failure.is_final is final
    assert isinstance(failure.error, UnknownFailure if final else RingUnreachable)


def test_only_what_may_be_one_routers_trouble_leads_to_another() -> None:
    assert read_failure(failed(RouterStopping())).elsewhere
    assert not read_failure(failed(NoNodes())).elsewhere
