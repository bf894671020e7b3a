"""A router's settings (see agentring/settings.py for where they come from)."""

import ssl

from pydantic import Field

from agentring.certificates.context_files import ContextFiles
from agentring.certificates.contexts import http2_only, load_pair
from agentring.http2.limits import Limits, Rate
from agentring.settings import HostPort, ProcessSettings


class RouterSettings(ProcessSettings):
    """One router."""

    listen: HostPort = Field("127.0.0.1:7700", description="host:port to serve on; port 0: a free one")
    shared_port: bool = Field(False, description="other routers on this machine listen on the same port")
    workers: int = Field(1, ge=1, le=256, description="processes that share the port")
    metrics_listen: HostPort | None = Field(
        None, description="host:port for Prometheus; worker n of several has the port n higher"
    )
    owner_cache_size: int = Field(100_000, ge=1, description="owners learnt from redirects that are kept")
    sync_timeout_s: float = Field(30.0, gt=0, description="how long a starting router waits for etcd")
    stop_grace_s: float = Field(5.0, ge=0, description="how long calls may go on when the router stops")
    connect_timeout_s: float = Field(2.0, gt=0, description="deadline for a new connection to a node")

    max_connections: int = Field(20_000, ge=1, description="clients' connections; one more is refused")
    max_streams: int = Field(10_000, ge=1, lt=1 << 31, description="calls at once on one client's connection")
    max_buffered_bytes: int = Field(
        256 << 20, ge=1 << 20, description="bytes held for all slow readers; beyond, the longest-stalled calls end"
    )
    max_header_block_bytes: int = Field(
        64 << 10, ge=16 << 10, description="a request's headers on the wire; a longer block is not read"
    )
    max_header_list_bytes: int = Field(
        8 << 10, ge=1 << 10, description="a request's header fields together; nodes take 8 KiB"
    )
    max_continuations: int = Field(
        32, ge=0, description="CONTINUATION frames of one header block; more end the connection"
    )
    ping_burst: int = Field(200, ge=1, description="PINGs of a client's connection at once")
    pings_per_s: float = Field(50, gt=0, description="PINGs of a client's connection, a second, on average")
    settings_burst: int = Field(50, ge=1, description="SETTINGS of a client's connection at once")
    settings_per_s: float = Field(5, gt=0, description="SETTINGS of a client's connection, a second, on average")
    reset_burst: int = Field(1_000, ge=1, description="calls that a client's connection cancels at once")
    resets_per_s: float = Field(100, gt=0, description="calls that a client's connection cancels, a second, on average")
    idle_frame_burst: int = Field(10_000, ge=1, description="frames without purpose of a client's connection at once")
    idle_frames_per_s: float = Field(
        2_000, gt=0, description="frames without purpose of a client's connection, a second, on average"
    )
    idle_timeout_s: float = Field(900.0, gt=0, description="how long a client's connection may be without a call")
    keepalive_s: float = Field(30.0, gt=0, description="a client that was silent this long is sent a PING")
    node_keepalive_s: float = Field(
        10.0, gt=0, description="a node that was silent this long is sent a PING, if it permits that so often"
    )
    keepalive_timeout_s: float = Field(5.0, gt=0, description="how long the answer to that PING may take")

    reattach_timeout_s: float = Field(
        30.0, ge=0, description="how long a stream whose node is lost waits for the session's next owner"
    )

    def limits(self) -> Limits:
        """What a client may do."""
        return Limits(
            max_header_block_bytes=self.max_header_block_bytes,
            max_header_list_bytes=self.max_header_list_bytes,
            max_continuations=self.max_continuations,
            max_streams=self.max_streams,
            pings=Rate(self.ping_burst, self.pings_per_s),
            settings=Rate(self.settings_burst, self.settings_per_s),
            resets=Rate(self.reset_burst, self.resets_per_s),
            idle_frames=Rate(self.idle_frame_burst, self.idle_frames_per_s),
            first_frame_timeout_s=self.first_frame_timeout_s,
            reattach_timeout_s=self.reattach_timeout_s,
            idle_timeout_s=self.idle_timeout_s,
            keepalive_s=self.keepalive_s,
            keepalive_timeout_s=self.keepalive_timeout_s,
        )

    def node_limits(self) -> Limits:
        """What a node may do: it is ours, so only what would hurt by mistake is bounded."""
        plenty = Rate(1 << 30, 1e9)
        return Limits(
            pings=plenty,
            settings=plenty,
            resets=plenty,
            idle_frames=plenty,
            max_continuations=1 << 30,  # of a block that is too long, no more is kept than of any other
            keepalive_s=self.node_keepalive_s,
            keepalive_timeout_s=self.keepalive_timeout_s,
        )

    def node_tls(self) -> ContextFiles | None:
        """For the connections to nodes; None: plaintext. Raises OSError."""
        if self.node_ca is None:
            return None
        files = [file for file in (self.node_ca, self.node_cert, self.node_key) if file is not None]
        return ContextFiles(self._node_context, files)

    def _node_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self.node_ca)
        # The certificate has to name the node, wherever it is reached (NodeTls in router/relay/node_pool.py).
        context.check_hostname = False
        if self.node_cert is not None:
            load_pair(context, self.node_cert, self.node_key)
        return http2_only(context)
