"""Names and passwords for etcd: what is read, what is refused, and what goes nowhere in the clear."""

from pathlib import Path

import pytest

from agentring.cli.etcd_passwords import PasswordFiles
from agentring.cluster.etcd.login import PasswordUnreadable, check_etcd_login, login_of, read_password


@pytest.mark.parametrize("raw", [b"secret", b"secret\n", b"secret\r\n"])
def test_one_newline_is_no_part_of_it(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes(raw)
    assert read_password(path) == "secret"


@pytest.mark.parametrize("raw", [b"", b"\n", b"two\nlines\n", b"secret\n\n", b"\xff", b"a" * 73, b"nul\0", None])
def test_what_is_no_password_is_refused_and_not_shown(raw: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "password"
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(PasswordUnreadable) as refused:
        login_of("user", path)
    assert str(path) in str(refused.value)
    assert "lines" not in str(refused.value).removeprefix(str(path))


def test_it_is_sent_over_tls_or_on_this_machine_alone(tmp_path: Path) -> None:
    path = tmp_path / "password"
    for here in ("127.0.0.1:2379", "http://localhost:2379/", "[::1]:2379"):
        check_etcd_login([here], "user", path, tls=False)
    check_etcd_login(["https://etcd:2379"], "user", path, tls=True)
    check_etcd_login(["http://10.0.0.1:2379"], None, None, tls=False)
    for there in ("http://10.0.0.1:2379", "192.0.2.1:2379/", "[2001:db8::1]:2379"):
        with pytest.raises(ValueError, match="in the clear"):
            check_etcd_login(["127.0.0.1:2379", there], "user", path, tls=False)
    for user, file in (("user", None), (None, path)):
        with pytest.raises(ValueError, match="together"):
            check_etcd_login([], user, file, tls=True)


def test_a_password_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    directory = tmp_path / "passwords"
    assert PasswordFiles(directory, None, dry_run=True)("c/node/a") is not None
    assert not directory.exists()
    files = PasswordFiles(directory, None, dry_run=False)
    made = files("c/node/a")
    assert made is not None
    assert len(made) >= 43  # 256 bits
    assert files("c/node/a") == made != files("c/router")
    (path,) = directory.glob("*node*")
    assert path.stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700
    assert read_password(path) == made
    assert files("root") is None
    assert PasswordFiles(None, path, dry_run=False)("root") == made
    assert PasswordFiles(None, path, dry_run=False)("c/router") is None
