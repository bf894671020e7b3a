"""What a turn costs: agentring's processes beside Envoy in front of bare gRPC handlers, on the same load."""
