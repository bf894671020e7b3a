"""Who calls, by an auth file: what is believed, what is not, and what a changed file changes."""

import json
import os
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from agentring.auth import authenticator
from agentring.auth.authenticator import AuthFile
from agentring.auth.identity import Identity, Role
from agentring.auth.rules import AuthFileUnusable, load_rules
from agentring.errors import CredentialUnchecked, NotAuthenticated

ISSUER = "https://issuer.test"
PRIVATE = ec.generate_private_key(ec.SECP256R1())
PUBLIC = {**jwt.algorithms.ECAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True), "kid": "k1"}
KEY = "ar_k1_" + "ab" * 32
AUTH = f"""
[[jwt]]
issuer = "{ISSUER}"
audience = "ring"
jwks_file = "jwks.json"
algorithms = ["ES256"]
tenant_claim = "tenant"
roles_claim = "roles"
tenants = ["acme"]
[[api_keys]]
file = "keys.toml"
[[mtls]]
san = "spiffe://acme/one"
tenant = "acme"
subject = "one"
roles = ["admin"]
"""
KEYS = f"""
[[keys]]
id = "k1"
sha256 = "{sha256(KEY.encode()).hexdigest()}"
tenant = "acme"
subject = "robot"
roles = ["user"]
"""


def write(path: Path, auth: str = AUTH) -> Path:
    (path / "jwks.json").write_text(json.dumps({"keys": [PUBLIC]}))
    (path / "keys.toml").write_text(KEYS)
    (path / "auth.toml").write_text(auth)
    return path / "auth.toml"


def token(headers: dict[str, Any] | None = None, key: Any = PRIVATE, algorithm: str = "ES256", **claims: Any) -> str:
    said = {"iss": ISSUER, "aud": "ring", "exp": int(time.time()) + 600, "sub": "ann", "tenant": "acme", **claims}
    left = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(left, key, algorithm, headers={"kid": "k1", **(headers or {})})


def signed(more: dict[str, Any]) -> str:
    """A token with header fields that the library would not write."""
    header = {"alg": "ES256", "kid": "k1", **more}
    said = urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=") + b"." + token().split(".")[1].encode()
    signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(said, PRIVATE)
    return (said + b"." + urlsafe_b64encode(signature).rstrip(b"=")).decode()


def ask(auth: AuthFile, credential: str) -> Identity:
    return auth.identify([f"Bearer {credential}"], [])


def test_a_token_gives_its_tenant_its_subject_and_the_roles_that_its_issuer_may_give(tmp_path: Path) -> None:
    found = ask(AuthFile(write(tmp_path)), token(roles=["user", "operator", "peer", "else"]))
    assert (found.tenant, found.subject, found.roles) == ("acme", f"{ISSUER}|ann", frozenset({Role.user}))
    assert found.expires_at is not None
    assert found.expires_at > time.time() + 600


REFUSED: dict[str, Callable[[], str]] = {
    "none": lambda: token(key=None, algorithm="none"),
    "key confusion": lambda: token(key=PUBLIC["x"] + PUBLIC["y"], algorithm="HS256"),
    "another key": lambda: token(key=ec.generate_private_key(ec.SECP256R1())),
    "kid is a path": lambda: token({"kid": "../../dev/null"}),
    "jku": lambda: token({"jku": "https://evil.test/jwks"}),
    "x5u": lambda: token({"x5u": "https://evil.test/cert"}),
    "jwk": lambda: token({"jwk": PUBLIC}),
    "crit": lambda: token({"crit": ["exp"]}),
    "b64": lambda: signed({"b64": True}),
    "nested": lambda: token({"cty": "JWT"}),
    "type": lambda: token({"typ": "dpop+jwt"}),
    "huge": lambda: token(much="x" * 20_000),
    "expired": lambda: token(exp=int(time.time()) - 60),
    "without end": lambda: token(exp=None),
    "endless": lambda: token(exp=float("inf")),
    "too early": lambda: token(nbf=int(time.time()) + 60),
    "another audience": lambda: token(aud="other"),
    "without audience": lambda: token(aud=None),
    "another issuer": lambda: token(iss="https://evil.test"),
    "foreign tenant": lambda: token(tenant="beta"),
    "no tenant": lambda: token(tenant=""),
    "tenants": lambda: token(tenant=["acme"]),
    "no subject": lambda: token(sub=None),
    "two lines": lambda: token(sub="a\nb"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_known_attack_is_believed(tmp_path: Path, name: str) -> None:
    auth, sent = AuthFile(write(tmp_path)), REFUSED[name]()
    with pytest.raises(NotAuthenticated) as caught:
        ask(auth, sent)
    assert sent[:20] not in str(caught.value)
    assert ask(auth, token()).tenant == "acme"
    assert ask(auth, signed({})).tenant == "acme"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.characters(codec="utf-8"), st.booleans())
def test_no_mutated_token_is_believed(
    tmp_path_factory: pytest.TempPathFactory, at: int, other: str, is_put_in: bool
) -> None:
    good = token()
    position = at % len(good)
    changed = good[:position] + other + good[position + (not is_put_in) :]
    auth = AuthFile(write(tmp_path_factory.mktemp("auth")))
    if changed != good:
        with pytest.raises(NotAuthenticated):
            ask(auth, changed)


@pytest.mark.parametrize(
    "fields",
    [
        ["Bearer x", "Bearer y"],
        [f"Bearer {KEY}", f"Bearer {KEY}"],
        [""],
        ["Basic YTpi"],
        [f"Bearer {KEY} "],
        [f"Bearer {KEY[:-1]}c"],
        ["Bearer ar_k2_" + "ab" * 32],
    ],
)
def test_a_field_that_is_bad_or_doubled_is_refused_whatever_the_certificate_says(
    tmp_path: Path, fields: list[str]
) -> None:
    auth = AuthFile(write(tmp_path, AUTH + '[anonymous]\ntenant = "acme"\nroles = ["viewer"]\n'))
    with pytest.raises(NotAuthenticated):
        auth.identify(fields, ["URI:spiffe://acme/one"])
    assert auth.identify([], ["URI:spiffe://acme/one"]).subject == "one"
    assert auth.identify([f"bearer {KEY}"], []).subject == "robot"
    assert auth.identify([], ["URI:spiffe://acme/one/", "DNS:spiffe://acme/one"]).roles == frozenset({Role.viewer})


def test_without_its_table_nobody_is_anonymous(tmp_path: Path) -> None:
    with pytest.raises(NotAuthenticated):
        AuthFile(write(tmp_path)).identify([], [])


@pytest.mark.parametrize(
    "row", ['jti = "t1"', f'subject = "{ISSUER}|ann"', "issued_before = 2000", 'jti = "t1"\nissued_before = 2000']
)
def test_a_revocation_ends_what_was_valid(tmp_path: Path, row: str) -> None:
    auth = AuthFile(write(tmp_path))
    sent, other = token(jti="t1", iat=1000), token(jti="t2", iat=3000, sub="bob")
    first, second = ask(auth, sent), ask(auth, other)
    _change(tmp_path, f"{AUTH}[[revoked]]\n{row}\n")
    auth.poll()
    assert auth.is_revoked(first)
    assert not auth.is_revoked(second)
    assert ask(auth, other) == second
    with pytest.raises(NotAuthenticated):
        ask(auth, sent)


def test_a_key_that_the_issuer_gave_up_ends_its_tokens(tmp_path: Path) -> None:
    auth, sent = AuthFile(write(tmp_path)), token()
    found = ask(auth, sent)
    new = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [{**new, "kid": "k1"}]}) + " ")
    auth.poll()
    assert auth.is_revoked(found)
    with pytest.raises(NotAuthenticated):
        ask(auth, sent)


def test_a_bad_new_file_keeps_the_old_one(tmp_path: Path) -> None:
    auth = AuthFile(write(tmp_path))
    _change(tmp_path, AUTH + "[[revoked]]\n")
    auth.poll()
    assert ask(auth, KEY).subject == "robot"
    (tmp_path / "keys.toml").write_text("")
    _change(tmp_path, AUTH + "# whole again\n")
    auth.poll()
    with pytest.raises(NotAuthenticated):
        ask(auth, KEY)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("ES256", "HS256", "jwt.0.algorithms"),
        ("ES256", "none", "jwt.0.algorithms"),
        ('audience = "ring"', "", "jwt.0.audience"),
        ('roles = ["admin"]', 'roles = ["root"]', "mtls.0.roles"),
        ('subject = "one"', 'subject = "one"\nmore = 1', "mtls.0.more"),
        ("jwks.json", "none.json", "none.json"),
    ],
)
def test_a_mistake_is_named_with_file_table_and_field(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(AuthFileUnusable, match=said) as caught:
        load_rules(write(tmp_path, AUTH.replace(old, new)))
    assert str(tmp_path) in str(caught.value)


def test_a_set_with_a_secret_in_it_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}]}))
    with pytest.raises(AuthFileUnusable, match=r"keys\.0") as caught:
        load_rules(path)
    assert "c2VjcmV0" not in str(caught.value)


def test_unknown_tokens_take_a_part_of_the_time_alone(tmp_path: Path) -> None:
    clock = [0.0]

    def cost_s() -> float:
        clock[0] += 0.01
        return clock[0]

    auth, good = AuthFile(write(tmp_path), cost_s=cost_s), token()
    ask(auth, good)
    for _ in range(20):
        with pytest.raises((NotAuthenticated, CredentialUnchecked)):
            ask(auth, "a.b.c")
    with pytest.raises(CredentialUnchecked):
        ask(auth, "a.b.d")
    assert ask(auth, good).tenant == "acme"
    clock[0] += 1.0
    assert ask(auth, token(sub="bob")).subject.endswith("bob")


def test_what_is_remembered_is_bounded_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticator, "MAX_REMEMBERED", 2)
    now = [time.time()]
    auth = AuthFile(write(tmp_path), lambda: now[0], lambda: 0.0)
    sent = [token(sub=str(number)) for number in range(3)]
    found = [ask(auth, each) for each in sent]
    assert ask(auth, sent[2]) is found[2]
    assert ask(auth, sent[0]) is not found[0]
    now[0] += 10_000
    with pytest.raises(NotAuthenticated):
        ask(auth, sent[2])


def _change(path: Path, auth: str) -> None:
    (path / "auth.toml").write_text(auth)
    os.utime(path / "auth.toml", ns=(1, 1))


def test_a_token_is_believed_as_one_text_alone(tmp_path: Path) -> None:
    """The last character of a signature has bits that say nothing; they must be what the issuer wrote."""
    auth, good = AuthFile(write(tmp_path), cost_s=lambda: 0.0), token()
    for other in set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") - {good[-1]}:
        with pytest.raises(NotAuthenticated):
            ask(auth, good[:-1] + other)
