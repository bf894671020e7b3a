"""The router's bench: the same load through a router and through other proxies. Start at __main__.py."""

import os

# Before gRPC is first imported: its handlers around fork may break a child between fork and exec, and talk of each one.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
