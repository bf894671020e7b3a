"""A token is what its issuer signs for here and now, or nothing."""

import string
import time
from pathlib import Path
from typing import Any

import pytest

from agentring.auth.authenticator import AuthFile
from agentring.auth.identity import Role
from agentring.errors import NotAuthenticated
from harness.issuer import ISSUER, ask, claims, signed, token, write_auth
from harness.token_attacks import ATTACKS, mutated

MOST_S = 0.01
_ALPHABET = set(string.ascii_letters + string.digits + "-_")


@pytest.fixture
def auth(tmp_path: Path) -> AuthFile:
    return AuthFile(write_auth(tmp_path), cost_s=lambda: 0.0)


def refused_within(auth: AuthFile, sent: str) -> float:
    """How much CPU its refusal took, in seconds."""
    began_s = time.thread_time()
    with pytest.raises(NotAuthenticated) as caught:
        ask(auth, sent)
    took_s = time.thread_time() - began_s
    assert len(sent) < 20 or sent[:20] not in str(caught.value)
    return took_s


def test_no_known_attack_is_believed_or_takes_long(auth: AuthFile) -> None:
    took = {name: refused_within(auth, make()) for name, make in ATTACKS.items()}
    assert {name: took_s for name, took_s in took.items() if took_s > MOST_S} == {}
    assert len(took) > 100
    assert ask(auth, token()).tenant == "acme"
    assert ask(auth, signed({})).tenant == "acme", "what the attacks change is good by itself"
    assert ask(auth, signed({}, claims(aud=["other", "ring"], exp=time.time() + 60.5))).tenant == "acme"
    assert ask(auth, signed({"typ": "at+JWT"})).tenant == "acme"


def test_no_mutated_token_is_believed_or_takes_long(auth: AuthFile) -> None:
    assert max(refused_within(auth, each) for each in mutated(300, seed=1)) <= MOST_S


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"exp": 1}, "has expired"),
        ({"aud": "x"}, "another audience"),
        ({"nbf": 4_000_000_000}, "not valid yet"),
        ({"exp": None}, "no exp"),
        ({"tenant": "beta"}, "may name"),
        ({"iss": "x"}, "issuer is not known"),
    ],
)
def test_why_is_said(auth: AuthFile, more: dict[str, Any], why: str) -> None:
    with pytest.raises(NotAuthenticated) as caught:
        ask(auth, token(**more))
    assert why in caught.value.why


def test_a_token_gives_its_tenant_its_subject_and_the_roles_that_its_issuer_may_give(tmp_path: Path) -> None:
    found = ask(AuthFile(write_auth(tmp_path)), token(roles=["user", "operator", "peer", "else"]))
    assert (found.tenant, found.subject, found.roles) == ("acme", f"{ISSUER}|ann", frozenset({Role.user}))
    assert found.expires_at is not None
    assert found.expires_at > time.time() + 600


def test_a_token_is_believed_as_one_text_alone(tmp_path: Path) -> None:
    """The last character of a signature has bits that say nothing; they must be what the issuer wrote."""
    auth, good = AuthFile(write_auth(tmp_path), cost_s=lambda: 0.0), token()
    for other in _ALPHABET - {good[-1]}:
        with pytest.raises(NotAuthenticated):
            ask(auth, good[:-1] + other)
