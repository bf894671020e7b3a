"""`python -m agent_node.access_heads`: prints the heads of access logs that the store has, a line of JSON each.

The store is named by AGENTRING_STORE, so its password is on no command line. Nothing is written, and the store need not
be in use. Run by `agentring audit verify`.
"""

import asyncio
import json
import os
import sys
from dataclasses import asdict

from sqlalchemy.exc import SQLAlchemyError

from agent_node.store.opening import StoreRefused, check_url, read_access_heads
from agentring.errors import StoreUnavailable


def main() -> None:
    """Exit status 0, or 1 after a line that says why not."""
    try:
        heads = asyncio.run(read_access_heads(check_url(os.environ.get("AGENTRING_STORE", ""))))
    except (StoreRefused, SQLAlchemyError, StoreUnavailable, ValueError) as error:
        print(str(error) or type(error).__name__, file=sys.stderr)
        raise SystemExit(1) from None
    for head in heads:
        print(json.dumps(asdict(head)))


if __name__ == "__main__":
    main()
