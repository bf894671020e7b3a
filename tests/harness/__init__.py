"""Real processes for tests: etcd, nodes, routers; and short ways to speak with them."""
