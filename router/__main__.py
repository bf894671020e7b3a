"""`python -m router`: one router. See router/settings.py for its flags."""

import sys

from agentring import process, settings
from agentring.rpc.server import CannotListen
from router.app import run_router
from router.settings import RouterSettings


def main() -> None:
    """Runs the router until it is told to stop."""
    router = settings.load(RouterSettings, sys.argv[1:], program="router")
    process.run(
        lambda stop, ready: run_router(router, stop, ready),
        program="router",
        log_level=router.log_level,
        cannot_start=(CannotListen,),
    )


if __name__ == "__main__":
    main()
