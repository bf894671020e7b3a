"""`python -m router`: one router. See router/settings.py for its flags."""

import sys

from agentring import settings
from agentring.audit.chain import BadKey
from agentring.auth.rules import AuthFileUnusable
from agentring.auth.signatures import SecretUnusable
from agentring.http2.listener import CannotListen
from agentring.process import entry as process
from router.app import run_router
from router.settings import RouterSettings
from router.workers import WorkerFailed, run_workers


def main() -> None:
    """Runs the router until it is told to stop."""
    router = settings.load(RouterSettings, sys.argv[1:], program="router")
    run = run_workers if router.workers > 1 else run_router
    process.run(
        lambda stop, ready: run(router, stop, ready),
        program="router",
        log_level=router.log_level,
        cannot_start=(AuthFileUnusable, BadKey, CannotListen, SecretUnusable, WorkerFailed),
    )


if __name__ == "__main__":
    main()
