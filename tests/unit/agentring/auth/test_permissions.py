"""The table of methods and roles: it names every method that there is; the protos and docs/security.md say the same."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2

import agentring.v1
from agentring.auth.identity import Identity, Role
from agentring.auth.permissions import ANONYMOUS, NODES_ONLY, PERMISSIONS, allowed_roles, check_permission
from agentring.errors import RoleMissing
from agentring.rpc import reflection

ROOT = Path(__file__).parents[4]
PROTOS = ROOT / "protos" / "agentring" / "v1"
ORDER = [role.value for role in Role]


def services() -> Iterator[ServiceDescriptor]:
    """Every service of a router and of a node."""
    for proto in sorted(PROTOS.glob("*.proto")):
        module = __import__(f"{agentring.v1.__name__}.{proto.stem}_pb2", fromlist=["DESCRIPTOR"])
        yield from module.DESCRIPTOR.services_by_name.values()
    yield from reflection.SERVICES
    yield health_pb2.DESCRIPTOR.services_by_name["Health"]  # type: ignore[misc]


METHODS = [f"/{service.full_name}/{method.name}" for service in services() for method in service.methods]


def identity(*roles: Role, tenant: str = "acme", subject: str = "ada") -> Identity:
    return Identity(tenant, subject, frozenset(roles), "key-1", None)


def test_every_method_has_a_row_and_every_row_a_method() -> None:
    assert set(METHODS) == set(PERMISSIONS)
    assert len(METHODS) == len(set(METHODS)) > 30


@pytest.mark.parametrize("method", METHODS)
def test_each_role_may_call_what_its_row_says_and_nothing_else(method: str) -> None:
    for role in Role:
        caller = identity(role, subject="node/n1" if role is Role.peer else "ada")
        if role in PERMISSIONS[method]:
            check_permission(caller, method, is_own_tenant=True)
        else:
            with pytest.raises(RoleMissing) as refused:
                check_permission(caller, method, is_own_tenant=True)
            assert refused.value.roles == ", ".join(sorted(PERMISSIONS[method]))


@pytest.mark.parametrize("method", METHODS)
def test_in_another_tenant_a_caller_is_an_operator_or_nothing(method: str) -> None:
    everything = identity(Role.user, Role.viewer, Role.admin, Role.operator)
    if Role.operator in PERMISSIONS[method]:
        check_permission(everything, method, is_own_tenant=False)
    else:
        with pytest.raises(RoleMissing):
            check_permission(everything, method, is_own_tenant=False)
    if Role.peer not in PERMISSIONS[method] or method in NODES_ONLY:
        with pytest.raises(RoleMissing):
            check_permission(identity(), method, is_own_tenant=True)


@pytest.mark.parametrize("method", sorted(NODES_ONLY))
def test_no_router_may_call_what_is_for_nodes(method: str) -> None:
    check_permission(identity(Role.peer, subject="node/n1"), method, is_own_tenant=True)
    with pytest.raises(RoleMissing):
        check_permission(identity(Role.peer, subject="router/1"), method, is_own_tenant=True)


def test_a_method_of_ours_without_a_row_is_nobodys_and_a_hosted_one_users() -> None:
    for method in ("/agentring.v1.SessionService/Forget", "/grpc.channelz.v1.Channelz/GetServers", "/agentring.v2.A/B"):
        assert allowed_roles(method) == frozenset()
    assert allowed_roles("/shop.v1.Carts/Add") == {Role.user}


def test_health_alone_asks_nobody() -> None:
    assert {method.rpartition("/")[0] for method in ANONYMOUS} == {"/grpc.health.v1.Health"}


def _said(method: str) -> str:
    listed = ", ".join(role for role in ORDER if role in PERMISSIONS[method])
    return f"{listed} (nodes alone)" if method in NODES_ONLY else listed


def test_the_protos_say_the_roles_of_each_method() -> None:
    said = {}
    for proto in PROTOS.glob("*.proto"):
        for service, body in re.findall(r"^service (\w+) \{(.*?)^\}", proto.read_text(), re.DOTALL | re.MULTILINE):
            for roles, method in re.findall(r"// Roles: ([^.]*)\.\n  rpc (\w+)\(", body):
                said[f"/agentring.v1.{service}/{method}"] = roles
    assert said == {method: _said(method) for method in METHODS if method.startswith("/agentring.")}


def test_the_docs_have_the_table() -> None:
    rows = re.findall(r"^\| `(\w+\.[\w.]+)` \| ([^|]*) \|$", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE)
    table = {f"/{name.rpartition('.')[0]}/{name.rpartition('.')[2]}": roles for name, roles in rows}
    assert table == {method: "everybody" if method in ANONYMOUS else _said(method) for method in METHODS}
