"""When and why nodes' incarnations came to their end, for the checker's rules. Pure."""

from robustness.chaos.validate.evidence import Evidence, Line


class Ends:
    """When and why incarnations came to their end."""

    def __init__(self, evidence: Evidence) -> None:
        """Of one run."""
        self._fenced = {(line.node, line.incarnation) for line in evidence.lines if line.event == "fenced"}
        self._drained = {
            (line.node, line.incarnation): line.t_ns for line in evidence.lines if line.event == "drain_started"
        }
        self._kills = [mark for mark in evidence.marks if mark.what == "killed"]
        self._joined = {(line.node, line.incarnation): line.t_ns for line in evidence.lines if line.event == "joined"}

    def had_ended(self, claim: Line, by_ns: int) -> bool:
        """Whether the claim's incarnation had a reason to be over. A fence may be noticed late, by a frozen node."""
        key = (claim.node, claim.incarnation)
        drained_ns = self._drained.get(key)
        # A kill ends what had joined before it, also what was claimed in the moment until the node was dead.
        joined_ns = min(claim.t_ns, self._joined.get(key, claim.t_ns))
        return (
            key in self._fenced
            or (drained_ns is not None and drained_ns <= by_ns)
            or any(kill.node == claim.node and joined_ns <= kill.t_ns <= by_ns for kill in self._kills)
        )
