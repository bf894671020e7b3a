"""When the nodes of a test die."""

from dataclasses import dataclass, field


@dataclass
class AtStep:
    """At a point of one step."""

    kind: str
    """As CutPlan.ends_at."""
    step: int

    def ends_at(self, kind: str, number: int) -> bool:
        """As CutPlan."""
        return (kind, number) == (self.kind, self.step)

    def __str__(self) -> str:
        """For people."""
        return f"{ {'begin': 'before', 'called': 'in', 'recorded': 'after'}[self.kind] } step {self.step}"


@dataclass
class AtNth:
    """At one of the points, of all or of a kind, counted from 1."""

    nth: int
    kind: str = ""
    """Empty: all."""
    seen: int = field(default=0, init=False)

    def ends_at(self, kind: str, number: int) -> bool:
        """As CutPlan."""
        self.seen += self.kind in ("", kind)
        return self.seen == self.nth and self.kind in ("", kind)

    def __str__(self) -> str:
        """For people."""
        return "at the end" if self.kind == "end" else f"at wait {self.nth}"


class CutPlans:
    """The plans of a test, one after the other: each is for one death."""

    def __init__(self) -> None:
        self.waiting: list[AtStep | AtNth] = []

    def ends_at(self, kind: str, number: int) -> bool:
        """As CutPlan."""
        if self.waiting and self.waiting[0].ends_at(kind, number):
            del self.waiting[0]
            return True
        return False


def plan_of(
    before_step: int | None, in_step: int | None, after_step: int | None, at_wait: int | None, *, at_end: bool
) -> AtStep | AtNth:
    """As AgentTest.crash. Raises ValueError."""
    plans: list[AtStep | AtNth] = [
        AtStep(kind, step)
        for kind, step in (("begin", before_step), ("called", in_step), ("recorded", after_step))
        if step is not None
    ]
    if at_wait is not None:
        plans.append(AtNth(at_wait, "wait"))
    if at_end:
        plans.append(AtNth(1, "end"))
    if len(plans) != 1:
        raise ValueError("say one place: before_step=, in_step=, after_step=, at_wait= or at_end=")
    return plans[0]
