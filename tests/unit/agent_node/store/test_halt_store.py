"""What a durable store promises of halts: one a scope, the latest, by however many nodes it is written."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import update

from agent_node.store.sql.halt_schema import halts
from agent_node.store.sql.sessions import SqlStore
from harness.halts import EVERYTHING, agent, everywhere, halted, session, tenant

OpenSql = Callable[..., Awaitable[SqlStore]]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
async def test_each_scope_has_its_latest_halt_until_it_is_removed(url: str, open_sql: OpenSql) -> None:
    store = await open_sql(url)
    scopes = [EVERYTHING, everywhere("a"), tenant("t"), agent("a", "t"), session("a", "t")]
    made = [halted(scope, hold=True) for scope in scopes]
    for halt in made:
        # Every node is told at the same moment.
        await asyncio.gather(*(store.halts.keep(halt) for _ in range(5)))
    assert sorted(await store.halts.read(), key=lambda halt: halt.scope) == sorted(made, key=lambda halt: halt.scope)
    later = halted(EVERYTHING)
    await store.halts.keep(later)
    await asyncio.gather(*(store.halts.remove(scope) for scope in scopes[1:] for _ in range(2)))
    assert await store.halts.read() == [later]
    await store.driver.transact(lambda connection: connection.execute(update(halts).values(record=b"\xff")), retry=True)
    assert await store.halts.read() == []
