"""Users and roles of etcd's access control, for an operator's commands: what there is, and the changes.

Guarantees nothing about who else changes them at the same time. Needs etcd's `root`, or an etcd that checks nobody.
"""

from dataclasses import dataclass
from typing import Any

from aetcd import rpc
from grpc import StatusCode

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.etcd.messages import prefix_end

ROOT = "root"
"""etcd's own name for who may do everything."""


@dataclass(frozen=True, slots=True, order=True)
class Permission:
    """To read, or to write, one key or all that begin with it."""

    key: str
    prefix: bool = False
    write: bool = False


@dataclass(frozen=True, slots=True)
class _Granted:
    """A permission as etcd has it, also one that we never give."""

    key: bytes
    range_end: bytes
    kind: int


class EtcdUsers:
    """Of one etcd."""

    def __init__(self, etcd: EtcdClient) -> None:
        """etcd: root's client."""
        self._etcd = etcd

    async def users(self) -> frozenset[str]:
        """Raises EtcdError."""
        return frozenset((await self._call("UserList", rpc.AuthUserListRequest())).users)

    async def roles(self) -> frozenset[str]:
        """Raises EtcdError."""
        return frozenset((await self._call("RoleList", rpc.AuthRoleListRequest())).roles)

    async def roles_of(self, user: str) -> frozenset[str]:
        """Raises EtcdError."""
        return frozenset((await self._call("UserGet", rpc.AuthUserGetRequest(name=user))).roles)

    async def permissions_of(self, role: str) -> frozenset[_Granted]:
        """As etcd has them. Raises EtcdError."""
        answer = await self._call("RoleGet", rpc.AuthRoleGetRequest(role=role))
        return frozenset(_Granted(each.key, each.range_end, each.permType) for each in answer.perm)

    async def add_user(self, user: str, password: str | None) -> None:
        """password: None: the user is known by a certificate alone. Raises EtcdError."""
        request = rpc.AuthUserAddRequest(name=user, password=password or "")
        request.options.no_password = password is None
        await self._call("UserAdd", request)

    async def set_password(self, user: str, password: str) -> None:
        """Raises EtcdError."""
        await self._call("UserChangePassword", rpc.AuthUserChangePasswordRequest(name=user, password=password))

    async def takes(self, user: str, password: str) -> bool:
        """Whether etcd, which checks who calls, takes it. Raises EtcdError."""
        try:
            await self._call("Authenticate", rpc.AuthenticateRequest(name=user, password=password))
        except EtcdError as error:
            if error.code in (None, StatusCode.INVALID_ARGUMENT):
                return False
            raise
        return True

    async def add_role(self, role: str) -> None:
        """Raises EtcdError."""
        await self._call("RoleAdd", rpc.AuthRoleAddRequest(name=role))

    async def give(self, user: str, role: str) -> None:
        """Raises EtcdError."""
        await self._call("UserGrantRole", rpc.AuthUserGrantRoleRequest(user=user, role=role))

    async def take(self, user: str, role: str) -> None:
        """Raises EtcdError."""
        await self._call("UserRevokeRole", rpc.AuthUserRevokeRoleRequest(name=user, role=role))

    async def grant(self, role: str, granted: _Granted) -> None:
        """Raises EtcdError."""
        request = rpc.AuthRoleGrantPermissionRequest(name=role)
        request.perm.key, request.perm.range_end, request.perm.permType = granted.key, granted.range_end, granted.kind
        await self._call("RoleGrantPermission", request)

    async def revoke(self, role: str, granted: _Granted) -> None:
        """Raises EtcdError."""
        request = rpc.AuthRoleRevokePermissionRequest(role=role, key=granted.key, range_end=granted.range_end)
        await self._call("RoleRevokePermission", request)

    async def enable(self) -> None:
        """From now on etcd checks who calls, whoever calls. Raises EtcdError."""
        await self._call("AuthEnable", rpc.AuthEnableRequest())

    async def _call(self, name: str, request: Any) -> Any:
        return await self._etcd.call(lambda channel: getattr(rpc.AuthStub(channel), name), request)


def as_granted(permission: Permission) -> _Granted:
    """As etcd has it."""
    end = prefix_end(permission.key) if permission.prefix else b""
    return _Granted(permission.key.encode(), end, rpc.Permission.WRITE if permission.write else rpc.Permission.READ)
