"""Work that was accepted goes on without its caller, unless he or his credential was revoked."""

from dataclasses import replace

import pytest

from agentring.auth.accepted_work import AcceptedWork
from agentring.auth.identity import Identity, Role
from agentring.auth.revocations import Revocations
from agentring.auth.rules import Rules
from agentring.auth.tables import RevokedTable
from agentring.auth.tokens import token_name

USER = frozenset({Role.user})
ADA = Identity("acme", "ada", USER, "k1", 5.0)
RULES = Rules(
    issuers={"https://idp": ()},
    api_keys={},
    names={},
    anonymous=None,
    revocations=Revocations(()),
    fixed=frozenset({ADA, Identity("acme", "web", USER, "URI:spiffe://c/client/web", None)}),
)
TOKEN = ("acme", "https://idp|ada", token_name("https://idp", "jti-1"))


def is_revoked(rules: Rules, tenant: str, subject: str, credential_id: str) -> bool:
    return AcceptedWork(lambda: rules).is_revoked(tenant, subject, credential_id)


@pytest.mark.parametrize(
    "work",
    [("acme", "ada", "k1"), ("acme", "ada", "k0"), ("acme", "web", "URI:spiffe://c/client/web"), TOKEN, ("t", "", "")],
)
def test_what_nobody_revoked_goes_on(work: tuple[str, str, str]) -> None:
    """Also by a key that has ended, or was replaced by another one of the same subject."""
    assert not is_revoked(RULES, *work)


def test_a_keys_subject_may_look_like_a_tokens() -> None:
    key = Identity("acme", "team|ada", USER, "k3", None)
    rules = replace(RULES, fixed=frozenset({key}))
    assert not is_revoked(rules, "acme", "team|ada", "k3")
    rules = replace(rules, revocations=Revocations([RevokedTable(jti="k3")]))
    assert is_revoked(rules, "acme", "team|ada", "k3")
    assert is_revoked(replace(RULES, issuers={}), *TOKEN)


@pytest.mark.parametrize("work", [("globex", "ada", "k1"), ("acme", "eve", "k1"), ("acme", "https://other|ada", "x")])
def test_whom_no_table_names_any_more_is_revoked(work: tuple[str, str, str]) -> None:
    assert is_revoked(RULES, *work)


@pytest.mark.parametrize(
    ("row", "work", "revoked"),
    [
        (RevokedTable(jti="k1"), ("acme", "ada", "k1"), True),
        (RevokedTable(jti="k2"), ("acme", "ada", "k1"), False),
        (RevokedTable(subject="ada"), ("acme", "ada", "k1"), True),
        (RevokedTable(subject="ada", jti="k2"), ("acme", "ada", "k1"), False),
        (RevokedTable(jti="jti-1"), TOKEN, True),
        (RevokedTable(jti="jti-2"), TOKEN, False),
        (RevokedTable(subject="https://idp|ada"), TOKEN, True),
        (RevokedTable(subject="https://idp|ada", issued_before=9e9), TOKEN, False),
    ],
)
def test_a_row_revokes_the_work_that_all_its_fields_fit(
    row: RevokedTable, work: tuple[str, str, str], revoked: bool
) -> None:
    assert is_revoked(replace(RULES, revocations=Revocations([row])), *work) is revoked


def test_rules_that_are_read_again_count_at_once() -> None:
    now = [RULES]
    work = AcceptedWork(lambda: now[0])
    assert not work.is_revoked("acme", "ada", "k1")
    now[0] = replace(RULES, fixed=frozenset[Identity]())
    assert work.is_revoked("acme", "ada", "k1")
    now[0] = RULES
    assert not work.is_revoked("acme", "ada", "k1")
