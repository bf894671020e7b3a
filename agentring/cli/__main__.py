"""`python -m agentring.cli`, for where the `agentring` command is not installed."""

from agentring.cli.main import main

main()
