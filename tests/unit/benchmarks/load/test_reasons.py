"""Which word of a failed call ends up in the report."""

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from benchmarks.load.reasons import STATUS_LOST, problem_of
from benchmarks.load.turn import Problem

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def failed(code: grpc.StatusCode, details_bin: bytes | None, details: str = "") -> grpc.aio.AioRpcError:
    trailers = [("grpc-status-details-bin", details_bin)] if details_bin is not None else []
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), details)


def status(*details: Message) -> bytes:
    received = status_pb2.Status(code=14)
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        received.details.append(packed)
    return bytes(received.SerializeToString())


def test_the_error_info_speaks() -> None:
    retry, info = error_details_pb2.RetryInfo(), error_details_pb2.ErrorInfo(reason="NODE_DRAINING", domain="agentring")
    assert problem_of(failed(UNAVAILABLE, status(retry, info))) == Problem("rpc", "NODE_DRAINING")


@pytest.mark.parametrize("details_bin", [None, b"", b"\xff\xff", status(error_details_pb2.RetryInfo())])
def test_without_an_error_info_the_status_speaks(details_bin: bytes | None) -> None:
    assert problem_of(failed(UNAVAILABLE, details_bin)) == Problem("grpc", "UNAVAILABLE")


def test_a_lost_status_is_not_put_on_the_server() -> None:
    assert problem_of(failed(grpc.StatusCode.INTERNAL, None, "Internal error from Core")) == STATUS_LOST
    assert problem_of(failed(grpc.StatusCode.INTERNAL, None, "else")) == Problem("grpc", "INTERNAL")
