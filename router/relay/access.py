"""Who may have which call, as the relay asks it; and how a node is told who calls.

Guarantees: a node is sent a call only with the identity of a caller whose credential is valid at that moment, also
where it is asked after another one, and never with the credential; it is sent the proof that a router says so, by its
signature or its certificate. Made by the app, used by calls.
"""

from __future__ import annotations

import time

from agentring.address import is_loopback
from agentring.auth.access import AccessControl, Caller
from agentring.auth.caller_fields import Pairs, caller_pairs
from agentring.auth.open_calls import OpenCall, OpenCalls
from agentring.auth.permissions import ANONYMOUS
from agentring.auth.signatures import Signer
from agentring.errors import NodeUnreachable, NotAuthenticated, SessionMoving
from agentring.http2.stream import StreamConnection
from router.relay.request import Request
from router.routing.owner import Target

_UNIX = "unix:"


class RelayAccess:
    """Of one router."""

    def __init__(self, control: AccessControl, signer: Signer | None, *, uses_tls: bool) -> None:
        """signer: proves to nodes on loopback who says who calls; uses_tls: nodes know the router by its certificate,
        too."""
        self._uses_tls = uses_tls
        self._control = control
        self._signer = signer
        self._open_calls = OpenCalls(control)

    def admit(self, request: Request, connection: StreamConnection, call: OpenCall) -> Caller | None:
        """Who has the call, which the request then says; None: nobody is asked for it. connection: the client's.
        Raises NotAuthenticated, CredentialUnchecked, RoleMissing, TenantForeign."""
        shared = request.shared
        said_tenant = request.said_tenant
        certificate = connection.peer_certificate
        names = certificate.names if certificate is not None else ()
        caller = self._control.admit(shared.method, shared.authorization, names, said_tenant, connection.peer)
        if caller is not None:
            request.admitted(caller)
            self._open_calls.add(caller.identity, call, time.time())
        return caller

    def ended(self, caller: Caller, call: OpenCall) -> None:
        """The call is over."""
        self._open_calls.discard(caller.identity, call)

    def fields(self, caller: Caller | None, method: str, routing: Pairs, target: Target, incarnation: int) -> Pairs:
        """All that the target is sent of a call beside what the client may say. routing: what it would be sent in any
        case; incarnation: of the target, as the membership has it; 0: it has none. Raises NotAuthenticated where the
        credential is not valid any more, or there is none, SessionMoving where the target is not known, or not yet, and
        NodeUnreachable where it could not be shown who says so."""
        if caller is None:
            if method not in ANONYMOUS:
                raise NotAuthenticated("nobody was asked who calls")
            return routing
        self._control.check_still_valid(caller.identity)
        said = (*routing, *caller_pairs(caller.identity))
        if target.address.startswith(_UNIX):
            return said
        if self._uses_tls:
            return said  # to a connection whose other end has the node's certificate (node_pool.py)
        if not incarnation:
            raise SessionMoving
        if self._signer is None or not is_loopback(target.address):
            raise NodeUnreachable
        return (*said, *self._signer.pairs(method, said, incarnation))

    def tick(self) -> None:
        """Once a second."""
        self._open_calls.tick(time.time())
