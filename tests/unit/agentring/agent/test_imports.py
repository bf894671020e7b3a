"""agentring.agent is the author's whole face, and brings nothing of the server with it."""

import inspect
import json
import subprocess
import sys

import agentring.agent

SERVER = ("agent_node", "router", "agentring.cluster", "agentring.rpc", "agentring.http2", "agentring.process")
SETTINGS = ("agentring.settings", "agentring.variables", "pydantic_settings")
STORES = ("sqlalchemy", "alembic", "aetcd", "asyncpg", "sqlite3", "uhashring", "hpack", "uvloop")


def modules_after(program: str) -> set[str]:
    """What a fresh interpreter has imported after it."""
    program += "; import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def of_the_server(modules: set[str]) -> list[str]:
    """Those that no author's program needs."""
    roots = (*SERVER, *SETTINGS, *STORES)
    return sorted(
        module for module in modules if any(module == root or module.startswith(f"{root}.") for root in roots)
    )


def test_it_imports_nothing_of_the_server() -> None:
    assert of_the_server(modules_after("import agentring.agent")) == []


def test_the_look_at_what_was_imported_sees_a_server() -> None:
    found = of_the_server(modules_after("import agentring.agent, agent_node.app"))
    assert {"agent_node.app", "agentring.cluster.lease", "agentring.settings", "sqlalchemy"} <= set(found)


def test_all_that_it_offers_is_there_and_all_that_is_there_is_offered() -> None:
    offered = agentring.agent.__all__
    assert offered == sorted(set(offered))
    public = {
        name
        for name, value in vars(agentring.agent).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public == set(offered)


def test_the_first_name_of_the_context_stays() -> None:
    assert agentring.agent.TurnContext is agentring.agent.Context
