"""The example agents on a real local cluster: the commands of their READMEs print what the READMEs say."""

import ast
import asyncio
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from agentring.client import InputRequired, RunFailed, connect
from harness.pages import ROOT, blocks
from harness.printed import as_printed
from harness.up_process import running_up

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/agent.py"))
NAMES = [path.name for path in EXAMPLES]
STARTS = re.compile(r"AGENTRING_AGENT=(\S+) \./scripts/up\n")
AGENTS = ("counter", "payment", "approval", "clerk", "openai_agents", "pydantic_ai", "florist")
TOGETHER = ",".join(f"{name}=examples.{name}.agent:{name}" for name in AGENTS)
RACERS = 20


@asynccontextmanager
async def cluster_of(agents: str, directory: Path) -> AsyncIterator[str]:
    """A local cluster whose nodes host the agents; the router's address."""
    env = {"AGENTRING_AGENT": agents, "PYTHONPATH": str(ROOT), "EXAMPLE_BANK": str(directory / "bank.db")}
    async with running_up(directory / "data", "--nodes", "2", env=env) as up:
        await up.until_line("ready")
        yield up.cluster["router"][0]


async def test_every_example_does_what_its_readme_says(tmp_path: Path) -> None:
    async with cluster_of(TOGETHER, tmp_path) as router:
        for example in EXAMPLES:
            start, commands, expected = blocks(example / "README.md")
            assert STARTS.fullmatch(start.text)
            assert expected.language == "text"
            script = commands.text.replace(".venv/bin/agentring", f"{sys.executable} -m agentring.cli")
            assert script != commands.text
            done = await asyncio.to_thread(
                subprocess.run,
                ["bash", "-c", script],
                cwd=ROOT,
                env={**os.environ, "AGENTRING_ROUTER": router},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert as_printed(done.stdout) == as_printed(expected.text), (example.name, done.stderr)
        await races_for_one_receipt(router, tmp_path / "bank.db")
        await counts_from_data_and_keeps_the_state_where_a_turn_fails(router)
        await takes_only_true_for_approval(router)
        await has_nobody_to_ask_in_a_task(router)


async def races_for_one_receipt(router: str, bank: Path) -> None:
    async with connect(router) as ring:
        turns = [ring.session(f"racer-{number}", agent="payment").run("order-9 300") for number in range(RACERS)]
        results = [outcome.result for outcome in await asyncio.gather(*turns)]
        refused = await ring.session("racer-0").run("order-10 0")
    assert results == [results[0]] * RACERS
    assert results[0] is not None
    assert (results[0]["paid"], results[0]["order"], results[0]["cents"]) == (True, "order-9", 300)
    assert refused.result == {"paid": False, "why": "an amount is positive"}
    with closing(sqlite3.connect(bank)) as ledger:
        assert ledger.execute("SELECT cents FROM charges WHERE order_id = 'order-9'").fetchall() == [(300,)]


async def counts_from_data_and_keeps_the_state_where_a_turn_fails(router: str) -> None:
    async with connect(router) as ring:
        session = ring.session("from-data", agent="counter")
        assert (await session.run(data={"by": 40})).result == {"count": 40}
        with pytest.raises(RunFailed):
            await session.run("no number")
        assert (await session.run("2")).result == {"count": 42}
        assert (await session.run("reset")).result == {"count": 0}
        assert (await session.run()).text == "turn 4: 0 + 1 = 1"


async def takes_only_true_for_approval(router: str) -> None:
    async with connect(router) as ring:
        for approved, expected in ((True, True), ("no", False), (1, False)):
            turn = ring.session(f"form-{approved}", agent="approval").send("order a car")
            async for event in turn:
                if isinstance(event, InputRequired):
                    await turn.reply(event.input_id, data={"approved": approved})
            result = (await turn.outcome()).result
            assert result is not None
            assert result["approved"] is expected


async def has_nobody_to_ask_in_a_task(router: str) -> None:
    async with connect(router) as ring:
        outcome = await ring.run_task("order", agent="approval", text="order a car")
    assert (outcome.text, outcome.result) == (
        "nobody is there to approve: order a car",
        {"approved": False, "action": "order a car"},
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=NAMES)
def test_an_example_is_small_and_imports_nothing_of_ours_but_an_agent_s_face(example: Path) -> None:
    source = (example / "agent.py").read_text()
    assert 20 <= len(source.splitlines()) <= 60
    imported = set()
    for statement in ast.walk(ast.parse(source)):
        if isinstance(statement, ast.Import):
            imported |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            imported.add("." * statement.level + (statement.module or ""))
    others = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    ours = {name for name in others if name.split(".")[0] == "agentring"}
    adapter, *framework = {
        "openai_agents": ("openai_agents", "agents"),
        "pydantic_ai": ("pydantic_ai", "pydantic_ai"),
        "florist": ("langgraph", "langgraph", "langchain_core"),
    }.get(example.name, ("",))
    faces = {"agentring.adapters", f"agentring.adapters.{adapter}"} if adapter else {"agentring.models"}
    assert ours
    theirs = {name for name in others if name.split(".")[0] in framework}
    assert others - theirs <= {"agentring.agent", *faces, f"examples.{example.name}.fake_model"}


@pytest.mark.parametrize("example", EXAMPLES, ids=NAMES)
def test_a_readme_starts_its_own_agent(example: Path) -> None:
    start = STARTS.fullmatch(next(blocks(example / "README.md")).text)
    assert start is not None
    assert start[1] == f"{example.name}=examples.{example.name}.agent:{example.name}"


def test_the_readme_of_all_names_and_starts_all() -> None:
    readme = ROOT / "examples" / "README.md"
    (start,) = blocks(readme)
    found = STARTS.fullmatch(start.text)
    assert found is not None
    assert found[1] == TOGETHER
    assert sorted(word.split("=")[0] for word in found[1].split(",")) == NAMES
    assert all(f"]({name}/README.md)" in readme.read_text() for name in NAMES)
