"""How a node activates a session, and releases it: its claim in etcd, then its epoch in the store.

Guarantees: the store is written to only under a claim and while the lease stands; no epoch is raised twice; a claim
that led to no activation is released. Used by the host.
"""

import structlog

from agent_node.ownership.release import release
from agent_node.run.environment import RunEnvironment
from agent_node.store import Store, StoredSession
from agentring.cluster.claim import Claim, Claims
from agentring.errors import StoreUnavailable
from agentring.ids import Epoch, SessionRef

_log = structlog.get_logger()


class Activator:
    """On behalf of one incarnation."""

    def __init__(self, env: RunEnvironment, claims: Claims, store: Store) -> None:
        self._env = env
        self._claims = claims
        self._store = store

    async def activate(self, ref: SessionRef, agent: str) -> tuple[Claim, StoredSession]:
        """Claims the session and reads it. Raises as Claims.claim and Store.activate."""
        for is_last in (False, True):
            claim = await self._claims.claim(ref)
            self._env.audit.write("claimed", ref, epoch=claim.epoch)
            try:
                self._env.lease.check()  # before the store is written to, however long the claim took
                return claim, await self._store.activate(self._env.ownership(ref, claim.epoch), agent)
            except Exception as error:
                # Whether the epoch was raised is unknown, and none is raised twice: the claim is put again first.
                failure = error
            if is_last or not isinstance(failure, StoreUnavailable):
                await self.release(claim)
                raise failure
        raise AssertionError

    async def close_unread(self, ref: SessionRef) -> Epoch:
        """Closes a session of which the store has something that cannot be read; under which epoch. Raises as
        Claims.claim and Store.close_unread."""
        claim = await self._claims.claim(ref)
        self._env.audit.write("claimed", ref, epoch=claim.epoch)
        try:
            self._env.lease.check()
            await self._store.close_unread(self._env.ownership(ref, claim.epoch))
        finally:
            await self.release(claim)
        _log.warning("session_closed_unread", epoch=claim.epoch)
        return claim.epoch

    async def release(self, claim: Claim) -> None:
        """As claim_release.release."""
        await release(self._claims, self._env.lease, self._env.audit, claim)
