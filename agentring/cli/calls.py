"""Calls to a router: the channel, the deadline, and how an error is printed.

Guarantees that an error of a call becomes one CallFailed, with the reason and its variables where agentring answered,
and the status alone where somebody else did (nothing listens there, a proxy). Called by every command that speaks to a
cluster.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc

from agentring import metadata
from agentring.cli.credentials import SHOWN, open_router
from agentring.cli.errors import CallFailed
from agentring.client import AgentringError, ClientError, RetryPolicy, Ring, UnknownFailure, connect
from agentring.errors import TenantForeign
from agentring.rpc.status import read_error

CALL_DEADLINE_S = 5.0

T = TypeVar("T")


@contextmanager
def open_channel(router: str) -> Iterator[grpc.Channel]:
    """A channel to the router. Raises CallFailed for a call in the body that fails, CredentialUnusable."""
    with open_router(router) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            raise explain(router, error) from error


def open_ring(routers: str, tenant: str, policy: RetryPolicy | None = None) -> Ring:
    """The client that a command uses. routers: several with commas. Raises ValueError, InvalidTenantId,
    CredentialUnusable."""
    shown = SHOWN.get()
    for router in routers.split(","):
        shown.check(router)
    credentials = (lambda: shown.token) if shown.token else None
    return connect(routers, tenant=tenant, policy=policy, tls=shown.tls, credentials=credentials)


@contextmanager
def explained(router: str) -> Iterator[None]:
    """What agentring.client raises in the body becomes CallFailed."""
    try:
        yield
    except AgentringError as error:
        variables = tuple(sorted(error.variables.items()))
        raise CallFailed(router, error.code.name, error.reason, error.sentence, variables) from None
    except UnknownFailure as error:
        variables = tuple(sorted(error.variables.items()))
        raise CallFailed(router, error.status, error.reason, error.sentence, variables) from None
    except ClientError as error:
        raise CallFailed(router, "UNAVAILABLE", "", str(error)) from None


def tenant_metadata(tenant: str) -> tuple[tuple[str, str], ...]:
    """The metadata that name the tenant."""
    return ((metadata.TENANT_ID, tenant),) if tenant else ()


def of_all_or_own(tenant: str, ask: Callable[[bool], T]) -> T:
    """What is listed: of a tenant that is named; else of all, or of the caller's own where he may not see others'. ask:
    whether of all. Raises grpc.RpcError."""
    try:
        return ask(not tenant)
    except grpc.RpcError as error:
        if tenant or read_error(error).reason != TenantForeign.reason:
            raise
    return ask(False)


def explain(router: str, error: grpc.RpcError) -> CallFailed:
    """A failed call in words."""
    report = read_error(error)
    sentence = " ".join(report.message.split()) or "no more is known"
    return CallFailed(router, report.code.name, report.reason, sentence, tuple(sorted(report.variables.items())))
