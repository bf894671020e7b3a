"""What honest clients and nodes do in the model of http2_model.py, one step at a time."""

from __future__ import annotations

from agentring.http2 import frames
from agentring.http2.frames import Code, Setting
from agentring.http2.limits import Limits
from agentring.v1 import session_pb2
from harness.http2 import Wire, cut
from harness.http2_calls import MARKED, Answered, Sent, whole_messages
from harness.http2_frames import CONVERSE, FOREIGN, GET_SESSION, RUN_TASK, marked, message
from harness.http2_peers import ClientPeer, NodePeer

Step = tuple[int, int, int, int]

_PATHS = (CONVERSE, CONVERSE, FOREIGN, GET_SESSION, RUN_TASK)
_ONE_MESSAGE = frozenset({GET_SESSION, RUN_TASK})
_SIZES = (0, 1, 11, 300, 5_000, 16_379, 16_380, 40_000, 70_000, 300_000)
LONGEST_BYTES = 300_064
WINDOWS = (0, 5, 1_000, 65_535, 300_000, 1 << 24, (1 << 31) - 1)
_MAX_CONNECTIONS = 4


class Actors:
    """Clients and nodes, and what each of them may do: the first number chooses who, the others how."""

    def __init__(self, budget: int, window: int, node_window: int) -> None:
        self.wire = Wire(
            "a",
            "b",
            "c",
            limits=Limits(),
            max_buffered_bytes=budget,
            node_settings={Setting.INITIAL_WINDOW_SIZE: node_window},
        )
        self.window = window
        self.calls: list[Sent] = []
        self.attempts: dict[tuple[int, int], Answered] = {}
        """By node's connection and stream."""
        self.client()
        self.paused: set[int] = set()

    # What clients do.

    def client(self) -> ClientPeer:
        peer = self.wire.client({Setting.INITIAL_WINDOW_SIZE: self.window})
        peer.pieces = lambda data: cut(data, [1, 8, 9, 10, 100, 5_000])
        return peer

    def open(self, path: int, session: int, routed: int) -> None:
        if not self.wire.clients or (session % 16 == 0 and len(self.wire.clients) < _MAX_CONNECTIONS):
            self.client()
        client = self.wire.clients[session % len(self.wire.clients)]
        if client.goaway is not None or len(client.connection.streams) > 50:
            return
        named, method = f"s{session % 5}", _PATHS[path % len(_PATHS)]
        by_message = method == CONVERSE and routed % 2 == 0
        fields = (("x-call", str(len(self.calls))), *((("grpc-timeout", "20S"),) if routed % 7 == 0 else ()))
        if method == RUN_TASK:
            fields = (*fields, ("x-task-key", named))
        stream_id = client.open(method, *fields, session=None if by_message or method == RUN_TASK else named)
        sent = Sent(client, stream_id, method, named)
        self.calls.append(sent)
        if by_message:
            opening = session_pb2.ConverseRequest(open=session_pb2.Open(session_id=named)).SerializeToString()
            self.say(sent, message(opening), whole=True)

    def send(self, which: int, size: int, how: int) -> None:
        if (sent := self._open_call(which)) is not None:
            if sent.part:
                self.say(sent, b"", whole=how % 2 == 0)
            elif sent.path not in _ONE_MESSAGE or not sent.messages:
                body = bytes([sent.messages % 256]) * _SIZES[size % len(_SIZES)]
                self.say(sent, message(body), whole=how % 3 != 0)

    def end(self, which: int, _second: int, _third: int) -> None:
        if (sent := self._open_call(which)) is not None:
            self.say(sent, b"", whole=True)
            sent.client.send(sent.stream_id, b"", end=True)
            sent.ended = True

    def reset(self, which: int, code: int, often: int) -> None:
        if often % 3 == 0 and (sent := self._open_call(which, ended=True)) is not None:
            sent.client.reset(sent.stream_id, code % 14)
            sent.client_left = True

    def lose_client(self, which: int, often: int, _third: int) -> None:
        if often % 4 == 0 and self.wire.clients:
            client = self.wire.clients.pop(which % len(self.wire.clients))
            client.lose()
            for sent in self.calls:
                sent.client_left = sent.client_left or sent.client is client

    def _open_call(self, which: int, *, ended: bool = False) -> Sent | None:
        found = [sent for sent in self.calls if not sent.is_over and (ended or not sent.ended)]
        return found[which % len(found)] if found else None

    def say(self, sent: Sent, data: bytes, *, whole: bool) -> None:
        if data:
            sent.starts.append(len(sent.said) + len(sent.part))
        rest = sent.part + data
        now = rest if whole else rest[: len(rest) // 2]
        sent.part = rest[len(now) :]
        sent.said += now
        sent.client.send(sent.stream_id, now)

    # What nodes do.

    def accept(self, which: int, _second: int, _third: int) -> None:
        if (found := self.attempt(which, accepted=False)) is not None:
            self.take(found)

    def answer(self, which: int, size: int, acknowledges: int) -> None:
        if (found := self.attempt(which, accepted=True)) is not None:
            self.tell(found, _SIZES[size % len(_SIZES)], acknowledges % 2 == 0)

    def finish_call(self, which: int, status: int, _third: int) -> None:
        if (found := self.attempt(which, accepted=True)) is not None:
            self.end_call(found, str(status % 12))

    def decline(self, which: int, to: int, how: int) -> None:
        if (found := self.attempt(which, accepted=False)) is None:
            return
        if how % 3 == 0:
            found.fate = "passed on"
            found.node.redirect(found.stream_id, "abcd"[to % 4])
        elif how % 3 == 1:
            found.fate = "passed on"
            found.node.refuse(found.stream_id, ("overloaded", "draining", "agent=x")[to % 3])
        else:
            found.status = str(to % 17)
            found.node.decline(found.stream_id, found.status)
        found.finished = True

    def break_off(self, which: int, code: int, accepted: int) -> None:
        if (found := self.attempt(which, accepted=accepted % 2 == 0)) is not None:
            if code % 2:
                found.fate = "passed on"
            found.node.reset(found.stream_id, Code.REFUSED_STREAM if code % 2 else code % 14)
            found.finished = True

    def lose_node(self, which: int, goaway: int, often: int) -> None:
        nodes = [peer for peers in self.wire.nodes.values() for peer in peers]
        if not nodes or often % 3:
            return
        node = nodes[which % len(nodes)]
        if goaway % 2:
            self._go_away(node, last_stream_id=goaway % 9)
        else:
            self.look()
            for each in self.attempts.values():
                if each.node is node and not each.finished and self.is_open(each):
                    each.fate = "lost"
            node.lose()
            self.wire.nodes[node.name].remove(node)

    def _go_away(self, node: NodePeer, last_stream_id: int) -> None:
        """By hand, since h2 takes nothing any more after its own GOAWAY."""
        node.last_stream_id = min(last_stream_id, node.last_stream_id)
        self.look()
        for each in self.attempts.values():
            if each.node is node and each.stream_id > last_stream_id:
                each.fate = "passed on"
                node.drop_backlog(each.stream_id)
        if node.connection.ended is None:
            node.connection.receive(frames.goaway(node.last_stream_id, Code.NO_ERROR), self.wire.clock.time())

    def hold(self, which: int, connected: int, _third: int) -> None:
        name = "abcd"[which % 4]
        if name in self.wire.pool.held:
            self.wire.pool.release(name, connected=connected % 3 != 0)
        else:
            self.wire.pool.held.add(name)

    def attempt(self, which: int, *, accepted: bool) -> Answered | None:
        self.look()
        found = [
            each
            for each in self.attempts.values()
            if each.accepted == accepted and not each.finished and self.is_open(each)
        ]
        return found[which % len(found)] if found else None

    def take(self, found: Answered) -> None:
        found.accepted = True
        found.node.accept(found.stream_id)
        found.node.exchange()  # or it could be lost with its connection, and another node may take the call

    def is_open(self, each: Answered) -> bool:
        alive = each.node in self.wire.nodes.get(each.node.name, ())
        return alive and each.heard.reset is None and each.node.may_send(each.stream_id)

    def look(self) -> None:
        for peer in [peer for peers in self.wire.nodes.values() for peer in peers]:
            for stream_id in peer.streams:
                each = self.attempts.setdefault((id(peer), stream_id), Answered(peer, stream_id))
                each.finished = each.finished or stream_id > peer.last_stream_id

    def tell(self, found: Answered, size: int, acknowledges: bool) -> None:
        sent = self.calls[found.number]
        found.seq += 1
        if sent.path not in MARKED:
            acked = whole_messages(found.heard.data) if acknowledges else 0
            answer = marked(found.seq, acked, bytes([found.seq % 256]) * size)
        else:
            acked = found.safe_frames() if acknowledges else 0
            sent.acked = max(sent.acked, acked)
            if found.seq > len(sent.event_log):
                sent.event_log.append(bytes([found.seq % 256]) * size)
            answer = marked(found.seq, acked, sent.event_log[found.seq - 1])
        found.said += answer
        found.node.send(found.stream_id, answer)

    def end_call(self, found: Answered, status: str) -> None:
        found.finished = True
        found.status = status
        moved_fields = (("x-agentring-moved", "1"),) if status == "11" else ()
        found.node.finish(found.stream_id, status, *moved_fields)

    # What either side does.

    def settle(self, _first: int, _second: int, _third: int) -> None:
        self.wire.settle()

    def exchange(self, which: int, _second: int, _third: int) -> None:
        peers = self.wire.peers
        if peers:
            peers[which % len(peers)].exchange()

    def read(self, which: int, reads: int, _third: int) -> None:
        peers = self.wire.peers
        if peers:
            set_reading(peers[which % len(peers)], reads % 2 == 0)

    def change_window(self, which: int, window: int, _third: int) -> None:
        peers = self.wire.peers
        peer = peers[which % len(peers)] if peers else None
        if peer is not None and peer.goaway is None and peer.connection.ended is None:
            wanted = WINDOWS[window % len(WINDOWS)]
            if wanted < 1 << 30 or not peer.streams:  # credit given besides must not bring a window out of bounds
                peer.h2.update_settings({Setting.INITIAL_WINDOW_SIZE: wanted})

    def ping(self, which: int, _second: int, _third: int) -> None:
        peers = self.wire.peers
        peer = peers[which % len(peers)] if peers else None
        if peer is not None and peer.goaway is None:
            peer.h2.ping(bytes(8))

    def pause(self, which: int, resume: int, _third: int) -> None:
        peers = self.wire.peers
        if peers:
            connection = peers[which % len(peers)].connection
            if resume % 2:
                connection.resume()
            else:
                connection.pause()

    def tick(self, seconds: int, _second: int, _third: int) -> None:
        self.wire.clock.advance(seconds % 12)
        for peer in self.wire.peers:
            peer.connection.tick(self.wire.clock.time())


def set_reading(peer: ClientPeer | NodePeer, reads: bool) -> None:
    peer.reads = reads
    if reads and peer.goaway is None and peer.connection.ended is None:
        for stream_id in peer.streams:
            peer.credit(stream_id)


OPERATIONS = (
    Actors.open,
    Actors.open,
    Actors.send,
    Actors.send,
    Actors.send,
    Actors.end,
    Actors.reset,
    Actors.lose_client,
    Actors.accept,
    Actors.accept,
    Actors.answer,
    Actors.answer,
    Actors.finish_call,
    Actors.decline,
    Actors.break_off,
    Actors.lose_node,
    Actors.hold,
    Actors.settle,
    Actors.settle,
    Actors.settle,
    Actors.exchange,
    Actors.read,
    Actors.change_window,
    Actors.ping,
    Actors.pause,
    Actors.tick,
)
