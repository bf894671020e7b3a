"""What an auth file may say, and how its mistakes are named."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agentring.auth.rules import AuthFileUnusable, load_rules
from harness.issuer import AUTH, URL_AUTH, write_auth


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
        load_rules(write_auth(tmp_path, AUTH.replace(old, new)))
    assert str(tmp_path) in str(caught.value)


def test_a_set_with_a_secret_in_it_is_refused(tmp_path: Path) -> None:
    path = write_auth(tmp_path)
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}]}))
    with pytest.raises(AuthFileUnusable, match=r"keys\.0") as caught:
        load_rules(path)
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = write_auth(tmp_path)
    (tmp_path / "jwks.json").unlink()
    make(tmp_path / "jwks.json")
    with pytest.raises(AuthFileUnusable, match="it is no regular file"):
        load_rules(path)


@pytest.mark.parametrize(
    ("url", "is_good"),
    [
        ("https://issuer.test/keys?a=1", True),
        ("http://127.0.0.1:80/", True),
        ("http://[::1]/", True),
        ("http://localhost/", True),
        ("http://issuer.test/", False),
        ("http://127.0.0.1.evil.test/", False),
        ("http://localhost@evil.test/", False),
        ("https://user:secret@issuer.test/", False),
        ("https://issuer.test/#a", False),
        ("https:///keys", False),
        ("https://issuer.test:0/", False),
        ("https://issuer.test:99999/", False),
        ("https://issuer.test/a b", False),
        ("file:///etc/passwd", False),
        ("ftp://127.0.0.1/", False),
    ],
)
def test_keys_are_fetched_from_where_nobody_can_put_others(tmp_path: Path, url: str, is_good: bool) -> None:
    path = write_auth(tmp_path, URL_AUTH.replace("https://issuer.test/keys", url))
    if is_good:
        assert load_rules(path)[0].urls == [url]
    else:
        with pytest.raises(AuthFileUnusable, match=r"jwt\.0\.jwks_url") as caught:
            load_rules(path)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("source", ["", 'jwks_file = "jwks.json"\njwks_url = "https://a.test/"'])
def test_keys_have_one_source(tmp_path: Path, source: str) -> None:
    with pytest.raises(AuthFileUnusable, match=r"jwt\.0"):
        load_rules(write_auth(tmp_path, AUTH.replace('jwks_file = "jwks.json"', source)))
