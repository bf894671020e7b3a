"""A call as far as its nodes are concerned: what the loss of one means for it, and which is asked next.

Guarantees: another node is asked only where nothing of the call can have reached a service, or where the method is
ours, whose nodes know what they have had before (RouteAttempts.is_repeatable): so no method of anybody else's runs
twice. What a node says is an answer, also where that is RST_STREAM or nonsense; only a connection that breaks, GOAWAY,
REFUSED_STREAM and the trailers by which nodes lead on (RouteAttempts.follow) are none. A call on which one connection
after another breaks is tried no more (losses.py). A client's stream that can be re-attached waits for its session's
next owner (reattachment.py).
"""

from __future__ import annotations

from agentring.errors import (
    AgentNotFound,
    AgentringError,
    AgentUnavailable,
    ConnectionsLost,
    DeadlineExceeded,
    NodeUnreachable,
    OwnerUnreachable,
    SessionMoving,
)
from router.relay.attempts import RouteAttempts
from router.relay.call_end import CallEnd
from router.relay.client_stream import ClientStream
from router.relay.context import RelayContext
from router.relay.losses import Losses
from router.relay.reattachment import Reattachment


class CallMoves(CallEnd):
    """The part of a call that finds it a node; the rest is Call."""

    __slots__ = ("_asked_s", "_losses", "_lost_one", "_taken_s", "_way")

    def __init__(self, carrier: RelayContext, client: ClientStream, way: RouteAttempts) -> None:
        """As Call."""
        self._way = way
        super().__init__(carrier, client, marked=way.marked)
        self._losses: Losses | None = None
        self._lost_one = False
        """A node that was there is there no more."""
        self._asked_s = self._taken_s = 0.0
        """When a node was sent it last, and when one has taken it last."""

    @property
    def is_repeatable(self) -> bool:
        """Whether another node may be asked, although one may have begun with it."""
        return self._way.is_repeatable

    def refuse(self, error: AgentringError) -> None:
        """Ends the call with an error, after the message that the client may be sending."""
        if self._client.waiting:
            self.will_fail(error)
            self._patient().wait_for_first()
        else:
            self.fail(error)

    # The end of a node's stream that is not its answer.

    def not_processed(self, cause: str) -> None:
        """The node has not looked at the call, and says so. cause: for the metric, as below."""
        if not self._goes_on():
            return
        if self._is_at_owner:
            self._look_for_owner(cause)
        elif self._way.again():
            self._try()
        else:
            self._past()

    def lost(self, cause: str) -> None:
        """The connection broke, or the node is gone: how far it had come with the call nobody knows."""
        if not self._goes_on():
            return
        if self._is_at_owner and not self.marked:
            self._look_for_owner(cause)
        elif not self._is_at_owner and not self._way.is_repeatable:
            self._count_loss("not_repeatable")
            self._carrier.log("call_lost", self._way.method, [self._way.node_id])
            self.refuse(NodeUnreachable())
        elif self._is_lost_too_often():
            self._count_loss("given_up")
            self._carrier.log("call_given_up", self._way.method, self._lost().nodes)
            self.refuse(ConnectionsLost())
        elif self._is_at_owner:
            self._look_for_owner(cause)
        else:
            self._count_loss("tried_again")
            if self.marked and self._carrier.limits.reattach_timeout_s > 0:
                # Where many nodes die at once, the next one's connection may be about to break, too.
                self._trouble(NodeUnreachable(), cause, at_once=False)
            elif cause == "connection" and self._way.again():
                self._try()
            else:
                self._past()

    def moved(self) -> None:
        """The node says that the session goes on elsewhere."""
        if self._goes_on():
            self._look_for_owner("moved")

    def failed(self, error: AgentringError) -> None:
        """The node has ended the call by what is no answer of gRPC's."""
        if self._goes_on():
            self.refuse(error)

    def _goes_on(self) -> bool:
        """Whether anything is to be done about a node's stream that is no more."""
        if self.ended or self._error is not None:
            return False
        self._lost_one = True
        self._client.kept.node_lost()
        if self._patience is not None and self._patience.is_over:
            self.fail(DeadlineExceeded())
            return False
        return True

    def _is_lost_too_often(self) -> bool:
        losses = self._lost()
        if self._is_at_owner:
            losses.after_taken(self._way.node_id, self._client.last, self._carrier.now_s() - self._taken_s)
        else:
            losses.before_taken(self._way.node_id)
        return losses.are_too_many

    def _lost(self) -> Losses:
        if self._losses is None:
            self._losses = Losses()
        return self._losses

    def _count_loss(self, outcome: str) -> None:
        self._carrier.stats.lost_untaken[outcome] += 1

    # Which node.

    @property
    def _is_at_owner(self) -> bool:
        """A node has taken it, and no other is being looked for."""
        return self.taken and not (self._reattachment is not None and self._reattachment.is_on)

    def _try(self) -> None:
        """Asks for a connection to the way's target."""
        raise NotImplementedError

    def _look_for_owner(self, cause: str) -> None:
        self._way.lost()
        self._trouble(NodeUnreachable(), cause)

    def _past(self) -> None:
        """The node that was asked cannot be reached."""
        try:
            self._way.past()
            self._try()
        except AgentringError as error:
            self._trouble(error)

    def _trouble(self, error: AgentringError, cause: str = "moving", *, at_once: bool = True) -> None:
        """No node takes the call now. A client's stream that can be re-attached waits for its session's next owner,
        also where it is opened while the session moves; any other call ends. at_once: the first try comes without a
        pause."""
        if not (self.marked and self._helps_to_wait(error)):
            self.refuse(error)
            return
        self._leave_node()
        self._let_client_send()
        if self._reattachment is None:
            self._reattachment = Reattachment(self._carrier, self._try_anew, self._ask_another, self.refuse)
        if not self._reattachment.is_on:
            self._reattachment.begin(cause, self._client.last, at_once=at_once)
        self._reattachment.later(error)

    def _helps_to_wait(self, error: AgentringError) -> bool:
        # Nodes that host the agent of a call that was taken have been there, and may be on their way back.
        waits = error.retry_after_s is not None or isinstance(error, AgentNotFound)
        if self.taken:
            return waits
        if isinstance(error, SessionMoving | OwnerUnreachable | AgentUnavailable):
            return True
        # Where no member can be reached, but some could, they have just died, and others are about to take over. (Nodes
        # that could never be reached are somebody's mistake, and waiting mends none.)
        return isinstance(error, NodeUnreachable) and self._lost_one

    def _let_client_send(self) -> None:
        """What a node that is left behind did not take holds the client back no more."""
        if self._client.granted < self._client.low:
            self._client.replenish()

    def _try_anew(self) -> None:
        if self._error is not None:
            return
        try:
            self._way.anew()
            self._try()
        except AgentringError as error:
            self._trouble(error)
        except Exception:
            self._fail_unexpectedly()

    def _ask_another(self) -> bool:
        if self._error is not None:
            return False
        node = self._node
        if node is None:
            return True  # the connection to it is being made, for which there is a time
        is_silent = node.heard_s <= self._asked_s
        losses = self._lost()
        if is_silent and not losses.leave_one:
            return False
        silent_id = self._way.node_id
        if not self._way.elsewhere():
            return False
        if is_silent:
            losses.before_taken(silent_id)
        self._try()
        return True
