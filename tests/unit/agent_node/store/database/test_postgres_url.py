"""What a store's URL says about TLS."""

from urllib.parse import parse_qs, urlparse

import pytest

from agent_node.store.database.postgres_url import address_of, files_of, is_verified, split

URL = "postgresql+asyncpg://u:p%40ss@db.example/sessions"


def test_without_a_word_about_tls_the_url_is_left_as_it_is() -> None:
    url, arguments = split(f"{URL}?command_timeout=3")
    assert url.render_as_string(hide_password=False) == f"{URL}?command_timeout=3"
    assert arguments == {}


def test_what_it_says_goes_to_the_driver_and_no_password_with_it() -> None:
    url, arguments = split(f"{URL}?sslmode=verify-full&sslrootcert=%2Fa%20b%2Fca.pem&command_timeout=3")
    assert url.render_as_string(hide_password=False) == f"{URL}?command_timeout=3"
    said = urlparse(arguments["dsn"])
    assert said.netloc == ""
    assert parse_qs(said.query) == {"sslmode": ["verify-full"], "sslrootcert": ["/a b/ca.pem"]}


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("sslmode=verify_full", "sslmode=verify_full is none of"),
        ("sslmode=VERIFY-FULL", "is none of"),
        ("sslrootcert=ca.pem", "sslrootcert is checked with sslmode=verify-full"),
        ("sslmode=require&sslrootcert=ca.pem", "sslrootcert is checked with sslmode=verify-full"),
        ("sslmode=prefer&sslcrl=crl.pem", "sslcrl is checked with"),
        ("sslmode=verify-full&sslmode=disable", "sslmode stands there twice"),
    ],
)
def test_what_would_check_nothing_is_refused(query: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        split(f"{URL}?{query}")
    assert "p%40ss" not in str(refused.value)


def test_where_the_server_is_and_whether_it_proves_it() -> None:
    assert address_of(URL) == "db.example:5432"
    assert address_of(URL.replace("db.example", "[::1]:5433")) in {"::1:5433", "[::1]:5433"}
    assert address_of("postgresql:///sessions?host=/run/postgresql") is None
    assert [is_verified(f"{URL}?sslmode={mode}") for mode in ("verify-full", "verify-ca", "require")] == [1, 0, 0]
    assert not is_verified(URL)
    assert files_of(f"{URL}?sslmode=verify-full&sslrootcert=a&sslcert=b&sslkey=c") == ["a", "b", "c"]
