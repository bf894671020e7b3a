"""The lines for the calls of the three doors: a node's port, a router's, and the router's own services behind it.

Health checks are none: every process is asked for its health all the time, by itself too. What a call is about comes
from the fields that route; where it stands in the message alone, a second line says it once that is read. A call that
was let in, and whose message asks for what its caller may not have, is a second line, too.
"""

from collections.abc import Mapping

from agentring import metadata
from agentring.audit.access_log import AccessLog
from agentring.audit.entries import Caller
from agentring.ids import DEFAULT_TENANT
from agentring.rpc.request_head import RequestHead

_HEALTH = "/grpc.health."


class RecordedCalls:
    """A CallRecorder: of a node's server, or behind a router."""

    def __init__(self, log: AccessLog, *, is_relayed: bool = False) -> None:
        """is_relayed: a relay in front has written that the calls were opened, and by whom."""
        self._log = log
        self._is_relayed = is_relayed

    def opened(self, head: RequestHead, peer: str, caller: Caller | None) -> None:
        """As CallRecorder."""
        if not self._is_relayed and not head.method.startswith(_HEALTH):
            refused = head.refusal.reason if head.refusal is not None else ""
            record_call(self._log, caller, head.method, head.metadata, peer, refused)

    def named(self, head: RequestHead, peer: str, caller: Caller | None, tenant: str, target: str) -> None:
        """As CallRecorder."""
        self._log.record(caller, head.method, tenant, target, peer)

    def refused(self, head: RequestHead, peer: str, caller: Caller | None, reason: str) -> None:
        """As CallRecorder."""
        record_call(self._log, caller, head.method, head.metadata, peer, reason)


class RelayedCalls:
    """Of a router's relay."""

    def __init__(self, log: AccessLog) -> None:
        """log: the router's."""
        self._log = log

    def opened(
        self, method: str, routing: Mapping[str, str], peer: str, caller: Caller | None, refused: str = ""
    ) -> None:
        """A call has been let in, or not. routing: what of its metadata routes; caller: None: nobody was asked."""
        if not method.startswith(_HEALTH):
            record_call(self._log, caller, method, routing, peer, refused)

    def named(self, method: str, caller: Caller | None, tenant: str, target: str, peer: str) -> None:
        """As `opened`, of a call whose message says what it is about."""
        self._log.record(caller, method, tenant, target, peer)


def record_call(
    log: AccessLog, caller: Caller | None, method: str, fields: Mapping[str, str], peer: str, refused: str
) -> None:
    """fields: in which what routes stands. refused: as AccessLog.record."""
    session, key = fields.get(metadata.SESSION_ID), fields.get(metadata.TASK_KEY)
    target = ""
    if session is not None:
        target = f"session/{session}"
    elif key is not None:
        target = f"once/{key}" if "OnceService/" in method else f"task/{key}"
    own = caller.tenant if caller is not None else ""
    log.record(caller, method, fields.get(metadata.TENANT_ID) or own or DEFAULT_TENANT, target, peer, refused)
