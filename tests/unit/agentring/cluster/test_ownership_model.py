"""One effective owner of a key in every interleaving; and in the worst of them each protection is needed."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from agentring.cluster.claim import Claim, Claims
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.etcd.types import Compare, Delete, Txn, TxnResult
from agentring.cluster.group_commit import GroupCommit
from agentring.cluster.lease import Lease
from agentring.ids import Revision, SessionRef, TaskRef
from harness.fake_etcd import Request
from harness.ownership_model import REFS, Node, OwnershipModel

SETTINGS = settings(
    max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
S = REFS[0]


def test_every_key_has_one_effective_owner_whatever_the_network_does() -> None:
    run_state_machine_as_test(OwnershipModel, settings=SETTINGS)


class Adopting(Claims):
    """Takes a record of its own incarnation for its claim."""

    async def claim(self, ref: SessionRef | TaskRef) -> Claim:
        held = await self._etcd.get(self._keys.claim(ref))
        if held is not None and self._is_ours(held):
            return Claim(ref, self._epoch(held.mod_revision), held.mod_revision)
        return await super().claim(ref)

    def _epoch(self, revision: Revision) -> Any:
        return (self._registration.generation << 40) + revision


class Careless(Claims):
    """Deletes whatever stands there."""

    async def _delete(self, ref: SessionRef | TaskRef, revision: Revision) -> bool:
        key = self._keys.claim(ref)
        return (await self._commit(ref, self._releasing, key, Txn((), (Delete(key),)))).succeeded


class Unregistered(Claims):
    """Puts the record whoever holds the key."""

    async def _clear(self, held: Any) -> tuple[Compare, ...]:
        return ()


class Heedless(Claims):
    """Asks once who uses a key, before it reads the record."""

    async def disclaim(self, ref: SessionRef | TaskRef, in_use: Callable[[SessionRef | TaskRef], bool]) -> None:
        used = in_use(ref)
        await super().disclaim(ref, lambda _: used)


class Sure(GroupCommit):
    """Takes a group for written without having been told so."""

    async def _carry_out(self, txns: Sequence[Txn]) -> list[TxnResult]:
        await self._etcd.txn_of_all(txns)
        return [TxnResult(succeeded=True, revision=Revision(1_000), gets=())] * len(txns)


class Presuming(Claims):
    """Believes that all of a group are won."""

    def __init__(self, etcd: Any, keys: Any, registration: Any, tasks: asyncio.TaskGroup, **bounds: Any) -> None:
        super().__init__(etcd, keys, registration, tasks, **bounds)
        self._claiming = Sure(etcd, tasks, **bounds)


class Extending(Lease):
    """Believes an answer that came after the fence time."""

    async def _renew(self) -> bool:
        try:
            ttl_s = await self._etcd.keep_alive(self.lease_id, timeout_s=1.0)
        except EtcdError:
            return False
        if ttl_s > 0:
            self._fence_at_s = self._clock.now_s() + ttl_s
        return True


class Deaf(Lease):
    """Never stops by itself."""

    def check(self) -> None:
        """Nothing is wrong."""


Scenario = Callable[[OwnershipModel], None]


def a_late_release(model: OwnershipModel) -> None:
    """A release is given up for lost, the session is claimed again, and then the release arrives."""
    model.claim("n1", S)
    deliver(model)
    model.release("n1", S)
    (late,) = pending(model, "txn")
    late.lose()
    model.claim("n1", S)
    deliver(model, but=late)
    assert S in model.nodes["n1"].actors
    late.apply()


def a_lease_that_ran_out(model: OwnershipModel) -> None:
    """Its node has noticed nothing yet, and another one claims."""
    model.claim("n1", S)
    deliver(model)
    model.clock.advance(11)
    model.nodes["n2"] = fresh(model, "n2")
    model.claim("n2", S)
    deliver(model)
    assert S in model.nodes["n2"].actors


def a_renewal_answered_late(model: OwnershipModel) -> None:
    """The answer comes when the renewed lease, too, is over, and another node owns the session."""
    model.claim("n1", S)
    deliver(model)
    model.clock.advance(2.5)
    model.settle()
    renewals = pending(model, "keep_alive")
    for renewal in renewals:
        renewal.apply()
    model.clock.advance(11)
    for renewal in renewals:
        renewal.reply()
        model.etcd.requests.remove(renewal)
    model.settle()
    model.nodes["n2"] = fresh(model, "n2")
    model.claim("n2", S)
    deliver(model)
    assert S in model.nodes["n2"].actors


def two_at_once(model: OwnershipModel) -> None:
    """Both nodes ask before either is answered."""
    model.claim("n1", S)
    model.claim("n2", S)
    deliver(model)


def a_refusal_beside_an_activation(model: OwnershipModel) -> None:
    """One caller is refused; before the node has read whose the session is, another one has it activated."""
    model.refuse("n1", S)
    (look,) = pending(model, "get")
    model.claim("n1", S)
    deliver(model, but=look)
    assert S in model.nodes["n1"].actors
    deliver(model)


def some_of_many(model: OwnershipModel) -> None:
    """A node claims many at once, of which another one owns one: it gets the others."""
    model.claim("n2", REFS[2])
    deliver(model)
    model.claim_all("n1")
    deliver(model)
    assert set(model.nodes["n1"].actors) == set(REFS) - {REFS[2]}


def pending(model: OwnershipModel, name: str) -> list[Request]:
    return [request for request in model.etcd.requests if request.name.startswith(name)]


def deliver(model: OwnershipModel, but: Request | None = None) -> None:
    """Transactions and reads are carried out and answered until none is left."""
    while waiting := [request for request in pending(model, "") if request.name != "keep_alive" and request is not but]:
        for request in waiting:
            request.apply()
            request.reply()
            model.etcd.requests.remove(request)
        model.settle()


def fresh(model: OwnershipModel, name: str) -> Node:
    """The node's next incarnation, its last one's lease being over."""
    model.etcd.expire()
    return Node(model.etcd, model.clock, name, model.tasks, type(model))


def played(scenario: Scenario, claims: type[Claims], lease: type[Lease]) -> None:
    """Raises what promise was broken."""
    model: OwnershipModel = type("Model", (OwnershipModel,), {"CLAIMS": claims, "LEASE": lease})()
    try:
        scenario(model)
        model.one_owner()
        model.epochs_grow()
    finally:
        model.teardown()


@pytest.mark.parametrize(
    ("scenario", "claims", "lease"),
    [
        (a_late_release, Adopting, Lease),
        (a_late_release, Careless, Lease),
        (two_at_once, Unregistered, Lease),
        (a_refusal_beside_an_activation, Heedless, Lease),
        (some_of_many, Presuming, Lease),
        (a_renewal_answered_late, Claims, Extending),
        (a_lease_that_ran_out, Claims, Deaf),
    ],
)
def test_each_protection_is_needed(scenario: Scenario, claims: type[Claims], lease: type[Lease]) -> None:
    played(scenario, Claims, Lease)
    with pytest.raises(AssertionError):
        played(scenario, claims, lease)
