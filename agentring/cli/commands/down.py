"""`agentring down`: ends the local cluster, whether it runs in the background or in another terminal."""

import os
import signal
import time
from contextlib import suppress
from typing import Annotated

import typer

from agentring.cli.errors import StillStopping
from agentring.cli.local.data_dir import DataDir
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption

_POLL_S = 0.05


def down(
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    timeout_s: Annotated[float, typer.Option(min=1.0, help="How long to wait for its end.")] = 60.0,
) -> None:
    """End the local cluster, and wait until every process of it has ended."""
    place = DataDir(data_dir)
    if (pid := place.holder()) is None:
        print(f"nothing runs in {data_dir}")
        return
    deadline_s = time.monotonic() + timeout_s
    is_asked = False
    # The lock is let go of last, once every child has ended.
    while (holder := place.holder()) is not None and holder in (pid, 0):
        if not is_asked and holder:
            is_asked = True
            with suppress(ProcessLookupError):
                os.kill(holder, signal.SIGTERM)
        if time.monotonic() > deadline_s:
            raise StillStopping(pid, data_dir)
        time.sleep(_POLL_S)
    print("stopped")
