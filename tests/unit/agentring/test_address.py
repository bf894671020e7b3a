"""What is an address, and what is told of what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentring.address import check_address, check_etcd_endpoint
from agentring.client import connect


@pytest.mark.parametrize("word", ["127.0.0.1:7700", "localhost:1", "[::1]:65535", "some-host.example:80", "a_b:00080"])
def test_an_address_is_a_host_and_a_port(word: str) -> None:
    assert check_address(word) == word
    assert check_etcd_endpoint(word) == word
    assert check_etcd_endpoint(f"http://{word}") == f"http://{word}"
    assert check_etcd_endpoint(f"https://{word}/") == f"https://{word}/"


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("localhost", ": the port is missing"),
        ("localhost:", ": the port is missing"),
        ("[::1]", ": the port is missing"),
        ("http://localhost:7700", ": leave the http:// out"),
        ("grpc://localhost:7700", ": leave the grpc:// out"),
        ("dns:///localhost:7700", ": leave the dns:// out"),
        ("unix:/tmp/socket", ": leave the unix:// out"),
        ("localhost:99999", ": the largest port is 65535"),
        ("localhost:65536", ": the largest port is 65535"),
        ("localhost:0", ": nobody listens on port 0"),
        ("::1:7700", ": an IPv6 address stands in brackets, as in [::1]:7700"),
        ("[:::]:7700", ": no IPv6 address stands in the brackets"),
        ("localhost:http", ""),
        ("localhost:-1", ""),
        ("localhost:7700/path", ""),
        ("user@localhost:7700", ""),
        ("", ""),
        (" localhost:7700", ""),
        ("localhost:7700\n", ""),
    ],
)
def test_what_is_none_is_told(word: str, why: str) -> None:
    with pytest.raises(ValueError, match="is not host:port") as refused:
        check_address(word)
    assert str(refused.value) == f"{word!r} is not host:port{why}"


def test_a_free_port_may_be_listened_on_alone() -> None:
    assert check_address("127.0.0.1:0", to_listen=True) == "127.0.0.1:0"
    with pytest.raises(ValueError, match="nobody listens"):
        check_address("127.0.0.1:0")


@given(st.text() | st.from_regex(r"[a-z\[\]:.0-9/]*"))
def test_whatever_is_written_it_is_taken_or_refused_in_one_line(word: str) -> None:
    received = ""
    try:
        check_address(word)
    except ValueError as refused:
        received = str(refused)
    if received:
        assert len(received.splitlines()) == 1
    else:
        host, _, port = word.rpartition(":")
        assert host
        assert 0 < int(port) <= 65_535


@pytest.mark.parametrize("target", ["localhost", "http://127.0.0.1:7700", "127.0.0.1:99999", "127.0.0.1:1,there"])
async def test_a_client_is_refused_at_once(target: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        connect(target)
