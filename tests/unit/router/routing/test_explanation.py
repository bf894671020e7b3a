"""What LocateSession says of each node, and of the owner."""

from dataclasses import replace

from agentring.cluster.owners import Owner, UnreadableClaim
from agentring.cluster.ring import Ring
from agentring.cluster.snapshot import MembershipSnapshot, Node
from agentring.ids import Epoch, Incarnation, NodeId, parse_session
from agentring.v1.cluster_pb2 import LocateSessionResponse
from harness.memberships import node, snapshot
from router.routing.explanation import explain

REF = parse_session("", "s")


def explained(
    *nodes: Node,
    agent: str = "",
    owner: Owner | UnreadableClaim | None = None,
    held: str = "",
    overloaded: str = "",
    bound: str = "",
) -> LocateSessionResponse:
    """As a router with these nodes says it; held: kept off the ring; overloaded: refused 3 s ago."""
    members = snapshot(*nodes)
    steady = MembershipSnapshot(
        members.revision, {node_id: each for node_id, each in members.nodes.items() if node_id != held}
    )
    ago_s = {NodeId(overloaded): 3.2} if overloaded else {}
    return explain(REF, agent, owner, Ring(steady), members, {NodeId(held)}, ago_s, bound=bound)


def owned(by: str, incarnation: int = 1) -> Owner:
    return Owner(NodeId(by), f"{by}:1", Incarnation(incarnation), Epoch(77), claimed_s=1_000)


def said(response: LocateSessionResponse) -> dict[str, tuple[bool, str]]:
    return {each.node_id: (each.accepted, each.reason) for each in response.candidates}


def test_candidates_come_in_the_rings_order_and_each_says_why() -> None:
    nodes = [
        node("a"),
        node("b", agents=("other",)),
        node("c"),
        node("d", active=False),
        node("e"),
        node("f", active=False, agents=("other",)),
    ]
    response = explained(*nodes, agent="echo", held="e", overloaded="c")
    on_ring = [each.node_id for each in Ring(snapshot(*nodes[:3])).candidates(REF.ring_key)]
    assert [each.node_id for each in response.candidates] == [*on_ring, "d", "e", "f"]
    assert said(response) == {
        "a": (True, "hosts the agent"),
        "b": (False, "does not host echo"),
        "c": (False, "refused a new session 3 s ago: overloaded"),
        "d": (False, "drains"),
        "e": (False, "comes and goes: it must stay first"),
        "f": (False, "does not host echo"),
    }
    assert response.why == "nobody holds the claim; the ring proposes a"


def test_without_an_agent_whoever_stands_on_the_ring_would_take_it() -> None:
    response = explained(node("a"), node("b", agents=("other",)))
    assert set(said(response).values()) == {(True, "stands on the ring")}


def test_nobody_would_take_it() -> None:
    response = explained(node("a", active=False))
    assert (response.node_id, response.why) == ("", "nobody holds the claim, and no node would take it")


def test_an_owner_is_told_with_its_epoch_and_the_time_of_its_claim() -> None:
    response = explained(node("a"), owner=owned("a"))
    assert (response.node_id, response.address, response.epoch, response.incarnation) == ("a", "a:1", 77, 1)
    assert response.claim_time.seconds == 1_000
    assert response.why == "a holds the claim"


def test_an_owner_that_is_not_what_the_ring_proposes_drains_or_is_gone() -> None:
    first, second = Ring(snapshot(node("a"), node("b"))).candidates(REF.ring_key)
    whys = [
        explained(first, second, owner=owned(second.node_id)).why,
        explained(first, replace(second, active=False), owner=owned(second.node_id)).why,
        explained(first, owner=owned(second.node_id)).why,
        explained(first, second, owner=owned(second.node_id, incarnation=9)).why,
    ]
    holds = f"{second.node_id} holds the claim"
    assert whys == [
        f"{holds}; the ring would propose {first.node_id} for a new session",
        f"{holds}, and drains: it will hand the session on",
        f"{holds}, and is gone: the claim ends with its lease",
        f"{holds}, and is gone: the claim ends with its lease",
    ]


def test_the_agent_that_a_session_is_bound_to_decides_whatever_the_caller_says() -> None:
    nodes = [node("a", agents=("echo", "other")), node("b", agents=("other",))]
    for agent in ("", "other"):
        response = explained(*nodes, agent=agent, bound="echo")
        assert response.agent == "echo"
        assert said(response) == {"a": (True, "hosts the agent"), "b": (False, "does not host echo")}
        conflict = "" if not agent else "; it is bound to echo, not to other"
        assert response.why == f"nobody holds the claim; the ring proposes a{conflict}"


def test_an_agent_that_no_node_hosts_is_named() -> None:
    why = "nobody holds the claim, and no node would take it: none hosts"
    assert explained(node("a"), bound="gone").why == f"{why} gone"
    assert explained(node("a"), agent="gone").why == f"{why} gone"


def test_a_claim_that_nobody_will_give_up_says_what_becomes_of_it() -> None:
    lost, torn = replace(owned("b"), leased=False), UnreadableClaim(7, leased=False)
    taken = "it has no lease, and whoever is asked next takes it over; the ring proposes a"
    assert explained(node("a"), owner=lost).why == f"b holds the claim, and is gone: {taken}"
    response = explained(node("a"), owner=torn)
    assert (response.node_id, response.why) == ("", f"the claim's record, of 7 bytes, cannot be read; {taken}")
    leased = explained(node("a"), owner=replace(torn, leased=True))
    assert leased.why == "the claim's record, of 7 bytes, cannot be read; the claim ends with its lease"
