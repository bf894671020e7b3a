"""A call as far as its nodes are concerned: what the loss of one means for it, and which is asked next.

Guarantees: another node is asked only where nothing of the call can have reached a service, or where the method is
ours, whose nodes know what they have had before (RouteAttempts.is_repeatable): so no method of anybody else's runs
twice. What a node says is a response, also where that is RST_STREAM or nonsense; only a connection that breaks, GOAWAY,
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


class CallFailover(CallEnd):
    """The part of a call that finds it a node; the rest is Call."""

    __slots__ = ("_accepted_s", "_attempts", "_losses", "_node_was_lost", "_opened_s")

    def __init__(self, context: RelayContext, client: ClientStream, attempts: RouteAttempts) -> None:
        """As Call."""
        self._attempts = attempts
        super().__init__(context, client, reattachable=attempts.reattachable)
        self._losses: Losses | None = None
        self._node_was_lost = False
        """A node that could be reached cannot any more."""
        self._opened_s = self._accepted_s = 0.0
        """When a node was sent it last, and when one has accepted it last."""

    @property
    def is_repeatable(self) -> bool:
        """As CallEvents."""
        return self._attempts.is_repeatable

    def refuse(self, error: AgentringError) -> None:
        """Ends the call with an error, after the message that the client may be sending."""
        if self._client.awaits_first_message:
            self.will_fail(error)
            self._await_first_message()
        else:
            self.fail(error)

    # The end of a node's stream that is not its response.

    def not_processed(self, cause: str) -> None:
        """As CallEvents."""
        if not self._needs_node():
            return
        if self._is_at_owner:
            self._look_for_owner(cause)
        elif self._attempts.retry_same_node():
            self._try()
        else:
            self._try_next()

    def node_lost(self, cause: str) -> None:
        """As CallEvents."""
        if not self._needs_node():
            return
        if self._is_at_owner and not self.reattachable:
            self._look_for_owner(cause)
        elif not self._is_at_owner and not self._attempts.is_repeatable:
            self._count_loss("not_repeatable")
            self._context.loss_log.write("call_lost", self._attempts.method, [self._attempts.node_id])
            self.refuse(NodeUnreachable())
        elif self._is_lost_too_often():
            self._count_loss("given_up")
            self._context.loss_log.write("call_given_up", self._attempts.method, self._loss_count().nodes)
            self.refuse(ConnectionsLost())
        elif self._is_at_owner:
            self._look_for_owner(cause)
        else:
            self._count_loss("tried_again")
            if self.reattachable and self._context.limits.reattach_timeout_s > 0:
                # Where many nodes die at once, the next one's connection may be about to break, too.
                self._wait_or_refuse(NodeUnreachable(), cause, at_once=False)
            elif cause == "connection" and self._attempts.retry_same_node():
                self._try()
            else:
                self._try_next()

    def session_moved(self) -> None:
        """The node says that the session goes on elsewhere."""
        if self._needs_node():
            self._look_for_owner("moved")

    def broken_off(self, error: AgentringError) -> None:
        """As CallEvents."""
        if self._needs_node():
            self.refuse(error)

    def _needs_node(self) -> bool:
        """The node's stream is over: whether anything is to be done about it."""
        if self.ended or self._error is not None:
            return False
        self._node_was_lost = True
        self._client.replay.node_lost()
        if self._timers is not None and self._timers.is_over:
            self.fail(DeadlineExceeded())
            return False
        return True

    def _is_lost_too_often(self) -> bool:
        losses = self._loss_count()
        if self._is_at_owner:
            served_s = self._context.clock.time() - self._accepted_s
            losses.after_accepted(self._attempts.node_id, self._client.last_response, served_s)
        else:
            losses.before_accepted(self._attempts.node_id)
        return losses.are_too_many

    def _loss_count(self) -> Losses:
        if self._losses is None:
            self._losses = Losses()
        return self._losses

    def _count_loss(self, outcome: str) -> None:
        self._context.stats.lost_unaccepted[outcome] += 1

    # Which node.

    @property
    def _is_at_owner(self) -> bool:
        """A node has accepted it, and no other is being looked for."""
        return self.is_accepted and not (self._reattachment is not None and self._reattachment.is_on)

    def _try(self) -> None:
        """Asks for a connection to the target."""
        raise NotImplementedError

    def _look_for_owner(self, cause: str) -> None:
        self._attempts.forget_owner()
        self._wait_or_refuse(NodeUnreachable(), cause)

    def _try_next(self) -> None:
        """The node that was asked cannot be reached."""
        try:
            self._attempts.skip_unreachable()
            self._try()
        except AgentringError as error:
            self._wait_or_refuse(error)

    def _wait_or_refuse(self, error: AgentringError, cause: str = "moving", *, at_once: bool = True) -> None:
        """No node takes the call now. A client's stream that can be re-attached waits for its session's next owner,
        also where it is opened while the session moves; any other call ends. at_once: the first try comes without a
        pause."""
        if not (self.reattachable and self._helps_to_wait(error)):
            self.refuse(error)
            return
        self._leave_node()
        self._let_client_send()
        if self._reattachment is None:
            context = self._context
            timeout_s = context.limits.reattach_timeout_s
            self._reattachment = Reattachment(
                context.clock,
                context.registry,
                context.stats,
                timeout_s,
                self._try_owner,
                self._ask_another,
                self.refuse,
            )
        if not self._reattachment.is_on:
            self._reattachment.begin(cause, self._client.last_response, at_once=at_once)
        self._reattachment.try_later(error)

    def _helps_to_wait(self, error: AgentringError) -> bool:
        # Nodes that host the agent of a call that was accepted have been there, and may be on their way back.
        waits = error.retry_after_s is not None or isinstance(error, AgentNotFound)
        if self.is_accepted:
            return waits
        if isinstance(error, SessionMoving | OwnerUnreachable | AgentUnavailable):
            return True
        # Where no member can be reached, but some could, they have just died, and others are about to take over. (Nodes
        # that could never be reached are somebody's mistake, and waiting mends none.)
        return isinstance(error, NodeUnreachable) and self._node_was_lost

    def _let_client_send(self) -> None:
        """What a node that is left behind did not take holds the client back no more."""
        if self._client.granted < self._client.low:
            self._client.replenish()

    def _try_owner(self) -> None:
        if self._error is not None:
            return
        try:
            self._attempts.restart()
            self._try()
        except AgentringError as error:
            self._wait_or_refuse(error)
        except Exception:
            self._fail_unexpectedly()

    def _ask_another(self) -> bool:
        if self._error is not None:
            return False
        node = self._node
        if node is None:
            return True  # the connection to it is being made, for which there is a time
        is_silent = node.heard_s <= self._opened_s
        losses = self._loss_count()
        if is_silent and not losses.allow_another:
            return False
        silent_id = self._attempts.node_id
        if not self._attempts.skip_slow():
            return False
        # Invariant: what it was sent is a retry at the next one, which may be itself: else the events that the client
        # is being sent already are sent again (tests/unit/router/relay/test_reattachment_tries.py).
        self._client.replay.node_lost()
        if is_silent:
            losses.before_accepted(silent_id)
        self._try()
        return True
