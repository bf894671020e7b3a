"""Who calls, by an auth file: what a credential gives, what is remembered, and what a changed file changes."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agentring.auth import authenticator
from agentring.auth.auth_metrics import auth_metrics
from agentring.auth.authenticator import AuthFile
from agentring.auth.identity import Role
from agentring.auth.jwks import KeySet, read_jwks
from agentring.auth.rules import load_rules
from agentring.errors import CredentialUnchecked, NotAuthenticated
from harness.issuer import AUTH, KEY, KEYS, PUBLIC, URL_AUTH, ask, change_auth, token, write_auth


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
    auth = AuthFile(write_auth(tmp_path, AUTH + '[anonymous]\ntenant = "acme"\nroles = ["viewer"]\n'))
    with pytest.raises(NotAuthenticated):
        auth.identify(fields, ["URI:spiffe://acme/one"])
    assert auth.identify([], ["URI:spiffe://acme/one"]).subject == "one"
    assert auth.identify([f"bearer {KEY}"], []).subject == "robot"
    assert auth.identify([], ["URI:spiffe://acme/one/", "DNS:spiffe://acme/one"]).roles == frozenset({Role.viewer})


def test_without_its_table_nobody_is_anonymous(tmp_path: Path) -> None:
    auth = AuthFile(write_auth(tmp_path))
    with pytest.raises(NotAuthenticated, match="the metadata `authorization: Bearer` is missing"):
        auth.identify([], [])
    with pytest.raises(NotAuthenticated, match="names the certificate"):
        auth.identify([], ["URI:spiffe://acme/nobody"])


def test_unknown_tokens_take_a_part_of_the_time_alone(tmp_path: Path) -> None:
    clock = [0.0]

    def cost_s() -> float:
        clock[0] += 0.01
        return clock[0]

    auth, good = AuthFile(write_auth(tmp_path), cost_s=cost_s), token()
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
    auth = AuthFile(write_auth(tmp_path), lambda: now[0], lambda: 0.0)
    sent = [token(sub=str(number)) for number in range(3)]
    found = [ask(auth, each) for each in sent]
    assert ask(auth, sent[2]) is found[2]
    assert ask(auth, sent[0]) is not found[0]
    now[0] += 10_000
    with pytest.raises(NotAuthenticated):
        ask(auth, sent[2])


async def test_fetched_keys_count_until_the_issuer_takes_them_back(tmp_path: Path) -> None:
    served, clock = [KeySet({}, {})], [0.0]

    async def fetch(url: str) -> KeySet:
        return served[0]

    auth = AuthFile(write_auth(tmp_path, URL_AUTH), clock_s=lambda: clock[0], fetch=fetch, cost_s=lambda: 0.0)
    sent, url = token(), "https://issuer.test/keys"
    with pytest.raises(CredentialUnchecked):
        ask(auth, sent)
    served[0] = read_jwks({"keys": [PUBLIC]})
    assert list(auth.fetched.due()) == [url]
    await auth.fetch(url)
    found, changes = ask(auth, sent), auth.changes
    with pytest.raises(NotAuthenticated):
        ask(auth, token({"kid": "k2"}))
    clock[0] += 60
    with pytest.raises(CredentialUnchecked):
        ask(auth, token({"kid": "k2"}))
    other = ec.generate_private_key(ec.SECP256R1())
    new = {**jwt.algorithms.ECAlgorithm.to_jwk(other.public_key(), as_dict=True), "kid": "k2"}
    served[0] = read_jwks({"keys": [new, PUBLIC]})
    await auth.fetch(*auth.fetched.due())
    assert ask(auth, token({"kid": "k2"}, other)).tenant == "acme"
    assert ask(auth, sent) is found
    assert not auth.is_revoked(found)
    served[0] = read_jwks({"keys": [new]})
    clock[0] += 600
    await auth.fetch(*auth.fetched.due())
    assert auth.changes == changes + 2
    assert auth.is_revoked(found)
    with pytest.raises(NotAuthenticated):
        ask(auth, sent)


async def test_files_are_read_again_in_a_thread_and_keys_fetched_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authenticator, "_EVERY_S", 0.0)
    threads, asked, loaded = set(), [], asyncio.Event()

    async def never(url: str) -> KeySet:
        asked.append(url)
        return await asyncio.Future()

    def load(path: Path) -> Any:
        threads.add(threading.current_thread())
        return load_rules(path)

    auth = AuthFile(write_auth(tmp_path, URL_AUTH), fetch=never)
    monkeypatch.setattr(authenticator, "load_rules", load)
    monkeypatch.setattr(authenticator._log, "info", lambda *_, **__: loaded.set())
    running = asyncio.create_task(auth.run())
    assert ask(auth, KEY).subject == "robot"
    change_auth(tmp_path, URL_AUTH + '[[revoked]]\njti = "k1"\n')
    async with asyncio.timeout(10):
        await loaded.wait()
    with pytest.raises(NotAuthenticated, match="revoked"):
        ask(auth, KEY)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asked == ["https://issuer.test/keys"]
    assert threads
    assert threading.main_thread() not in threads


def test_a_file_that_was_missing_is_seen_when_it_comes(tmp_path: Path) -> None:
    auth = AuthFile(write_auth(tmp_path))
    change_auth(tmp_path, AUTH.replace("keys.toml", "more.toml"))
    auth.poll()
    assert "more.toml" in auth.why_unusable
    assert ask(auth, KEY).subject == "robot"
    (tmp_path / "more.toml").write_text(KEYS.replace("robot", "automaton"))
    auth.poll()
    assert auth.why_unusable == ""
    assert ask(auth, KEY).subject == "automaton"


def test_a_change_forgets_no_token_that_is_still_valid_and_keeps_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authenticator, "MAX_REMEMBERED", 3)
    auth = AuthFile(write_auth(tmp_path), cost_s=lambda: 0.0)
    sent = [token(sub=str(number)) for number in range(3)]
    found = [ask(auth, each) for each in sent]
    for number in range(3):
        change_auth(tmp_path, f"{AUTH}# {'x' * number}\n")
        auth.poll()
        assert ask(auth, sent[2]) is found[2]
    ask(auth, token(sub="more"))
    assert auth.remembered == 3
    assert ask(auth, sent[2]) is found[2]


def test_a_bad_new_file_keeps_the_old_one(tmp_path: Path) -> None:
    auth = AuthFile(write_auth(tmp_path))
    change_auth(tmp_path, AUTH + "[[revoked]]\n")
    auth.poll()
    assert ask(auth, KEY).subject == "robot"
    (tmp_path / "keys.toml").write_text("")
    change_auth(tmp_path, AUTH + "# whole again\n")
    auth.poll()
    with pytest.raises(NotAuthenticated):
        ask(auth, KEY)


def test_a_flood_from_one_address_leaves_time_for_others(tmp_path: Path) -> None:
    clock = [0.0]

    def cost_s() -> float:
        clock[0] += 0.001
        return clock[0]

    auth = AuthFile(write_auth(tmp_path), cost_s=cost_s)

    def ask_from(origin: str, credential: str) -> str:
        return auth.identify([f"Bearer {credential}"], [], origin).tenant

    for _ in range(1_000):
        with pytest.raises((NotAuthenticated, CredentialUnchecked)):
            ask_from("10.0.0.1", "a.b.c")
    with pytest.raises(CredentialUnchecked):
        ask_from("10.0.0.1", token())
    assert ask_from("[fd00::1]", token()) == "acme"
    assert auth.unchecked > 500


def test_what_is_counted_says_whether_the_files_are_in_force(tmp_path: Path) -> None:
    auth = AuthFile(write_auth(tmp_path))

    def numbers() -> dict[str, float]:
        return {sample.name: sample.value for one in auth_metrics("x_", auth) for sample in one.samples}

    ask(auth, token())
    assert numbers()["x_auth_file_unusable"] == 0
    assert numbers()["x_auth_tokens_remembered"] == 1
    change_auth(tmp_path, "[[jwt]]")
    auth.poll()
    assert numbers()["x_auth_file_unusable"] == 1
    assert len(numbers()) == 5
    assert [*auth_metrics("x_", None)] == []
