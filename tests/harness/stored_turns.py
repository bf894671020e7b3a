"""Turns as a session hands them to its store, and whose store it is."""

from dataclasses import replace

from agent_node.store import StoredTurn, TurnCommit
from agent_node.store.opening import ClusterIdentity
from agentring.agent import PastTurn
from agentring.cluster.owners import epoch_of
from agentring.ids import Epoch, Revision
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import TURN_STATE_ACCEPTED, TURN_STATE_CANCELLED, TURN_STATE_COMPLETED

HERE = ClusterIdentity(generation=1, cluster_uuid="uuid", machine_id="machine", boot_id="boot")


def epoch(revision: int) -> Epoch:
    """Of a cluster's first generation."""
    return epoch_of(1, Revision(revision))


def accepted(number: int, turn_id: str = "") -> StoredTurn:
    """The session's turn of this number."""
    turn_input = session_pb2.Input(text=f"in {number}").SerializeToString()
    name = turn_id or f"t{number}"
    state, seq, life_id = TURN_STATE_ACCEPTED, 10 * number, f"life-{number}"
    return StoredTurn(name, b"f" * 32, number, turn_input, state, 1, seq, life_id=life_id)


def cancelled(turn: StoredTurn) -> StoredTurn:
    return _ended(turn, TURN_STATE_CANCELLED)


def completed(turn: StoredTurn, state_json: str | None = None) -> TurnCommit:
    ended = _ended(turn, TURN_STATE_COMPLETED)
    return TurnCommit(ended, state_json, PastTurn(f"in {turn.number}", f"out {turn.number}"))


def _ended(turn: StoredTurn, state: session_pb2.TurnState.ValueType) -> StoredTurn:
    end_seq = turn.accepted_seq + 5
    outcome = session_pb2.Event(seq=end_seq, turn_id=turn.turn_id).SerializeToString()
    return replace(turn, state=state, input=b"", end_seq=end_seq, outcome=outcome)
