"""What commands show a router: a token of a file or the environment, over TLS or within this machine."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

from agentring import metadata
from agentring.cli.credentials import NOTHING, SHOWN, CredentialUnusable, Shown, _Bearer, _Details, read_shown
from agentring.cli.main import app
from agentring.client import Tls

KEY = "ar_k1_" + "0" * 64


@pytest.fixture(autouse=True)
def shows_nothing() -> Iterator[None]:
    before = SHOWN.set(NOTHING)
    yield
    SHOWN.reset(before)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{KEY}\n")
    return path


def test_a_file_has_precedence_and_neither_is_shown_in_text(file: Path) -> None:
    assert read_shown(None, None, None, None, None) == NOTHING
    assert read_shown("other", None, None, None, None).token == "other"
    shown = read_shown("other", file, None, None, None)
    assert shown.token == KEY
    assert KEY not in repr(shown)


@pytest.mark.parametrize("said", ["", "two words", "a\nb", "é", "x" * 16_385])
def test_what_is_no_token_is_refused_without_repeating_it(said: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(said)
    for token, path in ((said, None), (None, tmp_path / "token")):
        with pytest.raises(CredentialUnusable) as refused:
            read_shown(token, path, None, None, None)
        assert not said or said not in str(refused.value)


def test_files_that_do_not_fit_together_or_are_not_there_are_refused(file: Path, tmp_path: Path) -> None:
    for arguments in ((None, file, file), (file, file, None), (tmp_path / "none", None, None)):
        with pytest.raises(CredentialUnusable):
            read_shown(None, None, *arguments)
    assert read_shown(None, None, file, file, file).tls == Tls(*[file.read_bytes()] * 3)


def test_a_token_leaves_this_machine_over_tls_alone() -> None:
    for router in ("127.0.0.1:7700", "localhost:7700", "[::1]:7700"):
        Shown("t").check(router)
    for router in ("10.0.0.1:7700", "ring.example:7700", "127.0.0.1.example:7700"):
        Shown("t", Tls()).check(router)
        Shown().check(router)
        with pytest.raises(CredentialUnusable):
            Shown("t").check(router)


def test_calls_of_both_kinds_have_the_token() -> None:
    bearer, seen = _Bearer("t"), list[tuple[tuple[str, str], ...]]()
    details = _Details("/a/B", 5.0, (("x-tenant-id", "acme"),), None, None, None)
    for intercept in (bearer.intercept_unary_unary, bearer.intercept_unary_stream):
        intercept(lambda changed, _request: seen.append(changed.metadata), details, b"")
    assert seen == [(("x-tenant-id", "acme"), (metadata.AUTHORIZATION, "Bearer t"))] * 2


def test_a_command_refuses_to_send_a_token_over_a_network(file: Path) -> None:
    result = CliRunner().invoke(app, ["--token-file", str(file), "ring", "--router", "ring.example:7700"])
    assert isinstance(result.exception, CredentialUnusable)
    assert KEY not in str(result.exception)
    assert SHOWN.get() == Shown(KEY)


def test_where_nobody_listens_is_said_as_without_a_token(file: Path) -> None:
    result = CliRunner().invoke(app, ["--token-file", str(file), "ring", "--router", "127.0.0.1:1"])
    assert grpc.StatusCode.UNAVAILABLE.name in str(result.exception)
