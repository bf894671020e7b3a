"""Histories of a chaos run, made by hand: audit lines, clients' calls, and what the checker says of them."""

from robustness.chaos.validate.checker import check
from robustness.chaos.validate.evidence import Call, Evidence, Line, Mark, StoredRow

S = "session/default/s"
T = "task/default/t"
MS = 1_000_000


def line(t_ms: int, event: str, epoch: int = 0, *, node: str = "n1", commit: int | None = None, turn: str = "") -> Line:
    """A line of the session; n1's incarnation is 1, n2's is 2."""
    subject = "" if event in ("fenced", "drain_started", "joined") else T if event.startswith("task_") else S
    return Line(t_ms * MS, node, int(node[1:]), event, subject, epoch, turn, commit)


def call(
    invoked_ms: int,
    accepted_ms: int | None,
    epoch: int,
    *,
    node: str = "n1",
    number: int | None = None,
    turn: str = "",
    result: str = "",
    end_epoch: int = 0,
    subject: str = S,
) -> Call:
    return Call(
        "c",
        subject,
        turn or f"turn-{invoked_ms}",
        "r1",
        invoked_ms * MS,
        accepted_ms * MS if accepted_ms is not None else None,
        invoked_ms * MS + 1,
        node,
        epoch,
        ok=number is not None or bool(result),
        number=number,
        result=result,
        end_epoch=end_epoch or epoch,
    )


def rules(
    *lines: Line,
    calls: tuple[Call, ...] = (),
    marks: tuple[Mark, ...] = (),
    completed: tuple[StoredRow, ...] = (),
    tool_starts: tuple[StoredRow, ...] = (),
    counted: int | None = None,
    durable: bool = False,
    durable_tasks: bool = False,
) -> list[str]:
    """Which rules are broken."""
    evidence = Evidence(
        list(lines),
        list(calls),
        list(marks),
        list(completed),
        list(tool_starts),
        {} if counted is None else {S: counted},
        durable,
        durable_tasks,
    )
    return [violation.rule for violation in check(evidence)]


FIRST = (line(0, "claimed", 10), line(1, "activated", 10), line(2, "turn_started", 10, turn="a"))
HANDED_OVER = (line(50, "released", 10), line(60, "claimed", 20, node="n2"), line(61, "activated", 20, node="n2"))
