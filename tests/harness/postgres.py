"""A real PostgreSQL for tests, on a free loopback port, run by a user who may (its server refuses root)."""

import os
import pwd
import shutil
import signal
import subprocess
import uuid
from glob import glob
from pathlib import Path

from harness.processes import Process, free_port, wait_for_port, wait_until

_PROGRAMS = ("initdb", "pg_isready", "postgres", "psql")


def find_programs() -> Path | None:
    """The directory of PostgreSQL's programs; None: it is not installed."""
    on_path = shutil.which("initdb")
    for directory in [*sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True), os.path.dirname(on_path or "")]:
        if directory and all((Path(directory) / program).is_file() for program in _PROGRAMS):
            return Path(directory)
    return None


class PostgresProcess:
    """One server with an empty cluster of databases; each test makes a database of its own. `stop` ends it."""

    def __init__(
        self, directory: Path, *, fsync: bool = False, tls: tuple[bytes, bytes] | None = None, hba: str | None = None
    ) -> None:
        """directory: must not exist yet; the server's user makes it, so that user must be able to reach it. fsync: as
        a server that keeps what it is given; tests need not wait for the disk. tls: certificate and key, in PEM; hba:
        who is let in, and how; None: everybody, as anybody."""
        programs = find_programs()
        assert programs is not None
        self._programs = programs
        self._port = free_port()
        self._directory = directory
        self._fsync = fsync
        self._as_user: list[str] = []
        directory.mkdir()
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(directory, user.pw_uid, user.pw_gid)
            self._as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        initdb = [str(programs / "initdb"), "-D", str(directory / "data"), "-U", "agentring", "-A", "trust", "-N"]
        subprocess.run([*self._as_user, *initdb], check=True, capture_output=True, cwd="/")
        self._tls = tls is not None
        for name, pem in zip(("server.crt", "server.key"), tls or (), strict=False):
            path = directory / "data" / name
            path.write_bytes(pem)
            path.chmod(0o600)
            if self._as_user:
                os.chown(path, user.pw_uid, user.pw_gid)
        if hba is not None:
            (directory / "data" / "pg_hba.conf").write_text(hba)
        self.process = self._start()

    @property
    def psql(self) -> list[str]:
        return [str(self._programs / "psql")]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def database(self) -> str:
        """A new, empty database; its URL."""
        name = f"t{uuid.uuid4().hex[:12]}"
        self.ask(f"CREATE DATABASE {name}", "postgres")
        return f"postgresql://agentring@127.0.0.1:{self._port}/{name}"

    def ask(self, statement: str, database: str) -> str:
        """What psql prints."""
        command = [str(self._programs / "psql"), "-h", "127.0.0.1", "-p", str(self._port), "-U", "agentring"]
        asked = subprocess.run([*command, "-Atc", statement, database], check=True, capture_output=True, text=True)
        return asked.stdout.strip()

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: the fast shutdown, which ends connections; SIGKILL: a crash."""
        self.process.stop(number)

    def restart(self) -> None:
        """Starts it again on the same data, after it was stopped."""
        self.process = self._start()

    def _start(self) -> Process:
        options: tuple[str, ...] = ("-h", "127.0.0.1", "-p", str(self._port), "-k", "", "-c", "max_connections=200")
        options += () if self._fsync else ("-c", "fsync=off")
        options += ("-c", "ssl=on") if self._tls else ()
        command = [*self._as_user, str(self._programs / "postgres"), "-D", str(self._directory / "data"), *options]
        process = Process(command, self._directory.parent / f"{self._directory.name}.log")
        wait_for_port(self._port, process)
        wait_until(self._answers, "PostgreSQL does not answer")  # it listens before it does
        return process

    def _answers(self) -> bool:
        command = [str(self._programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(self._port)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
