"""`agentring new NAME`: a small project for an agent of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from agentring.cli.local.new_project import plan_project


def new(
    name: Annotated[Path, typer.Argument(help="The project's directory, and the agent's name: my-agent.")],
) -> None:
    """Write a small project: an agent with a tool, its test and a README, ready for `agentring dev`."""
    for path in plan_project(name).write():
        print(path)
    print(f"next: cd {name}; agentring dev")
