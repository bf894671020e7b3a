"""What is halted, as a node knows it: from etcd, from the store and by word of a router. Read by every run before a
step begins, kept by the node's lifecycle (docs/architecture.md, "Halts").
"""
