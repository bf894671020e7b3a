"""The load while faults are done, and the agents that it calls."""
