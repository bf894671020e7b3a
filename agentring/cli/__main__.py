"""The command `agentring`, and `python -m agentring.cli`.

An installation without the extra `server` has the command too, and not what it needs.
"""

import os
import sys

_FORKS = "GRPC_ENABLE_FORK_SUPPORT"
_OURS = ("agentring", "router", "agent_node")


def main() -> None:
    """Runs the command; says in one line what to install where a package that it needs is missing."""
    # The command starts processes, but never goes on in a fork; gRPC would say at each that it is not ready for it. Its
    # children have what was set before: agents fork.
    before = os.environ.get(_FORKS)
    os.environ[_FORKS] = "0"
    try:
        from agentring.cli.main import main as run  # here: it imports all that the server needs
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _OURS:
            raise
        print(
            f"agentring: this installation is the client alone (there is no {error.name}); "
            "for the command, nodes and routers: pip install 'agentring[server]'",
            file=sys.stderr,
        )
        sys.exit(1)
    finally:
        if before is None:
            del os.environ[_FORKS]
        else:
            os.environ[_FORKS] = before
    run()


if __name__ == "__main__":
    main()
