"""The command line: `agentring up` runs a cluster on this machine, the other commands speak to a cluster's router."""
