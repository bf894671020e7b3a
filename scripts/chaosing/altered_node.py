"""`python -m scripts.chaosing.altered_node`: a node, changed as CHAOS_ALTER says (names of alterations.py, comma
separated; CHAOS_TRIGGER is the trigger file), and in all else `python -m agent_node`."""

import os
from pathlib import Path

from agent_node.__main__ import main
from scripts.chaosing.alterations import ALTERATIONS

if __name__ == "__main__":
    for name in os.environ["CHAOS_ALTER"].split(","):
        ALTERATIONS[name](Path(os.environ["CHAOS_TRIGGER"]))
    main()
