"""How calls and errors travel over gRPC; shared by everything that serves or calls."""
