"""What stores list: a tenant's sessions, page by page, and the sessions whose turns have not ended."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.dialects import sqlite

from agent_node.store import EventRow, ListedSession, OpenSession, Ownership, SessionFilter, Store, StoredInput
from agent_node.store.sql import session_lists as lists
from agent_node.store.sql.sessions import SqlStore
from agentring.ids import DEFAULT_TENANT, SessionRef, TenantId, parse_session
from agentring.v1.session_pb2 import TURN_STATE_RUNNING, InputRequired
from harness.stored_turns import accepted, cancelled, completed, epoch

ALL = SessionFilter()
OTHERS = TenantId("other")


def owned(session_id: str, tenant: str = "", revision: int = 1) -> Ownership:
    return Ownership(parse_session(tenant, session_id), epoch(revision), "n1/1")


async def made(store: Store, *session_ids: str, tenant: str = "", agent: str = "agent") -> None:
    for session_id in session_ids:
        await store.activate(owned(session_id, tenant), agent)


async def ids(
    store: Store, which: SessionFilter = ALL, *, tenant: TenantId = DEFAULT_TENANT, at_most: int = 10
) -> list[list[str]]:
    """The pages."""
    pages: list[list[str]] = []
    after = ""
    while page := [each.session_id for each in await store.list_sessions(tenant, which, after, at_most)]:
        pages.append(list(page))
        after = page[-1]
    return pages


async def test_pages_follow_each_other_in_the_order_of_the_ids(store: Store) -> None:
    await made(store, "c", "a", "e", "b", "d")
    assert await ids(store, at_most=2) == [["a", "b"], ["c", "d"], ["e"]]
    assert await ids(store, at_most=5) == [["a", "b", "c", "d", "e"]]


async def test_what_comes_and_goes_between_pages_moves_nothing_else(store: Store) -> None:
    await made(store, "b", "d", "f")
    assert [each.session_id for each in await store.list_sessions(DEFAULT_TENANT, ALL, "", 2)] == ["b", "d"]
    await made(store, "a", "e")
    assert [each.session_id for each in await store.list_sessions(DEFAULT_TENANT, ALL, "d", 2)] == ["e", "f"]
    assert [each.session_id for each in await store.list_sessions(DEFAULT_TENANT, ALL, "gone", 2)] == []


async def test_another_tenants_sessions_are_not_listed(store: Store) -> None:
    await made(store, "s", "t")
    await made(store, "s", "u", tenant="other")
    assert await ids(store) == [["s", "t"]]
    assert await ids(store, tenant=OTHERS) == [["s", "u"]]
    assert await ids(store, tenant=TenantId("nobody")) == []


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (SessionFilter("chat-"), ["chat-1", "chat-2"]),
        (SessionFilter("chat"), ["chat", "chat-1", "chat-2", "chat~"]),
        (SessionFilter("Chat"), ["Chat-1"]),
        (SessionFilter("chat_"), []),
        (SessionFilter("zzz"), []),
        (SessionFilter(agent="other"), ["chat-2"]),
        (SessionFilter("chat", "agent"), ["chat", "chat-1", "chat~"]),
        (SessionFilter("chat-1", "other"), []),
        (SessionFilter(agent="oth"), []),
    ],
)
async def test_filters(store: Store, which: SessionFilter, found: list[str]) -> None:
    await made(store, "chat", "chat-1", "chat~", "Chat-1", "cha")
    await made(store, "chat-2", agent="other")
    # Databases may sort them as people do.
    assert sorted(page[0] for page in await ids(store, which, at_most=1)) == found


async def test_a_listed_session_is_as_its_last_write_left_it(store: Store) -> None:
    await made(store, "s")
    (fresh,) = await store.list_sessions(DEFAULT_TENANT, ALL, "", 10)
    assert fresh == ListedSession("s", "agent", False, "n1/1", epoch(1), 0, 1, 0, fresh.created_ns, "", 0)  # type: ignore[arg-type]
    mine = owned("s")
    await store.accept_turn(mine, accepted(1), 10, [EventRow(3, 10, 0, b"x")])
    await store.commit_turn(mine, completed(accepted(1)), events=[EventRow(11, 15, 1, b"y")])
    for number in (2, 3, 4):
        await store.accept_turn(mine, accepted(number), None)
    await store.start_turn(mine, replace(accepted(2), state=TURN_STATE_RUNNING))
    (listed,) = await store.list_sessions(DEFAULT_TENANT, ALL, "", 10)
    assert (listed.head_seq, listed.oldest_seq, listed.turns_completed) == (15, 3, 1)
    assert (listed.running_turn_id, listed.waiting_turns, listed.created_ns) == ("t2", 2, fresh.created_ns)
    await store.close_session(mine, 15)
    assert [each.closed for each in await store.list_sessions(DEFAULT_TENANT, ALL, "", 10)] == [True]


async def test_a_session_that_was_given_up_has_no_owner_and_none_at_all_in_a_volatile_store(store: Store) -> None:
    await made(store, "s")
    await store.release(owned("s"), 0, 0)
    listed = await store.list_sessions(DEFAULT_TENANT, ALL, "", 10)
    assert [each.owner for each in listed] == ([""] if store.durable else [])


async def test_open_sessions_are_those_with_turns_that_have_not_ended(store: Store) -> None:
    for session_id, tenant in (
        ("idle", ""),
        ("done", ""),
        ("cancelled", ""),
        ("s", ""),
        ("s", "other"),
        ("a", "other"),
    ):
        await made(store, session_id, tenant=tenant)
    for session_id in ("done", "cancelled", "s"):
        await store.accept_turn(owned(session_id), accepted(1), None)
    await store.commit_turn(owned("done"), completed(accepted(1)))
    await store.end_turn(owned("cancelled"), cancelled(accepted(1)), None)
    for session_id in ("s", "a"):
        for number in (1, 2):
            await store.accept_turn(owned(session_id, "other"), accepted(number), None)
    found = await store.list_open(None, 10)
    expected = [("default", "s", 2), ("other", "a", 3), ("other", "s", 3)]
    assert [(each.ref.tenant, each.ref.session_id, each.commit) for each in found] == expected
    assert {each.agent for each in found} == {"agent"}
    paged: list[OpenSession] = []
    after: SessionRef | None = None
    while page := await store.list_open(after, 1):
        assert len(page) == 1
        paged += page
        after = page[-1].ref
    assert paged == list(found)


async def test_a_session_that_waits_for_an_answer_is_not_listed_as_open(store: Store) -> None:
    await made(store, "s", "other")
    for session_id in ("s", "other"):
        await store.accept_turn(owned(session_id), accepted(1), None)
    asked = StoredInput("t1.1", "t1", 1)

    async def found() -> list[str]:
        return [each.ref.session_id for each in await store.list_open(None, 10)]

    await store.keep_input(owned("s"), asked)
    assert await found() == ["other"]
    await store.keep_input(owned("s"), replace(asked, answer=b"yes"))
    assert await found() == ["other", "s"]
    await store.keep_input(owned("s"), replace(asked, input_id="t1.2"))
    await store.end_turn(owned("s"), cancelled(accepted(1)), None)
    await store.accept_turn(owned("s"), accepted(2), None)
    assert await found() == ["other", "s"]  # what asked has ended without an answer


async def test_a_list_says_what_sessions_wait_for(store: Store) -> None:
    await made(store, "s", "other")
    for session_id in ("s", "other"):
        await store.accept_turn(owned(session_id), accepted(1), None)
    asked = StoredInput("t1.1", "t1", 1, question=InputRequired(prompt="really?").SerializeToString())

    async def found() -> list[tuple[str, list[str]]]:
        listed = await store.list_sessions(DEFAULT_TENANT, ALL, "", 10)
        return [(each.session_id, [one.to_question().prompt for one in each.questions]) for each in listed]

    await store.keep_input(owned("s"), asked)
    await store.keep_input(owned("other"), replace(asked, answer=b"yes"))
    assert await found() == [("other", []), ("s", ["really?"])]
    await store.end_turn(owned("s"), cancelled(accepted(1)), None)
    assert await found() == [("other", []), ("s", [])]


async def test_every_write_of_an_open_session_changes_its_number(store: Store) -> None:
    await made(store, "s")
    numbers: list[int] = []

    async def note() -> None:
        numbers.extend(each.commit for each in await store.list_open(None, 10))

    await store.accept_turn(owned("s"), accepted(1), None)
    await note()
    await store.start_turn(owned("s"), replace(accepted(1), state=TURN_STATE_RUNNING))
    await note()
    await store.activate(owned("s", revision=2), "agent")
    await note()
    await store.extend_range(owned("s", revision=2), 1 << 30)
    await note()
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 4


async def test_a_closed_session_has_nothing_open(store: Store) -> None:
    await made(store, "s")
    await store.accept_turn(owned("s"), accepted(1), None)
    await store.end_turn(owned("s"), cancelled(accepted(1)), None)
    await store.close_session(owned("s"), 0)
    assert list(await store.list_open(None, 10)) == []


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_what_is_open_is_found_by_its_index_alone(url: str, open_sql: Callable[..., Awaitable[SqlStore]]) -> None:
    """Otherwise every sweep would read the turns of all sessions."""
    store = await open_sql(url)
    page = lists.open_page(parse_session("", "s"), 9).compile(
        dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}
    )
    plan = await store.driver.read(
        lambda connection: [str(row[3]) for row in connection.execute(text(f"EXPLAIN QUERY PLAN {page}"))]
    )
    assert plan[0] == "SEARCH turns USING INDEX turns_open ((tenant,session_id)>(?,?))"
    assert not [step for step in plan if step.startswith("SCAN")]
