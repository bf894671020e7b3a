"""`agentring keys` makes what `agentring auth check` accepts, until it is revoked; a key is shown once."""

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agentring.cli.auth_errors import AuthUnusable, CredentialRefused, CredentialsUnclear, KeyOptionUnusable
from agentring.cli.commands import auth, keys

AUTH = """
[[api_keys]]
file = "keys.toml"
[[mtls]]
san = "spiffe://a/b"
tenant = "acme"
subject = "b"
roles = ["admin"]
"""


def run(*words: str, stdin: str = "", app: str = "keys") -> Result:
    ran = CliRunner().invoke({"keys": keys, "auth": auth}[app].app, words, input=stdin)
    if ran.exception is not None:
        raise ran.exception
    return ran


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "auth.toml").write_text(AUTH)
    return f"--file={tmp_path / 'keys.toml'}"


def check(tmp_path: Path, *words: str, stdin: str = "") -> str:
    return run("check", str(tmp_path / "auth.toml"), *words, stdin=stdin, app="auth").stdout


def test_a_key_is_shown_alone_and_says_what_it_may_do_until_it_is_revoked(tmp_path: Path, file: str) -> None:
    made = run("new", "--tenant=acme", "--subject=bot", "--role=viewer", "--role=user", "--days=2", file)
    key = made.stdout.removesuffix("\n")
    key_id = key.split("_")[1]
    assert key.startswith("ar_")
    assert "\n" not in key
    assert key not in made.stderr + (tmp_path / "keys.toml").read_text() + run("list", file).stdout
    (tmp_path / "key").write_text(f"{key}\n")
    for said in (check(tmp_path, f"--token-file={tmp_path / 'key'}"), check(tmp_path, "--token-file=-", stdin=key)):
        assert "tenant: acme\n  subject: bot\n  roles: user, viewer\n" in said
        assert f"logs call it: {key_id}\n" in said
        assert key not in said
    assert time.strftime("%Y-", time.gmtime(time.time() + 2 * 86_400)) in run("list", file).stdout
    assert run("revoke", key_id, file).stdout.endswith("is not valid any more\n")
    with pytest.raises(CredentialRefused, match="not known"):
        check(tmp_path, "--token-file=-", stdin=key)
    assert key_id not in run("list", "--json", file).stdout


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("--tenant=a b", "--subject=x"), "--tenant"),
        (("--tenant=", "--subject=x"), "--tenant"),
        (("--tenant=acme", "--subject="), "--subject"),
        (("--tenant=acme", "--subject=a\nb"), "--subject"),
    ],
)
def test_what_no_key_can_be_made_of_is_named(tmp_path: Path, file: str, words: tuple[str, ...], option: str) -> None:
    with pytest.raises(KeyOptionUnusable, match=option):
        run("new", *words, file)
    assert not (tmp_path / "keys.toml").exists()


def test_a_key_in_place_of_its_id_is_not_repeated(file: str) -> None:
    key = run("new", "--tenant=acme", "--subject=bot", file).stdout.strip()
    with pytest.raises(AuthUnusable) as caught:
        run("revoke", key, file)
    assert key not in str(caught.value)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    for words in (("list",), ("revoke", "k1"), ("new", "--tenant=a", "--subject=b")):
        with pytest.raises(AuthUnusable, match="No such file"):
            run(*words, f"--file={tmp_path / 'none' / 'keys.toml'}")


def test_a_certificates_name_is_checked_and_no_two_credentials_at_once(tmp_path: Path, file: str) -> None:
    run("new", "--tenant=acme", "--subject=bot", file)
    assert "subject: b\n" in check(tmp_path, "--san=spiffe://a/b")
    with pytest.raises(CredentialRefused, match="missing"):
        check(tmp_path, "--san=spiffe://a/c")
    for words in (("--san=a", "--token-file=-"), ("--token-file=-",), (f"--token-file={tmp_path / 'none'}",)):
        with pytest.raises(CredentialsUnclear):
            check(tmp_path, *words)
    (tmp_path / "auth.toml").write_text(AUTH.replace("admin", "root"))
    with pytest.raises(AuthUnusable, match=r"mtls\.0\.roles"):
        check(tmp_path)
