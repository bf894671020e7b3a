"""Who may have a call: the tenant is the credential's, whatever the call says."""

from dataclasses import replace

import pytest

from agentring.auth.access import AccessControl
from agentring.auth.identity import Identity
from agentring.errors import NotAuthenticated, RoleMissing, TenantForeign
from harness.credentials import ADA, OPERATOR, SpokenWords

GET = "/agentring.v1.SessionService/GetSession"
RUN = "/agentring.v1.SessionService/RunTurn"


def who(control: AccessControl, said: list[str], names: tuple[str, ...], tenant: str) -> tuple[Identity, str]:
    caller = control.admit(GET, said, names, tenant, "127.0.0.1:1")
    assert caller is not None
    return caller.identity, caller.tenant


@pytest.fixture
def control() -> AccessControl:
    return AccessControl(SpokenWords())


def test_the_tenant_is_the_credentials(control: AccessControl) -> None:
    assert who(control, ["Bearer ada"], (), "") == (ADA, "acme")
    assert who(control, ["Bearer ada"], (), "acme") == (ADA, "acme")
    for other in ("globex", "nobody", "ACME", "acme,acme", "default"):
        with pytest.raises(TenantForeign):
            control.admit(GET, ["Bearer ada"], (), other, "127.0.0.1:1")


def test_an_operator_names_any_tenant_and_is_no_user_there(control: AccessControl) -> None:
    assert who(control, ["Bearer olga"], (), "acme") == (OPERATOR, "acme")
    with pytest.raises(RoleMissing):
        control.admit(RUN, ["Bearer olga"], (), "acme", "127.0.0.1:1")


@pytest.mark.parametrize("authorization", [[], [""], ["Bearer mallory"], ["Bearer ada", "Bearer ada"], ["ada"]])
def test_nobody_is_asked_for_health_alone(control: AccessControl, authorization: list[str]) -> None:
    assert control.admit("/grpc.health.v1.Health/Check", authorization, (), "", "127.0.0.1:1") is None
    for method in (GET, "/agentring.v1.NodeService/Drain", "/no.Such/Method", "/grpc.reflection.v1.ServerReflection/A"):
        with pytest.raises(NotAuthenticated):
            control.admit(method, authorization, (), "", "127.0.0.1:1")


def test_what_was_valid_ends_with_time_and_by_revocation() -> None:
    words, now_s = SpokenWords(), 1_000.0
    control = AccessControl(words, lambda: now_s)
    short = replace(ADA, expires_at=1_100.0)
    control.check_still_valid(short)
    now_s = 1_100.0
    with pytest.raises(NotAuthenticated):
        control.check_still_valid(short)
    control.check_still_valid(ADA)
    words.revoke("ada")
    with pytest.raises(NotAuthenticated):
        control.check_still_valid(ADA)
