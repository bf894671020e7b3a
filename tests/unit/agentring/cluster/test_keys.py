"""No name leaves its place in etcd."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentring.cluster.etcd.messages import prefix_end
from agentring.cluster.keys import Keys
from agentring.ids import NodeId, SessionId, SessionRef, TaskKey, TaskRef, TenantId

KEYS = Keys("main")

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
"""Any text that UTF-8 can hold, so more than what agentring.ids lets in."""


def session(tenant: str, session_id: str) -> SessionRef:
    return SessionRef(TenantId(tenant), SessionId(session_id))


def task(tenant: str, task_key: str) -> TaskRef:
    return TaskRef(TenantId(tenant), TaskKey(task_key))


def test_where_things_stand() -> None:
    assert KEYS.root == "/agentring/main/"
    assert KEYS.meta == "/agentring/main/meta"
    assert KEYS.nodes == "/agentring/main/nodes/"
    assert KEYS.node(NodeId("n1")) == "/agentring/main/nodes/n1"
    assert KEYS.claim(session("default", "s1")) == "/agentring/main/sessions/default/s1"
    assert KEYS.claim(task("default", "t1")) == "/agentring/main/tasks/default/t1"


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("a/b", "a%2Fb"),
        ("../x", "..%2Fx"),
        ("a%2Fb", "a%252Fb"),
        ("a b", "a%20b"),
        ("\0\n", "%00%0A"),
        ("über", "%C3%BCber"),
        ("A-z0.9_~", "A-z0.9_~"),
        ("me@home:1", "me%40home%3A1"),
    ],
)
def test_names_are_percent_encoded(name: str, encoded: str) -> None:
    assert KEYS.node(NodeId(name)) == f"/agentring/main/nodes/{encoded}"
    assert KEYS.claim(session(name, name)) == f"/agentring/main/sessions/{encoded}/{encoded}"
    assert KEYS.claim(task(name, name)) == f"/agentring/main/tasks/{encoded}/{encoded}"
    assert Keys(name).root == f"/agentring/{encoded}/"


@given(names)
def test_a_nodes_name_is_read_back_from_its_key(name: str) -> None:
    assert KEYS.node_id_of(KEYS.node(NodeId(name))) == name


@given(names, names)
def test_no_name_leaves_its_place(first: str, second: str) -> None:
    part = "[A-Za-z0-9._~%-]+"
    assert re.fullmatch(f"/agentring/main/nodes/{part}", KEYS.node(NodeId(first)))
    assert re.fullmatch(f"/agentring/main/sessions/{part}/{part}", KEYS.claim(session(first, second)))
    assert re.fullmatch(f"/agentring/main/tasks/{part}/{part}", KEYS.claim(task(first, second)))
    assert re.fullmatch(f"/agentring/{part}/", Keys(first).root)


@given(st.tuples(names, names), st.tuples(names, names))
def test_different_names_have_different_keys(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (KEYS.claim(session(*one)) == KEYS.claim(session(*other))) == (one == other)
    assert KEYS.claim(session(*one)) != KEYS.claim(task(*one))


@given(names, names)
def test_a_range_of_one_clusters_nodes_holds_no_others_key(one: str, other: str) -> None:
    """etcd compares bytes: first key <= key < end."""
    nodes = Keys(one).nodes
    first, end = nodes.encode(), prefix_end(nodes)
    assert first <= Keys(one).node(NodeId(other)).encode() < end
    if one != other:
        for key in (Keys(other).node(NodeId(one)), Keys(other).meta, Keys(other).claim(session(one, one))):
            assert not first <= key.encode() < end
    for key in (Keys(one).meta, Keys(one).claim(session(other, other)), Keys(one).claim(task(other, other))):
        assert not first <= key.encode() < end
