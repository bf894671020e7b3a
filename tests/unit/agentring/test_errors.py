"""Every error of the tree, on the wire and back."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from agentring import errors, metadata
from agentring.errors import (
    AgentNotFound,
    AgentringError,
    InternalError,
    NodeDraining,
    NodeFenced,
    NodeOverloaded,
    NotOwner,
    QuotaExceeded,
    ResumeOffsetExpired,
    SessionMoving,
    SessionNotFound,
    StaleEpoch,
)
from agentring.rpc.status import STATUS_DETAILS, ErrorReport, Metadata, read_error, to_status, trailers

PROTOS = Path(__file__).parents[3] / "protos" / "agentring" / "v1"

STATUSES = {
    "UNAVAILABLE": "AgentUnavailable ClaimUnreadable CoordinatorUnavailable CredentialUnchecked NoNodes NodeDraining"
    " NodeFenced NodeUnreachable OwnerUnreachable RouterStopping SessionMoving StoreFull StoreReplaced StoreUnavailable"
    " StoreUnusable",
    "ABORTED": "NotOwner StaleEpoch",
    "RESOURCE_EXHAUSTED": "AnswerMetadataTooLarge CallShed FilesFull MailboxFull MessageTooLarge MetadataTooLarge"
    " NodeOverloaded QuotaExceeded RouterOverloaded TooManyTasks TooManyTurns",
    "FAILED_PRECONDITION": "AgentMismatch Halted LastNodeOfAgent RunNotResolvable SessionClosed TaskCycle"
    " TaskInputMismatch TurnInProgress",
    "ALREADY_EXISTS": "InputAnswered TaskKeyActive TurnIdReused",
    "OUT_OF_RANGE": "ResumeOffsetExpired",
    "NOT_FOUND": "AgentNotFound FileNotFound InputNotFound NodeNotFound RunNotFound ServiceNotFound SessionNotFound"
    " TaskNotFound TurnNotFound",
    "INVALID_ARGUMENT": "AgentRequired FirstFrameNotOpen InvalidFile InvalidHalt InvalidPageToken InvalidPart"
    " InvalidRetention InvalidSessionId InvalidTaskKey InvalidTenantId InvalidTimeout InvalidTurnId MalformedHeader"
    " MalformedRequest RouteMismatch RouteMissing SecondMessage SecondOpen UnknownEnumValue",
    "DEADLINE_EXCEEDED": "DeadlineExceeded FirstFrameTimeout",
    "UNIMPLEMENTED": "EncodingNotSupported MethodNotImplemented",
    "DATA_LOSS": "SessionCorrupt",
    "CANCELLED": "CallCancelled",
    "UNAUTHENTICATED": "NotAuthenticated",
    "PERMISSION_DENIED": "CredentialRevoked MetadataReserved RoleMissing TenantForeign",
    "INTERNAL": "CallReset ConnectionsLost InternalError MalformedAnswer",
}
OF_NO_RPC_OF_OURS = {
    *("INTERNAL", "UNIMPLEMENTED", "SERVICE_NOT_FOUND", "ANSWER_METADATA_TOO_LARGE"),
    *(
        "NOT_AUTHENTICATED",
        "CREDENTIAL_UNCHECKED",
        "CREDENTIAL_REVOKED",
        "ROLE_MISSING",
        "TENANT_FOREIGN",
        "METADATA_RESERVED",
    ),
}
"""Reasons that the protos need not name: any call can end with the first two; the third is of health checks, the fourth
of calls to hosted services; the others are of who calls, not of what is called."""


class Failed(grpc.RpcError):
    """A failed call as a client holds it."""

    def __init__(self, code: StatusCode, details: str, trailing: Metadata | None) -> None:
        self._code, self._details, self._trailing = code, details, trailing

    def code(self) -> StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Metadata | None:  # type: ignore[override]  # what grpc.aio returns
        return self._trailing


def leaves(of: type[AgentringError] = AgentringError) -> list[type[AgentringError]]:
    """Those that are told: what others only derive from has no sentence of its own."""
    below = of.__subclasses__()
    is_reason = not below or ("sentence" in vars(of) and of is not AgentringError)
    return [*([of] if is_reason else []), *(leaf for each in below for leaf in leaves(each))]


LEAVES = sorted(leaves(), key=lambda leaf: leaf.__name__)


def made(leaf: type[AgentringError], text: str = "x", number: int = 2**63) -> AgentringError:
    """One with all its fields filled."""
    kinds: dict[object, Any] = {"str": text, "int": number, str: text, int: number}
    return leaf(**{field.name: kinds[field.type] for field in fields(leaf)})


def read(error: AgentringError) -> ErrorReport:
    return read_error(Failed(error.code, error.sentence, trailers(error)))


def test_every_leaf_has_the_status_that_is_promised_and_is_exported() -> None:
    found: dict[str, str] = {}
    for leaf in LEAVES:
        found[leaf.code.name] = f"{found.get(leaf.code.name, '')} {leaf.__name__}".strip()
    assert found == STATUSES
    for leaf in LEAVES:
        assert getattr(errors, leaf.__name__) is leaf
        assert leaf.__name__ in errors.__all__


def test_every_leaf_has_a_reason_of_its_own_and_one_sentence() -> None:
    assert len({leaf.reason for leaf in LEAVES}) == len(LEAVES)
    assert len({leaf.sentence for leaf in LEAVES}) == len(LEAVES)
    for leaf in LEAVES:
        assert re.fullmatch(r"[A-Z]+(_[A-Z]+)*", leaf.reason)
        assert leaf.sentence
        assert "\n" not in leaf.sentence
        assert leaf is InternalError or leaf.sentence != AgentringError.sentence


def test_waiting_helps_exactly_where_the_session_or_its_node_may_soon_be_there() -> None:
    retryable = {leaf.__name__ for leaf in LEAVES if leaf.retry_after_s is not None}
    assert retryable == {
        *STATUSES["UNAVAILABLE"].split(),
        *STATUSES["ABORTED"].split(),
        "CallShed",
        "MailboxFull",
        "NodeOverloaded",
        "QuotaExceeded",
        "RouterOverloaded",
        "TooManyTasks",
        "TooManyTurns",
    }
    for leaf in LEAVES:
        assert made(leaf).retryable is (leaf.__name__ in retryable)


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_status_has_one_error_info_and_a_retry_info_where_waiting_helps(leaf: type[AgentringError]) -> None:
    error = made(leaf)
    status = to_status(error)
    assert status.code == leaf.code.value[0]
    assert status.message == leaf.sentence
    infos, retries = [], []
    for detail in status.details:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            infos.append(info)
        elif detail.Unpack(retry):
            retries.append(retry.retry_delay.ToTimedelta().total_seconds())
    assert [(info.reason, info.domain, dict(info.metadata)) for info in infos] == [
        (leaf.reason, "agentring", error.variables)
    ]
    assert retries == ([error.wait_s] if error.retryable else [])
    assert len(status.details) == len(infos) + len(retries)


@pytest.mark.parametrize("leaf", LEAVES)
def test_read_error_is_the_inverse(leaf: type[AgentringError]) -> None:
    error = made(leaf)
    assert read(error) == ErrorReport(leaf.code, leaf.reason, leaf.sentence, error.variables, error.wait_s)


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if fields(leaf)])
@pytest.mark.parametrize("letter", ["a", "\N{GRINNING FACE}", "\n", "\0"])
def test_whatever_the_fields_hold_the_trailers_stay_small(leaf: type[AgentringError], letter: str) -> None:
    """Clients take 8 KiB of metadata; etcd's names and a client's own words end up here."""
    (name, details), _ = trailers(made(leaf, letter * 100_000))
    assert name == STATUS_DETAILS
    assert len(details) < 4 << 10


def test_long_values_are_cut() -> None:
    report = read(AgentNotFound("\N{GRINNING FACE}" * 1_000))
    assert report.variables == {"agent": "\N{GRINNING FACE}" * 256}


def test_a_fraction_of_a_second_is_told() -> None:
    class Soon(AgentringError):
        retry_after_s = 1.25

    assert read(Soon()).retry_after_s == 1.25


def test_a_quota_says_what_it_is_of_and_how_long_to_wait() -> None:
    report = read(QuotaExceeded("turns_per_s", "0.5", "tenant", 1_250))
    assert report.variables == {"what": "turns_per_s", "limit": "0.5", "scope": "tenant", "wait_ms": "1250"}
    assert (report.code, report.reason) == (StatusCode.RESOURCE_EXHAUSTED, "QUOTA")
    assert report.retry_after_s == 1.25


def test_what_a_router_decides_by() -> None:
    def fields_of(error: AgentringError) -> list[tuple[str, str | bytes]]:
        (details, _), says, *routed = trailers(error)
        assert (details, says) == (STATUS_DETAILS, (metadata.NODE_SAYS, "1"))
        return routed

    assert fields_of(NotOwner("n2", "10.0.0.2:7000", 5)) == [(metadata.REDIRECT, "n2 10.0.0.2:7000")]
    assert fields_of(NodeDraining()) == [(metadata.REFUSED, "draining"), (metadata.MOVED, "1")]
    assert fields_of(NodeFenced()) == fields_of(SessionMoving()) == fields_of(StaleEpoch()) == [(metadata.MOVED, "1")]
    assert fields_of(NodeOverloaded()) == [(metadata.REFUSED, "overloaded")]
    assert fields_of(AgentNotFound("echo")) == [(metadata.REFUSED, "agent=echo")]
    assert fields_of(NotOwner("n2", "no\nheader", 5)) == []
    assert fields_of(AgentNotFound("no\nheader")) == []
    assert fields_of(AgentNotFound("köln")) == []
    assert fields_of(SessionNotFound()) == []


def test_errors_tell_their_fields_to_people() -> None:
    assert str(SessionNotFound()) == "there is no such session"
    assert (
        str(ResumeOffsetExpired(oldest_seq=3, head_seq=9))
        == "after_seq lies outside of the events that are kept (oldest_seq=3, head_seq=9)"
    )
    report = read(ResumeOffsetExpired(oldest_seq=3, head_seq=9))
    assert str(report) == (
        "OUT_OF_RANGE RESUME_OFFSET_EXPIRED: after_seq lies outside of the events that are kept"
        " (head_seq=9, oldest_seq=3)"
    )


def _any(message: str, value: bytes) -> bytes:
    packed = any_pb2.Any(type_url=f"type.googleapis.com/google.rpc.{message}", value=value)
    return bytes(status_pb2.Status(details=[packed]).SerializeToString())


@pytest.mark.parametrize(
    "trailing",
    [
        None,
        (),
        (("some", "thing"),),
        ((STATUS_DETAILS, "text"),),
        ((STATUS_DETAILS, b"\xff\xff\xff"),),
        ((STATUS_DETAILS, _any("ErrorInfo", b"\xff\xff")),),
        ((STATUS_DETAILS, _any("RetryInfo", b"\xff\xff")),),
        ((STATUS_DETAILS, _any("Unheard", b"\xff\xff")),),
        (
            (
                STATUS_DETAILS,
                _any("ErrorInfo", error_details_pb2.ErrorInfo(reason="R", domain="elsewhere").SerializeToString()),
            ),
        ),
    ],
)
def test_of_somebody_elses_error_the_code_and_the_message_are_left(trailing: Metadata | None) -> None:
    report = read_error(Failed(StatusCode.UNAVAILABLE, "no route", trailing))
    assert report == ErrorReport(StatusCode.UNAVAILABLE, "", "no route", {}, None)


def _documented() -> dict[str, set[str]]:
    """The statuses that the protos' comments name with each reason: after a status, its reasons follow."""
    found: dict[str, set[str]] = {}
    for proto in PROTOS.glob("*.proto"):
        text = re.sub(r"\n *// *", " ", proto.read_text())
        for listing in re.findall(r"Errors(?: carry|:)(.*?)(?:\n|\. [A-Z][a-z])", text):
            status = ""
            words = (
                r"[A-Z]+(?:_[A-Z]+)+|UNAVAILABLE|UNIMPLEMENTED|UNAUTHENTICATED|ABORTED|CANCELLED|QUOTA|INTERNAL|HALTED"
            )
            for word in re.findall(words, listing):
                if word in StatusCode.__members__:
                    status = word
                elif status:
                    found.setdefault(word, set()).add(status)
    return found


def test_the_protos_name_every_reason_with_its_status() -> None:
    documented = _documented()
    for leaf in LEAVES:
        if leaf.reason not in OF_NO_RPC_OF_OURS:
            assert documented.get(leaf.reason) == {leaf.code.name}, leaf
