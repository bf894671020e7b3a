"""What agents of the last release import still works, and says what to import instead."""

import importlib
import re
import subprocess
import sys

import pytest

import agentring.agent

OLD = {
    "agent_node.agent": [
        *("Agent", "AgentEvent", "Answer", "JsonObject", "NobodyToAsk", "PastTurn", "Result", "TurnContext"),
    ],
    "agent_node.once_errors": ["OnceFailed", "OnceTimeout", "OnceUnknown"],
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in OLD.items() for name in names])
def test_an_old_name_is_the_new_one_and_warns(module: str, name: str) -> None:
    sentence = f"{module}.{name} goes with the next release: import it from agentring.agent"
    with pytest.warns(DeprecationWarning, match=re.escape(sentence)):
        found = getattr(importlib.import_module(module), name)
    assert found is getattr(agentring.agent, name)


@pytest.mark.parametrize("module", OLD)
def test_a_star_imports_them_all(module: str) -> None:
    program = f"from {module} import *\nprint(*sorted(name for name in dir() if name[0] != '_'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == OLD[module]


@pytest.mark.parametrize("module", OLD)
def test_other_names_are_not_there(module: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'Attachment'"):
        _ = importlib.import_module(module).Attachment


def test_the_warning_names_the_line_that_imports() -> None:
    """The old import is a statement of the author's, so the warning must point there and not into agentring."""
    program = "from agent_node.agent import Result\nfrom agent_node.once_errors import OnceFailed\n"
    done = subprocess.run(
        [sys.executable, "-W", "always::DeprecationWarning", "-c", program], capture_output=True, text=True, check=True
    )
    assert [line.split(": ")[0] for line in done.stderr.splitlines() if "Deprecation" in line] == [
        "<string>:1",
        "<string>:2",
    ]
