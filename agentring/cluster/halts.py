"""Halts: what is stopped, by whom, and where that stands in etcd (docs/architecture.md, "Halts").

A halt has a key of its own for each scope, without a lease: it stands until it is resumed. Nothing compares what was
there before: halting anew replaces, resuming deletes, whatever is known. Written by routers, read by every node.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from shlex import quote

import structlog

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.types import KeyValue, Put
from agentring.cluster.keys import Keys
from agentring.cluster.records import RECORD_VERSION, UnreadableRecord, decode_halt, encode
from agentring.errors import Halted, InvalidHalt
from agentring.ids import SessionRef, TaskRef, parse_session, parse_tenant
from agentring.v1 import halt_pb2
from agentring.v1.halt_pb2 import HALT_KIND_AGENT, HALT_KIND_ALL, HALT_KIND_SESSION, HALT_KIND_TENANT

MOST_BY_CHARS, MOST_WHY_CHARS = 256, 1_000
_MOST_AGENT_CHARS = 256
MOST_OF_TENANT = 200
"""Halts of sessions, and as many of agents, that a tenant's admin may have: every node reads those of all tenants with
each renewal of its lease, and is fenced where they are more than one answer of etcd's holds."""
_KIND_NAMES: dict[int, str] = {
    HALT_KIND_SESSION: "session",
    HALT_KIND_AGENT: "agent",
    HALT_KIND_TENANT: "tenant",
    HALT_KIND_ALL: "all",
}

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, order=True)
class HaltScope:
    """Which sessions and tasks a halt is about."""

    kind: int
    """A HaltKind."""
    tenant: str = ""
    """Empty: every tenant."""
    name: str = ""
    """The session's id, or the agent's name; empty: all of the tenant."""

    @property
    def what(self) -> str:
        """For people."""
        match self.kind:
            case halt_pb2.HALT_KIND_SESSION:
                return f"session {self.name} of tenant {self.tenant}"
            case halt_pb2.HALT_KIND_AGENT:
                return f"agent {self.name} of tenant {self.tenant}"
            case halt_pb2.HALT_KIND_TENANT:
                return f"tenant {self.tenant}"
        return f"agent {self.name} of every tenant" if self.name else "everything"

    @property
    def options(self) -> str:
        """As `agentring halt` and `agentring resume` are given it."""
        if self.kind == HALT_KIND_ALL:
            return f"--all --agent {quote(self.name)}" if self.name else "--all"
        named = "" if self.kind == HALT_KIND_TENANT else f"--{_KIND_NAMES[self.kind]} {quote(self.name)} "
        return f"{named}--tenant {self.tenant}"

    def key(self, keys: Keys) -> str:
        """Its key in etcd."""
        return keys.halt(_KIND_NAMES[self.kind], self.tenant, self.name)

    def to_message(self) -> halt_pb2.HaltScope:
        """As the protos have it."""
        is_session = self.kind == HALT_KIND_SESSION
        return halt_pb2.HaltScope(
            kind=halt_pb2.HaltKind.ValueType(self.kind),
            tenant_id=self.tenant,
            session_id=self.name if is_session else "",
            agent="" if is_session else self.name,
        )


@dataclass(frozen=True, slots=True)
class Halt:
    """A halt that stands."""

    scope: HaltScope
    halt_id: str
    hold: bool
    by: str
    since_ns: int
    """Unix time."""
    why: str = ""

    def error(self) -> Halted:
        """What callers are answered."""
        since = datetime.fromtimestamp(self.since_ns // 1_000_000_000, UTC).isoformat().replace("+00:00", "Z")
        return Halted(self.scope.options, self.by or "an operator", since)

    def to_record(self) -> halt_pb2.HaltRecord:
        """As it is stored and sent."""
        record = halt_pb2.HaltRecord(
            v=RECORD_VERSION,
            scope=self.scope.to_message(),
            halt_id=self.halt_id,
            hold=self.hold,
            by=self.by,
            why=self.why,
        )
        record.since.FromNanoseconds(self.since_ns)
        return record


def scopes_of(ref: SessionRef | TaskRef, agent: str) -> tuple[HaltScope, ...]:
    """Those that a session or task of an agent is in."""
    tenant = ref.tenant
    scopes = (
        HaltScope(HALT_KIND_ALL),
        HaltScope(HALT_KIND_ALL, "", agent),
        HaltScope(HALT_KIND_TENANT, tenant),
        HaltScope(HALT_KIND_AGENT, tenant, agent),
    )
    return (*scopes, HaltScope(HALT_KIND_SESSION, tenant, ref.session_id)) if isinstance(ref, SessionRef) else scopes


def read_scope(message: halt_pb2.HaltScope, tenant: str = "") -> HaltScope:
    """A scope from a caller's words. tenant: the caller's own, where it names none. Raises InvalidHalt,
    InvalidTenantId, InvalidSessionId."""
    kind, session_id, agent = message.kind, message.session_id, message.agent
    if kind not in _KIND_NAMES:
        raise InvalidHalt("it has no kind: say what is meant, a session, an agent, a tenant or everything")
    if len(agent) > _MOST_AGENT_CHARS:
        raise InvalidHalt("no agent has so long a name")
    if session_id and kind != HALT_KIND_SESSION:
        raise InvalidHalt("a session is named, and more than that is meant")
    if agent and kind not in (HALT_KIND_AGENT, HALT_KIND_ALL):
        raise InvalidHalt("an agent is named, and something else is meant")
    if kind == HALT_KIND_ALL:
        if message.tenant_id:
            raise InvalidHalt("a tenant is named, and all of them are meant")
        return HaltScope(kind, "", agent)
    whose = message.tenant_id or tenant
    if kind == HALT_KIND_SESSION:
        ref = parse_session(whose, session_id)
        return HaltScope(kind, ref.tenant, ref.session_id)
    if kind == HALT_KIND_AGENT and not agent:
        raise InvalidHalt("no agent is named")
    return HaltScope(kind, parse_tenant(whose), agent)


def of_record(record: halt_pb2.HaltRecord) -> Halt:
    """A record as a halt. Raises InvalidHalt, InvalidTenantId, InvalidSessionId."""
    if len(record.by) > MOST_BY_CHARS or len(record.why) > MOST_WHY_CHARS:
        raise InvalidHalt(f"`by` has at most {MOST_BY_CHARS} characters, `why` {MOST_WHY_CHARS}")
    since_ns = record.since.seconds * 1_000_000_000 + record.since.nanos
    return Halt(read_scope(record.scope), record.halt_id, record.hold, record.by, since_ns, record.why)


def decoded(kvs: Iterable[KeyValue]) -> Mapping[str, Halt]:
    """The halts in etcd's values, by their keys, without those that nobody of ours has written."""
    found: dict[str, Halt] = {}
    for kv in kvs:
        try:
            found[kv.key] = of_record(decode_halt(kv.value))
        except Exception as error:  # whatever is made of bytes that are anybody's
            name = type(error).__name__ if not isinstance(error, UnreadableRecord) else "unreadable"
            _log.error("halt_record_odd", key=kv.key, problem=name)
    return found


async def write(etcd: EtcdClient, keys: Keys, halt: Halt) -> None:
    """Puts the halt in the place of an earlier one of its scope. Raises EtcdError."""
    await etcd.txn([], [Put(halt.scope.key(keys), encode(halt.to_record()), 0)])


async def has_room(etcd: EtcdClient, keys: Keys, scope: HaltScope, more: int = 1) -> bool:
    """Whether the tenant may have the halt besides those that it has; one that is replaced takes no room. more: how
    many are being made, this one too. Raises EtcdError."""
    if not (scope.tenant and scope.name):
        return True
    those = f"{keys.halt(_KIND_NAMES[scope.kind], scope.tenant)}/"
    return await etcd.count(those) + more <= MOST_OF_TENANT or await etcd.get(scope.key(keys)) is not None


async def remove(etcd: EtcdClient, keys: Keys, scope: HaltScope) -> bool:
    """Deletes the halt of a scope, which etcd takes also without space; whether there was one. Raises EtcdError."""
    return await etcd.delete(scope.key(keys))
