"""A context follows its files, and nothing that is wrong with them takes the working one away."""

import os
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from agentring.certificates.authority import make_authority
from agentring.certificates.context_files import ContextFiles
from agentring.certificates.contexts import serving_context


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "c.pem", tmp_path / "c.key"
    _write(*paths)
    return paths


def _write(certificate: Path, key: Path) -> None:
    made = make_authority("blue", timedelta(days=1))
    _replace(certificate, made.certificate)
    _replace(key, made.key)


def _replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    os.replace(new, path)


def _context(certificate: Path, key: Path) -> ContextFiles:
    def make() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context

    return ContextFiles(make, (certificate, key))


def test_a_context_is_kept_until_a_file_changes(files: tuple[Path, Path]) -> None:
    context = _context(*files)
    before = context.current
    context.poll()
    assert context.current is before
    _write(*files)
    context.poll()
    assert context.current is not before


def test_a_change_half_way_is_read_once_it_is_whole(files: tuple[Path, Path]) -> None:
    certificate, key = files
    context = _context(*files)
    before = context.current
    made = make_authority("blue", timedelta(days=1))
    for half in (made.certificate, None, b""):
        if half:
            _replace(certificate, half)
        elif half is None:
            key.unlink()
        else:
            _replace(key, half)
        context.poll()
        context.poll()
        assert context.current is before
    _replace(key, made.key)
    context.poll()
    assert context.current is not before


def test_what_is_wrong_at_the_start_is_refused_by_name(files: tuple[Path, Path]) -> None:
    key = files[1]
    key.write_bytes(b"")
    with pytest.raises(OSError, match=r"c\.pem, .*c\.key: \[SSL\]"):
        _context(*files)
    key.unlink()
    with pytest.raises(OSError, match=r"/c\.key: No such file or directory$"):
        _context(*files)


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(files: tuple[Path, Path]) -> None:
    certificate, key = files
    private = load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")))
    with pytest.raises(OSError, match="the key is encrypted"):
        ContextFiles(lambda: serving_context(certificate, key, None), files)
