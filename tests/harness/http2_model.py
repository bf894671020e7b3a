"""Honest clients and nodes that do whatever is allowed, in any order, and a model of what each must have been told.

Nodes and their connections are lost at any time. A call that can be re-attached has one event log, which each node that
takes it goes on with after what it is told that the client has: the client must be told every number once and in order.

A step is an operation and three numbers, which choose among what there is. At the end everybody reads, acknowledges and
answers: then every byte must have arrived and every call must have ended, or the data plane has forgotten somebody.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from agentring.http2.frames import Setting
from harness.http2_actors import LONGEST_BYTES, OPERATIONS, WINDOWS, Actors, Step, set_reading
from harness.http2_calls import MARKED, Answered, Sent
from harness.http2_checks import check, nothing_unexpected
from harness.http2_frames import FOREIGN, message
from router.relay.losses import MAX_LOSSES


class Model(Actors):
    """Runs steps."""

    def run(self, steps: list[Step]) -> None:
        """The steps, and then what everybody is owed."""
        with nothing_unexpected():
            for operation, first, second, third in steps:
                OPERATIONS[operation % len(OPERATIONS)](self, first, second, third)
                self.check()
            self.finish()

    # What must hold.

    def check(self) -> None:
        """At every moment."""
        self.look()
        check([peer.connection for peer in self.wire.peers], self.wire.budget, LONGEST_BYTES)
        for peer in self.wire.peers:
            assert peer.goaway is None or peer.connection.broken_for in ("", "keepalive timeout", "idle")
        by_call: dict[int, list[Answered]] = {}
        for each in self.attempts.values():
            sent = self.calls[each.number]
            by_call.setdefault(each.number, []).append(each)
            assert each.expected(sent).startswith(each.heard.data), "a node was sent what the client did not say"
            assert each.first_frame - 1 <= sent.acked, "a message that no node has acknowledged is not sent again"
        for number, sent in enumerate(self.calls):
            self._not_carried_on(sent, by_call.get(number, []))
            if sent.path in MARKED:
                sent.heard_through()
                continue
            taken = [each for each in by_call.get(number, []) if each.accepted]
            heard = bytes(sent.heard.data)
            assert any(each.said.startswith(heard) for each in taken) or not heard, (
                "a client was told what no node said"
            )

    def _not_carried_on(self, sent: Sent, attempts: list[Answered]) -> None:
        """No service has a call twice that may have begun with it, and no call takes connection after connection."""
        if sent.path == FOREIGN:
            begun = [each for each in attempts if each.fate != "passed on"]
            assert len(begun) <= 1, "a service was asked twice"
        if not any(each.accepted for each in attempts):
            lost = [each for each in attempts if each.fate == "lost"]
            assert len(lost) <= MAX_LOSSES, "a call took connection after connection"

    def finish(self) -> None:
        """Everybody reads and answers, and so every call ends, with all that was said on it."""
        wire = self.wire
        wire.node_settings = {Setting.INITIAL_WINDOW_SIZE: 1 << 20}  # of connections that are made from now on
        for name in list(wire.pool.held):
            wire.pool.release(name, connected=True)
        for _ in range(4):
            for peer in wire.peers:
                peer.connection.resume()
                set_reading(peer, True)
                if peer.goaway is None and peer.connection.ended is None:
                    peer.h2.update_settings({Setting.INITIAL_WINDOW_SIZE: 1 << 20})
            wire.settle()
            self.look()
            while (found := self.attempt(0, accepted=False)) is not None:
                self.take(found)
            wire.settle()
            self._acknowledge_all()
        for sent in self.calls:
            if not sent.is_over and not sent.ended:
                self.say(sent, b"" if sent.messages else message(b""), whole=True)
                sent.client.send(sent.stream_id, b"", end=True)
                sent.ended = True
        for _ in range(8):
            wire.clock.advance(1.5)  # the longest pause between two tries
            wire.settle()
            self.look()
            while (found := self.attempt(0, accepted=False)) is not None:
                self.take(found)
            self._acknowledge_all()
        self.check()
        self._everything_arrived()
        while (found := self.attempt(0, accepted=True)) is not None:
            self.end_call(found, "0")
        wire.settle()
        self.check()
        for sent in self.calls:
            assert sent.is_over, f"a call of {sent.path} does not end"
        self._answers_arrived()
        for peer in wire.clients:
            assert not peer.connection.streams
        wire.close()

    def _acknowledge_all(self) -> None:
        for each in self.attempts.values():
            if each.accepted and not each.finished and self.is_open(each):
                self.tell(each, 0, True)
        self.wire.settle()

    def _everything_arrived(self) -> None:
        for each in self.attempts.values():
            sent = self.calls[each.number]
            if each.accepted and not each.finished and self.is_open(each) and not sent.is_over:
                assert sent.client.unsent_bytes(sent.stream_id) == 0, (
                    f"a client on {sent.path} waits for credit for ever"
                )
                assert each.heard.data == each.expected(sent), f"a node on {sent.path} was not sent all"
                assert each.heard.ended, f"a node on {sent.path} was not told the end"

    def _answers_arrived(self) -> None:
        for number, sent in enumerate(self.calls):
            if sent.heard.status != "0" or sent.client_left:
                continue
            ended = [each for each in self.attempts.values() if each.number == number and each.status == "0"]
            if sent.path in MARKED:
                assert sent.heard_through() in {each.seq for each in ended}, f"a client on {sent.path} was not told all"
            else:
                assert sent.heard.data in {bytes(each.said) for each in ended}, (
                    f"a client on {sent.path} was not sent all"
                )


_NUMBERS = st.integers(0, 100)
_STEPS = st.tuples(st.integers(0, len(OPERATIONS) - 1), _NUMBERS, _NUMBERS, _NUMBERS)
_BUDGETS = st.sampled_from([1 << 30, 1 << 30, 500_000, 20_000, 3_000])
MODELS = st.tuples(
    _BUDGETS,
    st.sampled_from(WINDOWS),
    st.sampled_from(WINDOWS),
    st.lists(_STEPS, max_size=20) | st.lists(_STEPS, min_size=20, max_size=100),
)


def _step(operation: Callable[[Actors, int, int, int], None], *numbers: int | None) -> st.SearchStrategy[Step]:
    """The operation, with these numbers; None, and those that are not given: any."""
    first, second, third = (
        _NUMBERS if number is None else st.just(number) for number in (*numbers, None, None, None)[:3]
    )
    return st.tuples(st.just(OPERATIONS.index(operation)), first, second, third)


_LOSS = (
    _step(Actors.lose_node, None, 0, 0)
    | _step(Actors.lose_node, None, 1, 0)
    | _step(Actors.break_off)
    | _step(Actors.finish_call, None, 1)
    | _step(Actors.finish_call, None, 11)
)
_ROUND = st.tuples(
    _step(Actors.send) | _step(Actors.end),
    _step(Actors.settle),
    _step(Actors.accept),
    _step(Actors.answer),
    _step(Actors.settle) | _step(Actors.exchange) | _step(Actors.answer) | _step(Actors.send) | _step(Actors.read),
    _LOSS | _step(Actors.hold) | _STEPS,
    _step(Actors.settle),
    _step(Actors.tick, 0) | _step(Actors.tick, 1),
    _step(Actors.settle),
)
_FAST_WINDOWS = st.sampled_from([1_000, 65_535, 1 << 24])
RETURNS = st.tuples(
    _BUDGETS,
    _FAST_WINDOWS,
    _FAST_WINDOWS,
    st.tuples(st.lists(_step(Actors.open), min_size=1, max_size=3), st.lists(_ROUND, min_size=2, max_size=8)).map(
        lambda drawn: [*drawn[0], *(step for steps in drawn[1] for step in steps)]
    ),
)
"""As MODELS, but most of it calls that lose their nodes again and again."""


def run_model(example: tuple[int, int, int, list[Step]]) -> None:
    """Budget, the clients' and the nodes' window, and what is done."""
    budget, window, node_window, steps = example
    Model(budget, window, node_window).run(steps)
