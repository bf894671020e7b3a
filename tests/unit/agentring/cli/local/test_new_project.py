"""A new project: its names, and that nothing is overwritten."""

import ast
import tomllib
from pathlib import Path

import pytest

from agent_node.agents.registry import GROUP
from agentring.cli.local.new_project import ProjectRefused, plan_project


def test_every_file_has_the_projects_names(tmp_path: Path) -> None:
    written = plan_project(tmp_path / "My-agent").write()
    names = {path.relative_to(tmp_path / "My-agent").as_posix() for path in written}
    assert names == {"my_agent.py", "tests/test_my_agent.py", "README.md", "pyproject.toml", ".gitignore"}
    assert [path for path in written if "$" in path.read_text()] == []
    project = tomllib.loads((tmp_path / "My-agent" / "pyproject.toml").read_text())
    assert project["project"]["name"] == "My-agent"
    assert project["project"]["entry-points"][GROUP] == {"my_agent": "my_agent:my_agent"}
    functions = ast.walk(ast.parse((tmp_path / "My-agent" / "my_agent.py").read_text()))
    assert "my_agent" in {each.name for each in functions if isinstance(each, ast.AsyncFunctionDef)}


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("kept")
    with pytest.raises(ProjectRefused, match="there is something in it already"):
        plan_project(tmp_path / "mine").write()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ProjectRefused, match="File exists"):
        plan_project(tmp_path / "file").write()


@pytest.mark.parametrize("name", ["7up", "a b", "a.b", "-x", "ä", "json", "class", "router", "agentring", "tests"])
def test_a_name_that_cannot_be_a_modules_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProjectRefused):
        plan_project(tmp_path / name)
