"""The etcd v3 client: the few calls that agentring makes, each with a deadline and typed errors."""
