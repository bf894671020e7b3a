"""What the access log's lines say. Every text is bounded, and none is a payload or a credential: a credential's id is
not the credential."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from agentring.audit.chain import Said

MAX_TEXT = 256
"""Characters of any value; what is longer ends with an ellipsis."""


class Caller(Protocol):
    """Who calls, as the credential says; agentring.auth's Identity is one."""

    @property
    def tenant(self) -> str:
        """Whose tenant."""

    @property
    def subject(self) -> str:
        """Who; empty: nobody knows."""

    @property
    def credential_id(self) -> str:
        """Which credential, not the credential."""


@dataclass(slots=True)
class Access:
    """One call that was opened, or several equal ones that were refused."""

    at_ns: int
    """Wall time."""
    tenant: str
    subject: str
    credential: str
    method: str
    target_tenant: str
    """For which tenant, which is another one than the caller's where an operator names it."""
    target: str
    """Which session, task or node: `session/<id>`; of a halt what it is about; empty: none, or all of the tenant."""
    peer: str
    """From where, `host:port`."""
    refused: str
    """Why not: a reason of agentring.errors; empty: it was allowed."""
    count: int = 1
    until_ns: int = 0
    """When the last of several came."""

    def said(self) -> dict[str, Said]:
        """The line."""
        line: dict[str, Said] = {
            "at": instant(self.at_ns),
            "event": "access",
            "tenant": bounded(self.tenant),
            "subject": bounded(self.subject),
            "credential": bounded(self.credential),
            "method": bounded(self.method),
            "target_tenant": bounded(self.target_tenant),
            "target": bounded(self.target),
            "peer": bounded(self.peer),
            "allowed": not self.refused,
        }
        if self.refused:
            line["reason"] = bounded(self.refused)
        if self.count > 1 or self.until_ns:
            line |= {"count": self.count, "until": instant(self.until_ns)}
        return line


def bounded(text: str) -> str:
    """The text, or its beginning."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def instant(at_ns: int) -> str:
    """RFC 3339, in UTC, to the microsecond."""
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
