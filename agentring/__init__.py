"""agentring runs AI agents as stateful services; this package is what router, nodes and clients share."""
