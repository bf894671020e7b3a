"""Who may have a call of a process's own services: at a node, and behind a router.

Guarantees: what routers and nodes alone may set is believed only where a peer has signed it, or has the connection by
its certificate; else a call that has it is refused. Who calls a node directly is checked as a router would; the
credential is taken out before the service sees the call. Given to Server by the node's and the router's app.
"""

import time

from agentring import metadata
from agentring.auth.access import AccessControl, Caller, admit_identity
from agentring.auth.caller_fields import read_caller
from agentring.auth.identity import Identity, Role
from agentring.auth.open_calls import OpenCalls
from agentring.auth.permissions import ANONYMOUS
from agentring.auth.signatures import SignatureCheck
from agentring.certificates.names import peer_name
from agentring.errors import MetadataReserved, NotAuthenticated
from agentring.rpc.service_stream import ServiceStream

_PEER = frozenset({Role.peer})


class NodeAccess:
    """At a node, which peers call and, without a router, clients."""

    def __init__(self, control: AccessControl, signatures: SignatureCheck | None, cluster: str) -> None:
        """control: for who calls directly; signatures: of peers; None: their certificates name them; cluster: whose
        peers are believed."""
        self._control = control
        self._signatures = signatures
        self._cluster = cluster
        self._open_calls = OpenCalls(control)

    def admit(self, stream: ServiceStream) -> Caller | None:
        """As CallAccess. Raises NotAuthenticated, CredentialUnchecked, RoleMissing, TenantForeign, MetadataReserved,
        NodeFenced, NodeOverloaded."""
        head = stream.head
        method, fields = head.method, head.metadata
        if method in ANONYMOUS:
            return None
        internal = [name for name in fields if name.startswith(metadata.INTERNAL_PREFIX)]
        said_tenant = fields.get(metadata.TENANT_ID, "")
        certificate = stream.connection.peer_certificate
        peer = peer_name(self._cluster, certificate.uris) if certificate is not None else ""
        has_credential = fields.pop(metadata.AUTHORIZATION, None) is not None
        if not internal and (has_credential or not peer):
            authorization = [field.value for field in head.shared.fields if field.name == metadata.AUTHORIZATION]
            names = certificate.names if certificate is not None else ()
            caller = self._control.admit(method, authorization, names, said_tenant, stream.connection.peer)
            if caller is not None:
                self._open_calls.add(caller.identity, stream, time.time())
            return caller
        said = {name: fields[name] for name in internal}
        if not peer:
            if self._signatures is None or metadata.SIGNATURE not in fields:
                raise MetadataReserved(internal[0])
            routing = {name: fields[name] for name in metadata.ROUTING if name in fields}
            peer = self._signatures.peer_of(method, said | routing)
        if (identity := read_caller(said)) is not None:
            return admit_identity(identity, method, said_tenant)
        return admit_identity(Identity("", peer, _PEER, "", None), method, "")

    def ended(self, stream: ServiceStream) -> None:
        """As CallAccess."""
        if stream.caller is not None and stream.caller.is_checked_here:
            self._open_calls.discard(stream.caller.identity, stream)

    def tick(self) -> None:
        """As CallAccess."""
        self._open_calls.tick(time.time())


class RelayedAccess:
    """Behind a router, whose relay alone can reach the socket (own_socket.py) and has checked each call."""

    def admit(self, stream: ServiceStream) -> Caller | None:
        """As CallAccess. Raises NotAuthenticated, RoleMissing."""
        head = stream.head
        if (identity := read_caller(head.metadata)) is not None:
            return admit_identity(identity, head.method, head.metadata.get(metadata.TENANT_ID, ""))
        if head.method in ANONYMOUS:
            return None
        raise NotAuthenticated("the relay has not said who calls")

    def ended(self, stream: ServiceStream) -> None:
        """As CallAccess."""

    def tick(self) -> None:
        """As CallAccess: the relay ends what has to end."""
