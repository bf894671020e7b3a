"""The data directory of a local cluster: where things lie in it, and the lock that lets one `agentring up` use it.

Guarantees that at most one process holds a directory's lock; the kernel lets go of it when that process ends, however
it ends. Called by `up`.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agentring.cli.errors import DataDirInUse, DataDirUnusable
from agentring.ids import NodeId
from agentring.process import private_files


@dataclass(frozen=True, slots=True)
class DataDir:
    """The places in a data directory."""

    path: Path

    @property
    def etcd(self) -> Path:
        """What the embedded etcd keeps."""
        return self.path / "etcd"

    @property
    def cluster_file(self) -> Path:
        """Where the running cluster is described."""
        return self.path / "cluster.json"

    @property
    def etcd_ports(self) -> Path:
        """The ports of the embedded etcd, which nodes that were started by hand go on using."""
        return self.path / "etcd.ports"

    def node(self, node_id: NodeId) -> Path:
        """What a node keeps."""
        return self.path / "nodes" / node_id

    @property
    def store(self) -> Path:
        """What the nodes keep of sessions: where a node without --store looks for it, beside its directory,
        so that one started by hand shares it."""
        return self.path / "nodes" / "store.db"

    def log(self, name: str) -> Path:
        """The log of one process."""
        return self.logs / f"{name}.log"

    @property
    def logs(self) -> Path:
        """Where the logs are."""
        return self.path / "logs"

    def holder(self) -> int | None:
        """The pid of the `agentring up` or `dev` that uses it; None: nobody does. 0: it has just begun."""
        try:
            fd = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(fd, 32, 0).strip()
            return int(pid) if pid.isdigit() else 0
        finally:
            os.close(fd)
        return None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the directory and holds its lock. Raises DataDirInUse, DataDirUnusable."""
        try:
            for directory in (self.path, self.logs, self.store.parent):
                private_files.make_directory(directory)
            fd = private_files.open_file(self.path / "lock", os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise DataDirUnusable(self.path, error.strerror or "unusable") from error
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataDirInUse(self.path, os.pread(fd, 32, 0).decode("ascii", "replace").strip()) from error
            # The pid is for the other's error message alone; the lock is the flock.
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(fd)
