"""What takes a credential back: a row of the auth file, its key's end, another key in its place."""

import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agentring.auth.authenticator import AuthFile
from agentring.errors import NotAuthenticated
from harness.issuer import AUTH, ISSUER, KEY, KEYS, ask, change_auth, token, write_auth


@pytest.mark.parametrize(
    "row", ['jti = "t1"', f'subject = "{ISSUER}|ann"', "issued_before = 2000", 'jti = "t1"\nissued_before = 2000']
)
def test_a_revocation_ends_what_was_valid(tmp_path: Path, row: str) -> None:
    auth = AuthFile(write_auth(tmp_path))
    sent, other = token(jti="t1", iat=1000), token(jti="t2", iat=3000, sub="bob")
    first, second = ask(auth, sent), ask(auth, other)
    change_auth(tmp_path, f"{AUTH}[[revoked]]\n{row}\n")
    auth.poll()
    assert auth.is_revoked(first)
    assert not auth.is_revoked(second)
    assert ask(auth, other) == second
    with pytest.raises(NotAuthenticated):
        ask(auth, sent)


def test_a_key_that_the_issuer_gave_up_ends_its_tokens(tmp_path: Path) -> None:
    auth, sent = AuthFile(write_auth(tmp_path)), token()
    found = ask(auth, sent)
    new = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [{**new, "kid": "k1"}]}) + " ")
    auth.poll()
    assert auth.is_revoked(found)
    with pytest.raises(NotAuthenticated):
        ask(auth, sent)


def test_another_key_with_the_same_id_is_another_credential(tmp_path: Path) -> None:
    auth = AuthFile(write_auth(tmp_path))
    found = ask(auth, KEY)
    (tmp_path / "keys.toml").write_text(KEYS.replace(KEYS.split('"')[3], "0" * 64))
    auth.poll()
    assert auth.is_revoked(found)
    assert "0" * 64 not in repr(found)


def test_a_credential_is_revoked_by_the_name_that_logs_have(tmp_path: Path) -> None:
    auth, sent = AuthFile(write_auth(tmp_path)), token()
    found = ask(auth, sent)
    change_auth(tmp_path, f'{AUTH}[[revoked]]\njti = "{found.credential_id}"\n[[revoked]]\nsubject = "one"\n')
    auth.poll()
    with pytest.raises(NotAuthenticated, match="revoked"):
        ask(auth, sent)
    with pytest.raises(NotAuthenticated, match="revoked"):
        auth.identify([], ["URI:spiffe://acme/one"])
    assert ask(auth, token(jti="2")).tenant == "acme"
