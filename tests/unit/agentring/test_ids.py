"""Which names are let in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentring.errors import InvalidSessionId, InvalidTaskKey, InvalidTenantId, InvalidTurnId
from agentring.ids import (
    DEFAULT_TENANT,
    SessionId,
    SessionRef,
    TaskKey,
    TaskRef,
    TenantId,
    parse_session,
    parse_task,
    parse_tenant,
    parse_turn_id,
)

NAMES = ["a", "A-z0.9_~:@", "...", ".a", "x" * 128]
NOT_NAMES = [
    *("", ".", "..", "../x", "a/b", "a b", " a", "a ", "a%2Fb", "a,b", "a\\b"),
    *(
        "a\0",
        "a\n",
        "\na",
        "a\r",
        "é",
        "\N{CYRILLIC SMALL LETTER A}",
        "\N{ARABIC-INDIC DIGIT ONE}",
        "\N{FULLWIDTH LATIN SMALL LETTER A}",
    ),
    *("x" * 129, "x" * 1_000_000),
]
names = st.text("abcXYZ019._~:@-", min_size=1, max_size=128).filter(lambda name: name not in (".", ".."))


@pytest.mark.parametrize("name", NAMES)
def test_a_well_formed_name_is_taken_as_it_is(name: str) -> None:
    assert parse_session(name, name) == SessionRef(TenantId(name), SessionId(name))
    assert parse_tenant(name) == name
    assert parse_turn_id(name) == name


@pytest.mark.parametrize("name", NOT_NAMES)
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidSessionId):
        parse_session("t", name)
    with pytest.raises(InvalidTurnId):
        parse_turn_id(name)
    if name:
        with pytest.raises(InvalidTenantId):
            parse_tenant(name)
        with pytest.raises(InvalidTenantId):
            parse_session(name, "s")
        with pytest.raises(InvalidTenantId):
            parse_task(name, "t")


@pytest.mark.parametrize("key", ["a", "!", "~", "/", "a/b?c=d%20", '{"x":1}', "x" * 256])
def test_a_task_key_is_any_printable_ascii_but_the_space(key: str) -> None:
    assert parse_task("t", key) == TaskRef(TenantId("t"), TaskKey(key))


@pytest.mark.parametrize("key", ["", " ", "a b", "a\n", "\x7f", "a\0", "é", "x" * 257])
def test_any_other_task_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidTaskKey):
        parse_task("t", key)


def test_no_tenant_is_the_default_one() -> None:
    assert parse_tenant("") == DEFAULT_TENANT
    assert parse_session("", "s").tenant == DEFAULT_TENANT
    assert parse_task("", "t").tenant == DEFAULT_TENANT


@given(names, names, names, names)
def test_no_two_sessions_or_tasks_share_a_ring_key(tenant: str, name: str, other_tenant: str, other: str) -> None:
    session, task = parse_session(tenant, name), parse_task(tenant, name)
    assert session.ring_key != task.ring_key
    same = (tenant, name) == (other_tenant, other)
    assert (session.ring_key == parse_session(other_tenant, other).ring_key) == same
    assert (task.ring_key == parse_task(other_tenant, other).ring_key) == same


@given(st.text(max_size=20))
def test_whatever_comes_is_a_name_or_refused(word: str) -> None:
    try:
        assert parse_session("", word).session_id == word
        assert word.isascii()
        assert not set(word) & set("/%\\ \0\n\r\t,")
    except InvalidSessionId:
        pass
