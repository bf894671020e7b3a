"""What a halt is about, as callers say it, as etcd has it, and as it is asked for by a session or a task."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentring.cluster.etcd.types import KeyValue
from agentring.cluster.halts import Halt, HaltScope, decoded, of_record, read_scope, scopes_of
from agentring.cluster.keys import Keys
from agentring.cluster.records import encode
from agentring.errors import AgentringError, InvalidHalt, InvalidSessionId, InvalidTenantId
from agentring.ids import Revision, parse_session, parse_task
from agentring.v1 import halt_pb2
from agentring.v1.halt_pb2 import HALT_KIND_AGENT, HALT_KIND_ALL, HALT_KIND_SESSION, HALT_KIND_TENANT
from agentring.v1.halt_pb2 import HaltScope as Said
from harness.halts import EVERYTHING, agent, everywhere, halted, session, tenant

KEYS = Keys("c")
SCOPES = st.one_of(
    st.just(EVERYTHING),
    st.builds(everywhere, st.text(min_size=1, max_size=5)),
    st.builds(tenant, st.sampled_from("ab")),
    st.builds(agent, st.text(min_size=1, max_size=5), st.sampled_from("ab")),
    st.builds(session, st.sampled_from(["s", "t.u"]), st.sampled_from("ab")),
)


@given(SCOPES, SCOPES)
def test_each_scope_has_a_key_and_a_record_of_its_own(one: HaltScope, other: HaltScope) -> None:
    assert (one.key(KEYS) == other.key(KEYS)) == (one == other)
    assert (one.what == other.what) == (one == other)
    assert one.key(KEYS).startswith(KEYS.halts)
    assert read_scope(one.to_message()) == one
    halt = Halt(one, "h", True, "ada", 1_700_000_000_000_000_001, "why")
    kv = KeyValue(one.key(KEYS), encode(halt.to_record()), Revision(1), Revision(1), 0)
    assert list(decoded([kv]).values()) == [halt]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (Said(), InvalidHalt),
        (Said(kind=HALT_KIND_SESSION), InvalidSessionId),
        (Said(kind=HALT_KIND_SESSION, session_id="s", agent="a"), InvalidHalt),
        (Said(kind=HALT_KIND_SESSION, session_id="s", tenant_id="no tenant"), InvalidTenantId),
        (Said(kind=HALT_KIND_AGENT), InvalidHalt),
        (Said(kind=HALT_KIND_AGENT, agent="a" * 257), InvalidHalt),
        (Said(kind=HALT_KIND_AGENT, agent="a", session_id="s"), InvalidHalt),
        (Said(kind=HALT_KIND_TENANT, agent="a"), InvalidHalt),
        (Said(kind=HALT_KIND_ALL, tenant_id="t"), InvalidHalt),
        (Said(kind=HALT_KIND_ALL, session_id="s"), InvalidHalt),
    ],
)
def test_a_scope_that_says_too_little_or_two_things_is_refused(said: Said, error: type[AgentringError]) -> None:
    with pytest.raises(error):
        read_scope(said, "t")


def test_the_tenant_is_the_caller_s_where_none_is_named() -> None:
    assert read_scope(Said(kind=HALT_KIND_TENANT), "mine") == tenant("mine")
    assert read_scope(Said(kind=HALT_KIND_TENANT)) == tenant()
    assert read_scope(Said(kind=HALT_KIND_ALL), "mine") == EVERYTHING


def test_a_session_is_in_five_scopes_and_a_task_in_four() -> None:
    ref = parse_session("t", "s")
    assert set(scopes_of(ref, "a")) == {
        EVERYTHING,
        everywhere("a"),
        tenant("t"),
        agent("a", "t"),
        session("s", "t"),
    }
    assert set(scopes_of(parse_task("t", "s"), "a")) == set(scopes_of(ref, "a")) - {session("s", "t")}


def test_what_is_no_record_of_ours_is_passed_over_and_others_are_read() -> None:
    halt = halted(tenant())
    too_long = halted(tenant("b")).to_record()
    too_long.by = "x" * 257
    values = [b"", b"{}", b"\xff", encode(halt_pb2.HaltRecord(v=1)), encode(too_long), encode(halt.to_record())]
    kvs = [KeyValue(f"k{n}", value, Revision(1), Revision(1), 0) for n, value in enumerate(values)]
    assert dict(decoded(kvs)) == {"k5": halt}
    with pytest.raises(InvalidHalt):
        of_record(too_long)


def test_callers_are_answered_what_by_whom_since_when_and_how_it_is_resumed() -> None:
    error = halted(session("s", "t")).error()
    assert error.variables == {
        "what": "--session s --tenant t",
        "by": "ada",
        "since": "2023-11-14T22:13:20Z",
    }
    assert not error.retryable
    assert [scope.options for scope in (EVERYTHING, everywhere("a"), tenant("t"), agent("a b", "t"))] == [
        "--all",
        "--all --agent a",
        "--tenant t",
        "--agent 'a b' --tenant t",
    ]
