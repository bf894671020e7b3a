"""`python -m scripts.chaosing.altered_node`: a node, changed as CHAOS_ALTER says (names of failpoints and mutations,
comma separated; CHAOS_TRIGGER is the trigger file), and in all else `python -m agent_node`."""

import os
from pathlib import Path

from agent_node.__main__ import main
from scripts.chaosing.failpoints import FAILPOINTS
from scripts.chaosing.mutations import MUTATIONS

if __name__ == "__main__":
    for name in os.environ["CHAOS_ALTER"].split(","):
        (FAILPOINTS | MUTATIONS)[name](Path(os.environ["CHAOS_TRIGGER"]))
    main()
