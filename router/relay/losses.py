"""How often a call was on a connection that broke, and had come to nothing new there.

A request can be what ends the connections, or the nodes, that it comes to. The first one that breaks proves nothing,
since connections break for many reasons, with all calls on them; so the call is tried on one more, and where that
breaks too before the call has come to anything, on no further one. A connection that has fallen silent since it had the
call counts likewise, since a call may also hold its node up. Owned by its Call, from its first loss on.
"""

from __future__ import annotations

from router.relay.grpc_framing import MARKS, NO_MARKS

MAX_LOSSES = 2
STEADY_S = 1.0
"""A node that has served the call for so long had not been lost at once."""


class Losses:
    """The losses of one call."""

    __slots__ = ("_progress", "in_a_row", "nodes")

    def __init__(self) -> None:
        """None yet."""
        self._progress = MARKS.unpack_from(NO_MARKS)
        self.in_a_row = 0
        """Since the call came to something."""
        self.nodes: list[str] = []
        """Whose connections those were."""

    @property
    def allow_another(self) -> bool:
        """Whether it may be lost once more."""
        return self.in_a_row + 1 < MAX_LOSSES

    @property
    def are_too_many(self) -> bool:
        """Whether the call is to be tried no more."""
        return self.in_a_row >= MAX_LOSSES

    def before_accepted(self, node_id: str) -> None:
        """The connection broke, or is silent, before the node had accepted the call."""
        self.in_a_row += 1
        self.nodes.append(node_id)

    def after_accepted(self, node_id: str, last_response: bytes, served_s: float) -> None:
        """The connection broke served_s after the node had accepted the call. last_response: the client's last one, or
        its marks."""
        marks = MARKS.unpack_from(last_response)
        if marks > self._progress or served_s > STEADY_S:
            self._progress = max(self._progress, marks)
            self.in_a_row = 0
            self.nodes.clear()
        else:
            self.before_accepted(node_id)
