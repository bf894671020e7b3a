"""`python -m robustness.chaos.failpoints.altered agent_node|router`: that process, changed as CHAOS_ALTER says
(failpoints and mutations, comma separated; CHAOS_TRIGGER is the trigger file), and in all else what `python -m` would
run."""

import os
import sys
from importlib import import_module
from pathlib import Path

from robustness.chaos.failpoints.failpoints import FAILPOINTS
from robustness.chaos.failpoints.mutations import MUTATIONS

if __name__ == "__main__":
    for name in os.environ["CHAOS_ALTER"].split(","):
        (FAILPOINTS | MUTATIONS)[name](Path(os.environ["CHAOS_TRIGGER"]))
    import_module(f"{sys.argv.pop(1)}.__main__").main()
