"""The passwords that `agentring admin init` gives etcd's users: one file each, made once, never shown.

Guarantees: a file is there before etcd knows its password, so a command that ended half-way leaves none that nobody
knows; what is there is never written over. None is made by a dry run.
"""

import secrets
from pathlib import Path
from urllib.parse import quote

from agentring.cluster.etcd.login import read_password
from agentring.cluster.etcd.users import ROOT
from agentring.process import private_files


class PasswordFiles:
    """Of one call of the command."""

    def __init__(self, directory: Path | None, root: Path | None, *, dry_run: bool) -> None:
        """directory: of routers' and nodes' passwords, root: the file of root's; None: their certificates say who they
        are, and they have none."""
        self._directory = directory
        self._root = root
        self._dry_run = dry_run

    def __call__(self, user: str) -> str | None:
        """A user's password, made where there is none yet; None: it is to have none. Raises OSError."""
        if user == ROOT:
            return read_password(self._root) if self._root is not None else None
        if self._directory is None:
            return None
        path = self.path_of(self._directory, user)
        if path.exists():
            return read_password(path)
        made = secrets.token_urlsafe(32)
        if not self._dry_run:
            private_files.make_directory(self._directory)
            private_files.write_text(path, f"{made}\n")
        return made

    @staticmethod
    def path_of(directory: Path, user: str) -> Path:
        """Where a user's password is."""
        return directory / f"{quote(user, safe='')}.password"
