"""What every process of agentring does: start, settings, signals, its loop, its children, its end."""
