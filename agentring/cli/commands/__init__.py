"""The subcommands of `agentring`, a file each."""
