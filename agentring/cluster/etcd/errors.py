"""Why a call to etcd failed, in a form to decide by. None of it leaves the process: callers turn it into their own."""

import grpc
from grpc import StatusCode

from agentring.cluster.etcd.login import is_token_refused


class EtcdError(Exception):
    """A call failed."""

    def __init__(self, *, outcome_unknown: bool = False, code: StatusCode | None = None) -> None:
        """outcome_unknown: a write may have taken effect all the same."""
        super().__init__(f"etcd: {code.name if code else type(self).__name__}, outcome_unknown={outcome_unknown}")
        self.outcome_unknown = outcome_unknown
        self.code = code

    @property
    def refused(self) -> bool:
        """etcd found fault with the request itself."""
        return self.code is StatusCode.INVALID_ARGUMENT


class EtcdUnavailable(EtcdError):
    """No answer in time, or no connection, or no leader."""


class EtcdNoSpace(EtcdError):
    """etcd's quota is exhausted: it refuses every transaction until an operator acts."""


class EtcdLeaseNotFound(EtcdError):
    """The lease is gone."""


class EtcdPermissionDenied(EtcdError):
    """etcd's access control does not let this process do that."""

    def __init__(self) -> None:
        super().__init__(code=StatusCode.PERMISSION_DENIED)
        self.args = (
            "etcd does not let this process's user do that: run `agentring admin init` for the cluster and this "
            "process's user (docs/security.md)",
        )


class EtcdTokenRefused(EtcdError):
    """etcd does not take the token that went with the call, or there was none and it wants one."""

    def __init__(self) -> None:
        super().__init__()
        self.args = ("etcd wants to know who calls: give --etcd-user and --etcd-password-file, or --etcd-cert",)


class EtcdLoginFailed(EtcdError):
    """etcd does not know the user, or the password is another one, or there is none."""

    def __init__(
        self, what: str = "it does not take the user's name or password (--etcd-user, --etcd-password-file)"
    ) -> None:
        """what: the trouble, in one sentence."""
        super().__init__()
        self.args = (f"etcd: {what}",)


class EtcdCompacted(EtcdError):
    """The revision to watch from is no longer kept."""


class EtcdSilent(EtcdError):
    """A watch said nothing for too long, not even when it was asked to."""


class EtcdHistoryBroken(EtcdError):
    """etcd's data went back in time, are another cluster's or cannot be read: nothing that it says counts until an
    operator has begun a new generation."""

    def __init__(self, what: str = "its data are not those that this process knew") -> None:
        """what: the trouble, in one sentence."""
        super().__init__()
        self.args = (f"etcd: {what}; see `agentring admin new-generation`",)


def from_rpc_error(error: Exception) -> EtcdError:
    """The typed error of a failed call; etcd tells some of them apart only by the text of the status."""
    if not isinstance(error, grpc.RpcError):
        return EtcdUnavailable(outcome_unknown=True)
    code = error.code()
    details = error.details() or ""
    if code in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED):
        return EtcdUnavailable(outcome_unknown=True, code=code)
    if code is StatusCode.PERMISSION_DENIED:
        return EtcdPermissionDenied()
    if is_token_refused(code, details):
        return EtcdTokenRefused()
    if code is StatusCode.INVALID_ARGUMENT and "authentication failed" in details:
        return EtcdLoginFailed()
    if code is StatusCode.NOT_FOUND and "lease" in details:
        return EtcdLeaseNotFound(code=code)
    if code is StatusCode.RESOURCE_EXHAUSTED and "space" in details:
        return EtcdNoSpace(code=code)
    if code is StatusCode.OUT_OF_RANGE and "compacted" in details:
        return EtcdCompacted(code=code)
    return EtcdError(outcome_unknown=code in (StatusCode.UNKNOWN, StatusCode.INTERNAL), code=code)
