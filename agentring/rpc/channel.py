"""Makes every channel of ours, of nodes, routers, the client and the commands, to one another and to etcd.

Guarantees: no proxy that the environment names for web pages (http_proxy, https_proxy, grpc_proxy) comes between our
processes, and no channel shares another one's connection. Nobody else makes a channel: ruff refuses it (TID251).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import grpc
from grpc import aio

from agentring.certificates.names import Holder, host_name_of, uri_of
from agentring.rpc.limits import CHANNEL_OPTIONS

Options = Sequence[tuple[str, int]]

_ALWAYS = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))


def open_channel(
    address: str, credentials: grpc.ChannelCredentials | None = None, options: Options = CHANNEL_OPTIONS
) -> aio.Channel:
    """A channel of the running event loop, which connects with its first call. credentials: None: plaintext."""
    if credentials is None:
        return aio.insecure_channel(address, options=(*options, *_ALWAYS))
    return aio.secure_channel(address, credentials, options=(*options, *_ALWAYS))


class Reached(Protocol):
    """A node as a record or a redirect names it."""

    @property
    def node_id(self) -> str:
        """Its name."""

    @property
    def address(self) -> str:
        """Where it is."""


class NodeAt(NamedTuple):
    """One that a redirect names."""

    node_id: str
    address: str


@dataclass(frozen=True, slots=True)
class PeerCredentials:
    """By which the processes of a cluster call its nodes."""

    tls: grpc.ChannelCredentials
    cluster: str


def open_node_channel(node: Reached, credentials: PeerCredentials | None) -> aio.Channel:
    """A channel to this node and to no other one that answers at its address: what answers must have the node's
    certificate, wherever it is. credentials: None: plaintext."""
    if credentials is None:
        return open_channel(node.address)
    name = host_name_of(uri_of(credentials.cluster, Holder.node, node.node_id))
    options = (*CHANNEL_OPTIONS, *_ALWAYS, ("grpc.ssl_target_name_override", name))
    return aio.secure_channel(node.address, credentials.tls, options=options)


def open_blocking_channel(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    """A channel for a program without an event loop. credentials: None: plaintext."""
    if credentials is not None:
        return grpc.secure_channel(address, credentials, options=(*CHANNEL_OPTIONS, *_ALWAYS))
    return grpc.insecure_channel(address, options=(*CHANNEL_OPTIONS, *_ALWAYS))
