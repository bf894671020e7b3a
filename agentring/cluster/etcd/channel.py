"""The connections to etcd: how each is set up, and the one call that is made otherwise than the stubs do. Used by the
client alone."""

from dataclasses import dataclass
from typing import Any

import grpc
from aetcd import rpc
from grpc import aio

from agentring.address import check_etcd_endpoint
from agentring.rpc import channel

_CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 300),
    ("grpc.max_receive_message_length", 64 << 20),
)


@dataclass(frozen=True, slots=True)
class EtcdTls:
    """PEM bytes. Without certificate and key the client does not show who it is."""

    root_certificates: bytes
    certificate_chain: bytes | None = None
    private_key: bytes | None = None


def open_channel(endpoint: str, tls: EtcdTls | None) -> aio.Channel:
    """A connection that is opened by its first call. Raises ValueError: no endpoint, or one that does not go with
    tls."""
    check_etcd_endpoint(endpoint)
    scheme, _, rest = endpoint.rpartition("://")
    if (scheme == "https") != (tls is not None) and scheme:
        raise ValueError(f"etcd endpoint {endpoint!r} does not go with the TLS settings")
    credentials = (
        grpc.ssl_channel_credentials(tls.root_certificates, tls.private_key, tls.certificate_chain)
        if tls is not None
        else None
    )
    return channel.open_channel(rest.removesuffix("/"), credentials, _CHANNEL_OPTIONS)


def keep_alive_once(connection: aio.Channel) -> Any:
    """LeaseKeepAlive, a stream of one request and one answer, as a single operation: on a busy event loop each further
    step of a stream would have to wait for its turn. Returns None where the stream ends without an answer."""
    return connection.unary_unary(
        "/etcdserverpb.Lease/LeaseKeepAlive",
        request_serializer=rpc.LeaseKeepAliveRequest.SerializeToString,
        response_deserializer=_answer,
    )


def _answer(message: bytes | None) -> Any:
    return rpc.LeaseKeepAliveResponse.FromString(message) if message is not None else None
