"""An agent node: hosts agents, owns sessions and task runs, serves them over gRPC."""
