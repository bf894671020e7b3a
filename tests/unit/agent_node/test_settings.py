"""A node's own settings, as far as they are checked."""

import pytest

from agent_node.settings import NodeSettings
from agentring.settings import EXIT_BAD_SETTINGS, load

PROGRAM = "prog"
NODE_FLAGS = ("--node-id=n1", "--data-dir=/nowhere")


def test_names_of_callers_metadata_are_in_order_and_once() -> None:
    found = load(NodeSettings, [*NODE_FLAGS, "--caller-metadata=x-user,x-locale,x-user"], program=PROGRAM)
    assert found.caller_metadata == ("x-locale", "x-user")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Authorization", "'Authorization' is no name of text metadata"),
        ("authorization", "authorization is never shown to agents"),
        ("cookie", "cookie is never shown to agents"),
        ("x-agentring-epoch", "x-agentring-epoch is never shown to agents"),
        ("grpc-timeout", "grpc-timeout is never shown to agents"),
        ("trace-bin", "'trace-bin' is no name of text metadata"),
        ("x user", "'x user' is no name of text metadata"),
    ],
)
def test_metadata_that_no_agent_may_see_is_refused(capsys: pytest.CaptureFixture[str], name: str, why: str) -> None:
    with pytest.raises(SystemExit) as ended:
        load(NodeSettings, [*NODE_FLAGS, f"--caller-metadata={name}"], program=PROGRAM)
    assert ended.value.code == EXIT_BAD_SETTINGS
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{PROGRAM}: --caller-metadata: {why}")
