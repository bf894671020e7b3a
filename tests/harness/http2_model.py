"""Honest clients and nodes that do whatever is allowed, in any order, and a model of what each must have been told.

A step is an operation and three numbers, which choose among what there is. At the end everybody reads, acknowledges and
answers: then every byte must have arrived and every call must have ended, or the data plane has forgotten somebody.
"""

from __future__ import annotations

from hypothesis import strategies as st

from harness.http2_actors import LONGEST_BYTES, MARKED, OPERATIONS, WINDOWS, Actors, Step, set_reading
from harness.http2_calls import Answered
from harness.http2_checks import check, nothing_unexpected
from harness.http2_frames import message
from router.http2.frames import Setting


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
            number = int(each.heard.told["x-call"])
            by_call.setdefault(number, []).append(each)
            assert self.calls[number].said.startswith(each.heard.data), "a node was sent what the client did not say"
        for number, sent in enumerate(self.calls):
            taken = [each for each in by_call.get(number, []) if each.accepted]
            heard = bytes(sent.heard.data)
            assert len(taken) <= 1 or sent.path not in MARKED
            assert any(each.said.startswith(heard) for each in taken) or not heard, (
                "a client was told what no node said"
            )

    def finish(self) -> None:
        """Everybody reads and answers, and so every call ends, with all that was said on it."""
        wire = self.wire
        for name in list(wire.upstreams.held):
            wire.upstreams.let_go(name, connected=True)
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
        for _ in range(4):
            wire.settle()
            self.look()
            while (found := self.attempt(0, accepted=False)) is not None:
                self.take(found)
            self._acknowledge_all()
        self.check()
        self._everything_arrived()
        while (found := self.attempt(0, accepted=True)) is not None:
            found.finished = True
            found.node.finish(found.stream_id, "0")
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
            sent = self.calls[int(each.heard.told["x-call"])]
            if each.accepted and not each.finished and self.is_open(each) and not sent.is_over:
                assert sent.client.unsent_bytes(sent.stream_id) == 0, (
                    f"a client on {sent.path} waits for credit for ever"
                )
                assert each.heard.data == sent.said, f"a node on {sent.path} was not sent all"
                assert each.heard.ended, f"a node on {sent.path} was not told the end"

    def _answers_arrived(self) -> None:
        for each in self.attempts.values():
            sent = self.calls[int(each.heard.told["x-call"])]
            if each.accepted and each.finished and sent.heard.status == "0" and not sent.gone:
                assert sent.heard.data == each.said, f"a client on {sent.path} was not sent all"


_NUMBERS = st.integers(0, 100)
_STEPS = st.tuples(st.integers(0, len(OPERATIONS) - 1), _NUMBERS, _NUMBERS, _NUMBERS)
MODELS = st.tuples(
    st.sampled_from([1 << 30, 1 << 30, 500_000, 20_000, 3_000]),
    st.sampled_from(WINDOWS),
    st.sampled_from(WINDOWS),
    st.lists(_STEPS, max_size=20) | st.lists(_STEPS, min_size=20, max_size=100),
)


def run_model(example: tuple[int, int, int, list[Step]]) -> None:
    """Budget, the clients' and the nodes' window, and what is done."""
    budget, window, node_window, steps = example
    Model(budget, window, node_window).run(steps)
