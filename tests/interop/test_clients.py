"""Every gRPC library passes every case, through a router, against a service that is a user's own; and straight against
services that are served as a node serves its own.

A case is defined here by what must hold; each client in python/, go/, java/, js/, rust/ and cpp/ does it in its
library's own way, on a connection of its own. foreign.py says how a client is led.
"""

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import builds
from harness.cluster import TESTS
from harness.foreign import ForeignClient
from harness.hosted import HostedService

CASES = {
    "unary": "one message each way",
    "client_stream": "100 messages arrive in order, one answer",
    "server_stream": "100 answers, then OK",
    "bidi": "100 round trips, then half-close and OK",
    "message_0B": "an empty message both ways",
    "message_1B": "a message of one byte both ways",
    "message_4MiB": "a message of exactly the limit both ways, intact",
    "message_over_limit": "one byte more: RESOURCE_EXHAUSTED, MESSAGE_TOO_LARGE; the connection serves on",
    "bidi_10000": "10,000 messages each way at the same time, in order",
    "compression": "a request and its answer in gzip, intact",
    "deadline": "DEADLINE_EXCEEDED in time, and the backend's call is cancelled",
    "cancel_before_headers": "cancelled at once: CANCELLED, and no call stays behind",
    "cancel_after_headers": "cancelled once accepted, before any message: the backend's call is cancelled",
    "cancel_mid_stream": "cancelled between messages: likewise",
    "cancel_after_half_close": "cancelled when only the answers are left: likewise",
    "cancel_while_sending": "cancelled while the backend takes no more: likewise",
    "cancel_while_receiving": "cancelled with 8 MiB of answers unread: likewise",
    "metadata": "ASCII, repeated and binary metadata come back, in the initial metadata and in the trailers",
    "status": "a status after an answer, with a sentence beyond ASCII and per cents, and its trailers",
    "trailers_only": "the same status with nothing before it",
    "slow_reader": "while one stream of 8 MiB is not read, 20 others on its connection do 100 round trips each; "
    "then it is read, intact",
    "many_streams": "200 streams open at once on one connection",
}


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", f"interop.python.{module}"]


CLIENTS: dict[str, Callable[[], list[str]]] = {
    "grpc.aio": lambda: _python("aio_client"),
    "grpcio": lambda: _python("sync_client"),
    "grpc-js": builds.js_client,
    "grpc-go": builds.go_client,
    "grpc-java": builds.java_client,
    "tonic": builds.rust_client,
    "grpc-cpp": builds.cpp_client,
}
"""How each client is started, once it is built."""


NOT_OWN = ("metadata", "status", "trailers_only", "message_4MiB")
"""Cases whose service answers with metadata, statuses or trailers of its client's choice, or takes more than 1 MiB;
a node's own services do not."""


@contextmanager
def running(name: str, target: str, directory: Path) -> Iterator[ForeignClient]:
    """One of the clients."""
    log = directory / f"{name}.log"
    arguments = ["--target", target, "--session", f"{name}-{uuid.uuid4().hex}"]
    started = ForeignClient([*CLIENTS[name](), *arguments], log, {**os.environ, "PYTHONPATH": str(TESTS)})
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="session", params=CLIENTS)
def client(
    request: pytest.FixtureRequest, hosted: HostedService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForeignClient]:
    """Each client in turn, running."""
    with running(request.param, hosted.router, tmp_path_factory.mktemp("client")) as started:
        yield started


@pytest.fixture(scope="session", params=CLIENTS)
def straight(
    request: pytest.FixtureRequest, own_services: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForeignClient]:
    """Likewise, without a router."""
    with running(request.param, own_services, tmp_path_factory.mktemp("straight")) as started:
        yield started


# The first one on a machine builds the client.
@pytest.mark.timeout(600)
def test_it_has_every_case(client: ForeignClient) -> None:
    assert client.cases == list(CASES)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES)
def test_case(client: ForeignClient, case: str) -> None:
    client.run(case)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", [case for case in CASES if case not in NOT_OWN])
def test_case_without_a_router(straight: ForeignClient, case: str) -> None:
    straight.run(case)


# h2 is the one library that ends a connection whose frames are many and small.
@pytest.mark.timeout(600)
def test_many_streams_of_small_answers_do_not_end_a_connection_of_tonics(hosted: HostedService, tmp_path: Path) -> None:
    with running("tonic", hosted.router, tmp_path) as tonic:
        tonic.run("many_small_frames")
