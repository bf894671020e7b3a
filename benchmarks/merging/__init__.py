"""The bench of the node's merging: the same load on a node that merges and on one that does not. Start at
__main__.py."""

import os

# Before gRPC is first imported: its handlers around fork may break a child between fork and exec, and talk of each one.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
