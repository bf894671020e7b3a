"""How many halts a tenant's admin may have: every node reads all of them, so one tenant's must stay few."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agentring.auth.access import Caller
from agentring.auth.identity import Identity, Role
from agentring.cluster.etcd.errors import EtcdUnavailable
from agentring.cluster.halts import MOST_OF_TENANT, HaltScope, has_room
from agentring.cluster.keys import Keys
from agentring.errors import QuotaExceeded
from agentring.v1 import halt_pb2
from harness.credentials import OPERATOR
from harness.halts import EVERYTHING, agent, session, tenant
from router.services.halts import HaltService

KEYS = Keys("c")
ADMIN = Identity("acme", "adam", frozenset({Role.admin}), "key-adam", None)


class Etcd:
    """Keys, as `has_room` asks for them."""

    def __init__(self, *scopes: HaltScope) -> None:
        self.keys = {scope.key(KEYS) for scope in scopes}
        self.answers = self.is_reachable = True

    async def count(self, prefix: str) -> int:
        await asyncio.sleep(0)
        if not self.answers:
            await asyncio.Event().wait()
        if not self.is_reachable:
            raise EtcdUnavailable
        return sum(key.startswith(prefix) for key in self.keys)

    async def get(self, key: str) -> str | None:
        return key if key in self.keys else None

    async def range(self, _prefix: str) -> None:
        raise EtcdUnavailable

    async def txn(self, _compares: object, puts: Any) -> None:
        self.keys |= {put.key for put in puts}
        raise EtcdUnavailable


def full(name: str = "acme") -> list[HaltScope]:
    return [session(f"s{number}", name) for number in range(MOST_OF_TENANT)]


@pytest.mark.parametrize(
    "scope",
    [session("s1", "acme"), agent("ada", "acme"), tenant("acme"), session("more", "acm"), EVERYTHING],
    ids=lambda scope: scope.what,
)
async def test_what_replaces_one_or_is_of_another_kind_or_tenant_has_room(scope: HaltScope) -> None:
    assert await has_room(cast(Any, Etcd(*full())), KEYS, scope)


def service_of(etcd: Etcd) -> HaltService:
    return HaltService(cast(Any, SimpleNamespace(current=SimpleNamespace(nodes={}))), cast(Any, etcd), KEYS)


async def halt(
    etcd: Etcd, identity: Identity, scope: HaltScope, service: HaltService | None = None
) -> halt_pb2.HaltResponse:
    service = service or service_of(etcd)
    call = SimpleNamespace(caller=Caller(identity, identity.tenant), metadata={}, named=lambda *_: None)
    return await service.Halt(halt_pb2.HaltRequest(scope=scope.to_message(), timeout_s=1.0), cast(Any, call))


async def test_one_more_than_an_admin_may_have_is_refused_and_no_operators() -> None:
    etcd, more = Etcd(*full()), session("more", "acme")
    with pytest.raises(QuotaExceeded, match="limit"):
        await halt(etcd, ADMIN, more)
    assert more.key(KEYS) not in etcd.keys
    await halt(etcd, OPERATOR, more)
    assert more.key(KEYS) in etcd.keys


async def test_those_of_one_moment_count_each_other() -> None:
    etcd = Etcd(*full()[2:])
    service = service_of(etcd)
    more = [session(f"more{number}", "acme") for number in range(20)]
    done = await asyncio.gather(*(halt(etcd, ADMIN, each, service) for each in more), return_exceptions=True)
    assert sum(isinstance(each, QuotaExceeded) for each in done) >= 18
    assert len(etcd.keys) <= MOST_OF_TENANT
    assert isinstance(await halt(etcd, ADMIN, full()[5], service), halt_pb2.HaltResponse)


@pytest.mark.parametrize("fault", ["answers", "is_reachable"])
async def test_an_etcd_that_does_not_answer_holds_no_halt_up(fault: str) -> None:
    etcd, more = Etcd(*full()), session("more", "acme")
    setattr(etcd, fault, False)
    await halt(etcd, ADMIN, more)
    assert more.key(KEYS) in etcd.keys
