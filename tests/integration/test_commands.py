"""`agentring chat`, `status`, `locate` and `ring` against a real cluster, as a person or a script uses them."""

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from harness.client import connect, run_task
from harness.up_process import agentring, chatting, running_up

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
        assert out.startswith(f"ada is on {found['node_id']} at {found['address']}, epoch {found['epoch']}, since 2")

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
            f"(router {','.join(up.cluster['router'])})\n",
        )
        status, out, err = await agentring("locate", "no session", *here)
        assert (status, out) == (1, "")
        assert err.startswith("agentring: INVALID_ARGUMENT INVALID_SESSION_ID: ")

        # Another tenant's session of the same name is another one.
        status, out, err = await agentring("chat", "ada", "--tenant", "acme", *here, stdin="what is my name?\n")
        assert (status, err) == (0, "")
        assert "Ada" not in out

        # The sessions, a tenant's own.
        status, out, err = await agentring("sessions", "--json", *here)
        assert (status, err) == (0, "")
        (ada,) = json.loads(out)["sessions"]
        assert (ada["session_id"], ada["node_id"], ada["turns_completed"]) == ("ada", found["node_id"], "3")
        status, out, err = await agentring("sessions", "a", "--agent", "assistant", "--tenant", "acme", *here)
        assert (status, err) == (0, "")
        assert [line.split()[1] for line in out.splitlines() if "ada" in line] == ["ada"]
        status, out, err = await agentring("sessions", "no prefix", *here)
        assert (status, out) == (1, "")
        assert err.startswith("agentring: INVALID_ARGUMENT INVALID_SESSION_ID: ")

        # The tasks: listed, shown, cancelled once they have ended.
        async with connect(up.cluster["router"][0]) as channel:
            await run_task(channel, "report", tokens=3)
        status, out, err = await agentring("tasks", "list", "--state", "completed", "--json", *here)
        assert (status, err) == (0, "")
        (task,) = json.loads(out)["tasks"]
        assert (task["task_key"], task["agent"], task["state"]) == ("report", "echo", "TASK_STATE_COMPLETED")
        status, out, err = await agentring("tasks", "list", "nosuch", *here)
        assert (status, "report" in out, err) == (0, False, "")
        status, out, err = await agentring("tasks", "show", "report", *here)
        assert (status, out.splitlines()[-1], err) == (0, "token0 token1 token2 ", "")
        assert await agentring("tasks", "cancel", "report", *here) == (0, "completed\n", "")
        status, out, err = await agentring("tasks", "show", "other", *here)
        assert (status, out) == (1, "")
        assert err.startswith("agentring: NOT_FOUND TASK_NOT_FOUND: ")


async def test_a_conversation_goes_on_when_its_node_dies(tmp_path: Path) -> None:
    here = ("--data-dir", str(tmp_path))
    async with running_up(tmp_path, "--nodes", "2", "--lease-ttl-s", "2") as up:
        await up.until_line("ready")
        async with chatting("ada", *here) as chat:
            place = re.fullmatch(r"ada is on (n\d), epoch (\d+)", await chat.hears())
            assert place is not None
            chat.say("2 + 2")
            assert [await chat.hears() for _ in range(3)][-1] == "2 + 2 = 4"
            (pid,) = (node["pid"] for node in up.cluster["nodes"] if node["id"] == place[1])
            os.kill(pid, signal.SIGKILL)
            await up.until_line("was killed")
            chat.say("3 + 3")
            heard = [await chat.hears()]
            while heard[-1] != "3 + 3 = 6":
                heard.append(await chat.hears())
            assert not any("trying again" in line for line in heard)  # the router has found the next owner
            status, out, _ = await agentring("locate", "ada", "--json", *here)
            found = json.loads(out)
            assert status == 0
            assert found["node_id"] != place[1]
            assert int(found["epoch"]) > int(place[2])
            assert await chat.ended_by(signal.SIGINT) == (130, "")
