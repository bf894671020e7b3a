"""Pays an order once, however many sessions ask for it at the same time and whichever nodes die meanwhile.

Each order has a key, and `ctx.once` runs the step of a key once in the cluster. The bank (here an SQLite file, in truth
somebody's API) does its part: it takes an idempotency key once, and no fencing token older than one it has seen.
"""

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from pathlib import Path

from agentring.agent import AgentEvent, Context, JsonObject, OnceFailed, Result

BANK = Path(os.environ.get("EXAMPLE_BANK") or Path(tempfile.gettempdir()) / "agentring-example-bank.db")


async def payment(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Pays what the text says: an order and its cents, as in `order-7 1250`."""
    order, cents = ctx.input_text.split()
    yield f"paying {order}: "
    # The tool's call and its result are events of the session whose turn runs the step.
    step = partial(ctx.tool, "charge", charge)
    try:
        receipt: JsonObject = await ctx.once(f"charge/{order}", step, args={"order": order, "cents": int(cents)})
    except OnceFailed as failed:
        yield f"refused, {failed.text}"
        yield Result({"paid": False, "why": failed.text})
        return
    yield f"{receipt['cents']} cents, receipt {receipt['number']}"
    yield Result({"paid": True, **receipt})


async def charge(order: str, cents: int, idempotency_key: str, fencing_token: int) -> JsonObject:
    """The tool. It waits for the bank on a thread: a node's event loop must never be blocked."""
    return await asyncio.to_thread(_charge_at_bank, order, cents, idempotency_key, fencing_token)


def _charge_at_bank(order: str, cents: int, idempotency_key: str, fencing_token: int) -> JsonObject:
    if cents <= 0:
        raise ValueError("an amount is positive")
    with closing(sqlite3.connect(BANK, timeout=10.0)) as bank, bank:
        bank.execute("CREATE TABLE IF NOT EXISTS charges (key TEXT UNIQUE, token INT, order_id TEXT, cents INT)")
        bank.execute(
            "INSERT INTO charges VALUES (?, ?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET token = max(token, excluded.token)",
            (idempotency_key, fencing_token, order, cents),
        )
        number, newest = bank.execute("SELECT rowid, token FROM charges WHERE key = ?", (idempotency_key,)).fetchone()
        if fencing_token < newest:
            raise PermissionError("a later attempt has taken over")
    return {"number": number, "order": order, "cents": cents}
