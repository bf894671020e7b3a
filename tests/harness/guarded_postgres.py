"""A real PostgreSQL that lets nodes in over TLS, by a password, as a role that changes no tables."""

import subprocess
from datetime import timedelta
from pathlib import Path

from agentring.certificates.authority import Authority, make_authority
from agentring.certificates.names import Holder
from harness.postgres import PostgresProcess

OWNER, NODES = "keeper", "nodes"
_HBA = """\
host all agentring 127.0.0.1/32 trust
hostssl all keeper,nodes 127.0.0.1/32 scram-sha-256
"""


class GuardedPostgres:
    """Resource handling: `stop`."""

    def __init__(self, directory: Path) -> None:
        """directory: as PostgresProcess."""
        made = make_authority("postgres", timedelta(days=1))
        issued = Authority.load(made.certificate, made.key).issue(
            Holder.node, "server", ["127.0.0.1"], timedelta(days=1)
        )
        self.process = PostgresProcess(directory, tls=(issued.certificate, issued.key), hba=_HBA)
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(made.certificate)
        self._passwords = {OWNER: "the owner's", NODES: "the nodes'"}
        for role, password in self._passwords.items():
            self.process.ask(f"CREATE ROLE {role} LOGIN PASSWORD $${password}$$", "postgres")

    def database(self) -> str:
        """A new, empty database of the owner's; its name."""
        name = self.process.database().rpartition("/")[2]
        self.process.ask(f"ALTER DATABASE {name} OWNER TO {OWNER}", "postgres")
        self.process.ask(f"ALTER SCHEMA public OWNER TO {OWNER}", name)
        return name

    def url(self, database: str, role: str, *, ca: Path | None = None, mode: str = "verify-full") -> str:
        """For a role's connections. ca: None: the right one."""
        password = self._passwords[role].replace(" ", "%20").replace("'", "%27")
        tls = f"sslmode={mode}" + (f"&sslrootcert={ca or self.ca}" if mode.startswith("verify") else "")
        return f"postgresql://{role}:{password}@{self.process.address}/{database}?{tls}"

    def new_urls(self) -> tuple[str, str]:
        """The nodes' URL of a new database, and its owner's."""
        database = self.database()
        return self.url(database, NODES), self.url(database, OWNER)

    def refusal(self, statement: str, database: str) -> str:
        """What the server says to the nodes' role, which it must refuse."""
        command = [*self.process.psql, "-v", "ON_ERROR_STOP=1", "-c", statement, self.url(database, NODES)]
        asked = subprocess.run(command, check=False, capture_output=True, text=True)
        assert asked.returncode != 0, statement
        return asked.stderr

    def stop(self) -> None:
        self.process.stop()
