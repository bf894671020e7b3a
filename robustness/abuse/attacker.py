"""`python -m robustness.abuse.attacker ATTACK ADDRESS SIZE`: one attack, stage by stage, as its partner tells.

Tells by itself when it is ready; begins at `go`; answers `over` with how it came out.
"""

import os
import resource
import sys
import threading

from harness.abuse import Outcome, Scene
from harness.abuse_floods import FLOODS
from harness.abuse_holds import HOLDS
from robustness.abuse.partner import send

ATTACKS = {**FLOODS, **HOLDS}


def main(name: str, address: str, size: str) -> None:
    """Runs it."""
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    scene = Scene(address, int(size))
    came_out: list[Outcome] = []
    thread = threading.Thread(target=lambda: came_out.append(ATTACKS[name](scene)), daemon=True)
    thread.start()
    _wait(scene.ready, thread)
    send({"ready": True})
    for line in sys.stdin:
        if line == "go\n":
            scene.go.set()
        elif line == "over\n":
            scene.over.set()
            thread.join()
            if not came_out:  # its traceback stands on stderr
                os._exit(1)
            send(came_out[0].as_json())


def _wait(stage: threading.Event, thread: threading.Thread) -> None:
    while not stage.wait(0.05):
        if not thread.is_alive():  # its traceback stands on stderr
            sys.stderr.flush()
            os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
