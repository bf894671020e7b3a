"""What each role may do in etcd, key by key."""

from agentring.cluster.access import node_user, roles_of, router_user, users_of
from agentring.cluster.etcd.users import as_granted
from agentring.cluster.keys import Keys
from agentring.ids import NodeId, parse_once, parse_session, parse_task

KEYS = Keys("c")
A, B = NodeId("a"), NodeId("b/%")
SESSION = parse_session("t", "s")


def _may_write(user: str, key: str) -> bool:
    roles = {role.name: role for role in roles_of(KEYS, [A, B])}
    (mine,) = [each for each in users_of(KEYS, [A, B]) if each.name == user]
    granted = [as_granted(each) for name in mine.roles for each in roles[name].permissions if each.write]
    raw = key.encode()
    return any(each.key <= raw < each.range_end if each.range_end else each.key == raw for each in granted)


def test_each_writes_what_it_must_and_no_more() -> None:
    by_user = {user: set[str]() for user in (router_user(KEYS), node_user(KEYS, A), node_user(KEYS, B))}
    tried = {
        "session": KEYS.claim(SESSION),
        "task": KEYS.claim(parse_task("t", "k")),
        "once": KEYS.claim(parse_once("t", "k")),
        "agent": KEYS.agent("echo"),
        "mark": KEYS.store_mark,
        "probe": KEYS.probe,
        "halt": KEYS.halt("all"),
        "a": KEYS.node(A),
        "b": KEYS.node(B),
        "aa": KEYS.node(NodeId("aa")),
        "meta": KEYS.meta,
        "store": KEYS.store,
        "another cluster": Keys("cc").claim(SESSION),
        "another's beginning": Keys("c-").meta,
        "what is to come": f"{KEYS.root}anything",
    }
    for user, may in by_user.items():
        may |= {what for what, key in tried.items() if _may_write(user, key)}
    node = {"session", "task", "once", "agent", "mark", "probe"}
    assert list(by_user.values()) == [{"probe", "halt"}, {*node, "a"}, {*node, "b"}]


def test_all_of_the_cluster_is_read_and_nothing_of_another() -> None:
    for role in roles_of(KEYS, [])[:2]:
        assert [(each.key, each.prefix) for each in role.permissions if not each.write] == [("/agentring/c/", True)]
    assert roles_of(KEYS, [A])[2].name == "c/node/a"
