"""Examples: what agentring does, shown."""
