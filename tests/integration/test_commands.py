"""`agentring chat`, `status`, `locate` and `ring` against a real cluster, as a person or a script uses them."""

import json
import sys
from pathlib import Path

import pytest

from harness.up_process import agentring, running_up

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


async def test_a_person_speaks_with_an_agent_and_looks_at_the_cluster(tmp_path: Path) -> None:
    here = ("--data-dir", str(tmp_path))
    async with running_up(tmp_path, "--nodes", "2", "--routers", "2") as up:
        await up.until_line("ready")

        # A conversation, in one go and then gone on with.
        status, out, err = await agentring("chat", "ada", *here, stdin="my name is Ada\nwhat is my name?\n")
        assert (status, err) == (0, "")
        place, *answers = out.splitlines()
        assert "Ada" in answers[-1]
        status, out, err = await agentring("chat", "ada", *here, stdin="what is my name?")
        assert (status, err) == (0, "")
        assert out.splitlines() == [place, answers[-1]]

        # Where it is, as the conversation said.
        status, out, err = await agentring("locate", "ada", "--json", *here)
        assert (status, err) == (0, "")
        found = json.loads(out)
        assert place == f"ada is on {found['node_id']}, epoch {found['epoch']}"
        assert {one["node_id"] for one in found["candidates"]} == {"n1", "n2"}
        status, out, err = await agentring("locate", "ada", "--router", up.cluster["router"][1])
        assert (status, err) == (0, "")
        assert out.startswith(f"ada is on {found['node_id']} at {found['address']}, epoch {found['epoch']}\n")

        # The ring, by both routers alike.
        rings = []
        for router in up.cluster["router"]:
            status, out, err = await agentring("ring", "--json", "--router", router)
            assert (status, err) == (0, "")
            rings.append(json.loads(out))
        assert rings[0]["checksum"] == rings[1]["checksum"]
        assert [member["node_id"] for member in rings[0]["members"]] == ["n1", "n2"]
        assert sum(member["share"] for member in rings[0]["members"]) == pytest.approx(1.0)

        # What goes wrong is one line, with its reason.
        assert await agentring("chat", "bob", "--agent", "nobody", *here) == (
            1,
            "",
            "agentring: NOT_FOUND AGENT_NOT_FOUND agent=nobody: no node hosts this agent "
            f"(router {up.cluster['router'][0]})\n",
        )
        status, out, err = await agentring("locate", "no session", *here)
        assert (status, out) == (1, "")
        assert err.startswith("agentring: INVALID_ARGUMENT INVALID_SESSION_ID: ")

        # Another tenant's session of the same name is another one.
        status, out, err = await agentring("chat", "ada", "--tenant", "acme", *here, stdin="what is my name?\n")
        assert (status, err) == (0, "")
        assert "Ada" not in out
