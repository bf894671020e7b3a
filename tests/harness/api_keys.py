"""Keys that a cluster of the tests knows, and the files that it knows them by."""

import hashlib
import json
import secrets
from pathlib import Path


class Keys:
    """The auth file, its keys and the cluster's secret."""

    def __init__(self, directory: Path) -> None:
        self.file, self._keys = directory / "auth.toml", directory / "keys.toml"
        self._secret = directory / "secret"
        self._secret.write_text(secrets.token_hex(32))
        self._secret.chmod(0o600)
        self.file.write_text('[[api_keys]]\nfile = "keys.toml"\n')
        self._entries: dict[str, dict[str, object]] = {}
        self.ada, self.eve = self.add("ada", "acme", "user"), self.add("eve", "globex", "user")
        self.olga, self.vera = self.add("olga", "ops", "operator"), self.add("vera", "acme", "viewer")

    def add(self, subject: str, tenant: str, *roles: str) -> str:
        """A new key of the subject."""
        name = secrets.token_hex(6)
        key = f"ar_{name}_{secrets.token_hex(32)}"
        digest = hashlib.sha256(key.encode()).hexdigest()
        self._entries[subject] = {
            "id": name,
            "sha256": digest,
            "tenant": tenant,
            "subject": subject,
            "roles": roles,
        }
        self._write()
        return key

    def id_of(self, subject: str) -> str:
        """The id of the subject's key."""
        return str(self._entries[subject]["id"])

    def revoke(self, subject: str) -> None:
        del self._entries[subject]
        self._write()

    @property
    def flags(self) -> tuple[str, ...]:
        return (f"--auth={self.file}", f"--cluster-secret-file={self._secret}")

    def _write(self) -> None:
        fresh = self._keys.with_suffix(".new")
        fresh.write_text("".join(f"[[keys]]\n{_fields(entry)}\n" for entry in self._entries.values()))
        fresh.replace(self._keys)


def _fields(entry: dict[str, object]) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in entry.items())


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),)
