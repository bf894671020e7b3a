"""An agent that leaves something of its node behind: child processes; and one that prints. Given by `--agent`."""

import multiprocessing
import subprocess
import time
from collections.abc import AsyncIterator

from agentring.agent import AgentEvent, Context, Result

FLAG = "leaving=harness.leaving:leaving"

print("printed at import")


async def leaving(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Makes the child that its input names, and tells its pid."""
    print("printed in a turn")
    if ctx.input_text == "fork":
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(90.0,))
        child.start()
        pid = child.pid
    else:
        pid = subprocess.Popen(["sleep", "90"]).pid  # noqa: ASYNC220  it is not waited for
    yield Result({"pid": pid})
