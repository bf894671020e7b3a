"""A node's settings (see agentring/settings.py for where they come from)."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from agent_node.store.opening import check_url
from agentring import metadata
from agentring.address import is_loopback
from agentring.exposure import is_reached
from agentring.settings import CommaSeparated, PeerAddress, ProcessSettings

MiB = 1 << 20
_METADATA_NAME = re.compile(r"[a-z0-9._-]{1,64}")
_CREDENTIALS = ("authorization", "proxy-authorization", "cookie")


def _store(url: str | None) -> str | None:
    return url if url is None else check_url(url)


def _metadata_names(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not _METADATA_NAME.fullmatch(name) or name.endswith("-bin"):
            raise ValueError(f"{name!r} is no name of text metadata: lower-case letters, digits, `-`, `_` and `.`")
        if name in _CREDENTIALS or name.startswith((metadata.INTERNAL_PREFIX, "grpc-")):
            raise ValueError(f"{name} is never shown to agents")
    return tuple(sorted(set(names)))


class NodeSettings(ProcessSettings):
    """One agent node."""

    node_id: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="this node's name, unique in the cluster")
    advertise: PeerAddress | None = Field(
        None, description="host:port that others reach it at; default: where it listens"
    )
    data_dir: Path = Field(description="the node's own directory; locked while it runs")
    agent: CommaSeparated = Field(
        (),
        description="name=package.module:attribute of an agent to host beside the installed ones, or package.module: "
        "all that it defines",
    )
    limits: Path | None = Field(
        None, description="TOML file with the limits of tenants and their subjects; read again when it has changed"
    )
    tenant_metrics: bool = Field(
        False, description="name tenants in the metrics of their limits, 200 of them; the others are one"
    )
    agent_settings: Path | None = Field(
        None, description="TOML file with settings that agents declare, a table for each agent by its name"
    )
    store: Annotated[str | None, AfterValidator(_store)] = Field(
        None,
        description="where sessions are kept: memory:, sqlite:///PATH (nodes of one machine share it) or "
        "postgresql://USER@HOST/DATABASE; default: store.db beside data_dir",
    )
    store_timeout_s: float = Field(5.0, gt=0, le=60, description="deadline of one transaction of the store")
    store_wait_s: float = Field(
        300.0, ge=0, description="how long a node that starts waits for a store that does not answer; then it ends"
    )
    weight: int = Field(1, ge=1, le=100, description="the node's share of the ring, relative to the others'")
    label: CommaSeparated = Field((), description="key=value; calls can ask for nodes that have them")
    require: CommaSeparated = Field((), description="agent:key=value, a label that a node must have to host the agent")
    audit_log: Path | None = Field(None, description="file that every state transition is appended to")

    lease_ttl_s: int = Field(10, ge=2, le=600, description="how long a silent node keeps its sessions")
    max_clock_skew_s: float = Field(
        300.0,
        gt=0,
        description="how far the wall clock may be from the other nodes'; beyond, the node does not join",
    )
    join_timeout_s: float = Field(30.0, gt=0, description="how long to wait for a predecessor of the same name to go")
    drain_timeout_s: float = Field(10.0, ge=0, description="how long running turns may take when the node stops")

    caller_metadata: Annotated[CommaSeparated, AfterValidator(_metadata_names)] = Field(
        (), max_length=16, description="names of calls' metadata that agents see as ctx.caller.metadata"
    )
    turn_timeout_s: float = Field(
        300.0, gt=0, description="deadline of a turn or a task's run whose agent and caller name none"
    )
    max_turn_timeout_s: float = Field(
        86_400.0, ge=1, le=31_536_000, description="the longest deadline that a caller may ask for"
    )
    heartbeat_s: float = Field(30.0, gt=0, description="how long a stream may be silent before a heartbeat")
    merge_bytes: int = Field(
        16 << 10,
        ge=0,
        le=256 << 10,
        description="how much of what came while a response was being written goes in the next one, adjacent pieces "
        "of text as one event; 0: every event and every piece alone, which costs many times the CPU under load",
    )
    idle_timeout_s: float = Field(900.0, gt=0, description="how long a session is idle before it is passivated")
    tombstone_s: float = Field(3_600.0, ge=0, description="how long a closed session's id cannot be used again")
    load_factor: float = Field(
        0.0,
        ge=0,
        le=10,
        description="refuse new sessions beyond this times the node's weighted share of all sessions, 1.25 say; 0: off",
    )
    max_sessions: int = Field(
        100_000, ge=1, description="sessions on this node; with a durable store idle ones make room for new ones"
    )
    max_memory_mib: int = Field(
        0, ge=0, description="beyond so much of the machine's memory idle sessions are passivated; 0: no limit"
    )
    max_running_turns: int = Field(1_000, ge=1, description="turns and task runs at the same time")
    max_waiting_turns: int = Field(
        10_000,
        ge=0,
        description="turns of different sessions that may wait to be among those; then new ones are refused",
    )
    mailbox_size: int = Field(64, ge=1, description="turns that may wait in a session")
    max_tasks: int = Field(
        100_000, ge=1, description="task keys held on this node, on a volatile store those of ended tasks included"
    )
    max_tenant_tasks: int = Field(
        50_000,
        ge=1,
        description="task keys of one tenant on this node that have not ended; beyond that new ones are refused",
    )
    unwatched_timeout_s: float = Field(
        30.0, gt=0, description="how long nobody may watch a task that is to be cancelled when unwatched"
    )
    max_once_keys: int = Field(
        100_000, ge=1, description="keys of ctx.once whose steps run on this node at the same time"
    )
    max_once_result_bytes: int = Field(256 << 10, ge=2, le=512 << 10, description="a ctx.once step's result as JSON")
    once_retention_s: float = Field(3_600.0, gt=0, description="how long a ctx.once step's outcome is replayed")
    once_failure_s: float = Field(
        10.0,
        ge=0,
        description="how long a ctx.once step's error is replayed where it may be run again; later calls run it again",
    )
    max_log_bytes: int = Field(2 * MiB, ge=64 << 10, description="events of one session or task kept in memory")
    max_stored_log_bytes: int = Field(
        4 * MiB,
        ge=64 << 10,
        description="events of one session kept in a durable store, an eighth more for a while; the oldest turns' go "
        "first. A turn with more events than max_log_bytes is stored without its beginning",
    )
    max_session_file_bytes: int = Field(
        64 * MiB, ge=16 * MiB, description="files of one session; those used longest ago go first"
    )
    max_text_bytes: int = Field(1 * MiB, ge=1, description="text of one turn or task run")
    max_state_bytes: int = Field(1 * MiB, ge=2, description="a session's state as JSON")
    max_storage_bytes: int = Field(
        64 * MiB, ge=1, le=1 << 30, description="what ctx.storage holds of one session or task, keys included"
    )
    max_turn_attempts: int = Field(
        10, ge=1, description="how often a turn is run that its nodes' ends cut off; then it has failed"
    )
    max_history_turns: int = Field(100, ge=0, description="completed turns that an agent sees")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.cluster_secret_file is not None:
            for flag, address in (("--listen", self.listen), ("--advertise", self.advertise or self.listen)):
                if not is_loopback(address):
                    raise ValueError(f"{flag} {address} is not on loopback, which --cluster-secret-file is for")
        elif self.auth is not None and self.tls_client_ca is None and is_reached(self.listen):
            raise ValueError(
                f"--auth with --listen {self.listen} needs --tls-client-ca, by which a node knows its routers"
            )
        for pair in self.label:
            if "=" not in pair:
                raise ValueError(f"--label {pair!r} is not key=value")
        for word in self.agent:
            if "=" not in word and not all(part.isidentifier() for part in word.split(".")):
                raise ValueError(f"--agent {word!r} is neither name=package.module:attribute nor package.module")
        for word in self.require:
            agent, _, label = word.partition(":")
            if not agent or "=" not in label:
                raise ValueError(f"--require {word!r} is not agent:key=value")
        return self

    @property
    def store_url(self) -> str:
        """Where sessions are kept."""
        return self.store or f"sqlite:///{self.data_dir.absolute().parent / 'store.db'}"

    @property
    def labels(self) -> dict[str, str]:
        """The labels, by key."""
        return dict(pair.split("=", 1) for pair in self.label)
