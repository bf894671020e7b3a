"""The node's gRPC services: they check what comes in, find the session or the task run, and send what it says."""
