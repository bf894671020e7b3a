"""Why a session is where it is, or would be made where: LocateSession's answer in words.

Says what the owner look-up does, of the same ring and snapshot; decides nothing. Pure. Called by services/cluster.py.
"""

from collections.abc import Collection, Mapping

from agentring.cluster.owners import Owner, UnreadableClaim
from agentring.cluster.ring import Ring
from agentring.cluster.snapshot import MembershipSnapshot, Node
from agentring.ids import NodeId, SessionRef
from agentring.v1 import cluster_pb2


def explain(
    ref: SessionRef,
    agent: str,
    owner: Owner | UnreadableClaim | None,
    ring: Ring,
    snapshot: MembershipSnapshot,
    held: Collection[NodeId],
    overloaded_s: Mapping[NodeId, float],
    *,
    bound: str = "",
) -> cluster_pb2.LocateSessionResponse:
    """agent: as the caller says, empty: any; bound: the agent that the session is bound to, which decides; empty: it
    does not exist, or nobody could say; held: nodes that are kept off the ring until they have stayed; overloaded_s:
    how many seconds ago nodes have refused new sessions for their load."""
    response = cluster_pb2.LocateSessionResponse(
        ring_position=ring.position(ref.ring_key), ring_revision=ring.revision, agent=bound
    )
    said, agent = agent, bound or agent
    on_ring = list(ring.candidates(ref.ring_key))
    listed = {node.node_id for node in on_ring}
    others = [node for node_id, node in sorted(snapshot.nodes.items()) if node_id not in listed]
    for node in (*on_ring, *others):
        objection = _objection(node, agent, held, overloaded_s)
        if objection is None and node.node_id not in listed:
            objection = "has just joined"  # the next ring holds it
        reason = objection or ("hosts the agent" if agent else "stands on the ring")
        response.candidates.add(node_id=node.node_id, accepted=objection is None, reason=reason)
    proposed = next((candidate.node_id for candidate in response.candidates if candidate.accepted), None)
    if isinstance(owner, Owner):
        response.node_id, response.address = owner.node_id, owner.address
        response.epoch, response.incarnation = owner.epoch, owner.incarnation
        response.claim_time.FromSeconds(owner.claimed_s)
    response.why = _why(owner, proposed, snapshot)
    if not (isinstance(owner, Owner) or any(agent in node.agents for node in snapshot.nodes.values()) or not agent):
        response.why = f"{response.why}: none hosts {agent}"
    if bound and said not in ("", bound):
        response.why = f"{response.why}; it is bound to {bound}, not to {said}"
    return response


def _objection(node: Node, agent: str, held: Collection[NodeId], overloaded_s: Mapping[NodeId, float]) -> str | None:
    """Why the node would not take a new session; None: it would."""
    if agent and agent not in node.agents:
        return f"does not host {agent}"
    if not node.active:
        return "drains"
    if node.node_id in held:
        return "comes and goes: it must stay first"
    if (ago_s := overloaded_s.get(node.node_id)) is not None:
        return f"refused a new session {ago_s:.0f} s ago: overloaded"
    return None


def _why(owner: Owner | UnreadableClaim | None, proposed: str | None, snapshot: MembershipSnapshot) -> str:
    if isinstance(owner, UnreadableClaim):
        return f"the claim's record, of {owner.size_bytes} bytes, cannot be read; {_until_taken(owner, proposed)}"
    if owner is None:
        if proposed is None:
            return "nobody holds the claim, and no node would take it"
        return f"nobody holds the claim; the ring proposes {proposed}"
    why = f"{owner.node_id} holds the claim"
    registered = snapshot.nodes.get(owner.node_id)
    if registered is None or registered.incarnation != owner.incarnation:
        return f"{why}, and is gone: {_until_taken(owner, proposed)}"
    if not registered.active:
        return f"{why}, and drains: it will hand the session on"
    if owner.node_id != proposed:
        return f"{why}; the ring would propose {proposed or 'nobody'} for a new session"
    return why


def _until_taken(owner: Owner | UnreadableClaim, proposed: str | None) -> str:
    """What becomes of a claim that nobody will give up (agentring/cluster/orphaned_claims.py)."""
    if owner.leased:
        return "the claim ends with its lease"
    return f"it has no lease, and whoever is asked next takes it over; the ring proposes {proposed or 'nobody'}"
