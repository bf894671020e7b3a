"""`agentring certs`: files for their owner alone, never overwritten unasked, and messages that say what comes next."""

import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentring.cli.certificate_errors import CertificateExists, CertificateFailed, HolderMalformed
from agentring.cli.commands.certs import app


def run(directory: Path, *words: str) -> str:
    ran = CliRunner().invoke(app, [*words, f"--directory={directory}"])
    if ran.exception is not None:
        raise ran.exception
    return ran.output


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    run(tmp_path / "certs", "init", "--cluster=blue")
    return tmp_path / "certs"


def test_each_says_what_was_written_and_what_to_do_next(directory: Path) -> None:
    for words, uri, flag in [
        (("node", "n1", "--host=10.0.0.1"), "spiffe://blue/node/n1", "--node-id n1"),
        (("router", "r1"), "spiffe://blue/router/r1", "--node-cert"),
        (("client", "billing"), "spiffe://blue/client/billing", "agentring.client.Tls"),
    ]:
        said = run(directory, *words)
        assert f"wrote {directory}/{words[0]}-{words[1]}.pem" in said
        assert f"it is {uri}\n" in said
        assert "next: " in said
        assert flag in said
    files = sorted(path.name for path in directory.iterdir())
    assert files == sorted(
        f"{name}.{kind}" for name in ("ca", "client-billing", "node-n1", "router-r1") for kind in ("key", "pem")
    )
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("left", ["node-n1.pem", "node-n1.key"])
def test_no_file_is_overwritten_unasked(directory: Path, left: str) -> None:
    (directory / left).write_bytes(b"mine")
    with pytest.raises(CertificateExists, match=f"{left} is there"):
        run(directory, "node", "n1")
    assert (directory / left).read_bytes() == b"mine"
    assert len([*directory.iterdir()]) == 3
    run(directory, "node", "n1", "--overwrite")
    assert b"mine" not in (directory / left).read_bytes()
    with pytest.raises(CertificateExists):
        run(directory, "init")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "../../n1", "n" * 65, "né", "n1\n"])
def test_what_cannot_be_a_name_is_none(directory: Path, name: str) -> None:
    with pytest.raises(HolderMalformed):
        run(directory, "node", name)
    with pytest.raises(HolderMalformed):
        run(directory, "node", "n1", f"--host=/{name}")


def test_nothing_is_signed_without_an_authority(tmp_path: Path, directory: Path) -> None:
    with pytest.raises(CertificateFailed, match="agentring certs init"):
        run(tmp_path / "none", "node", "n1")
    (directory / "ca.key").write_bytes(b"")
    with pytest.raises(CertificateFailed, match="no authority to sign with"):
        run(directory, "node", "n1")
