"""The local cluster of `agentring up`: its processes, its ports, its directory."""
