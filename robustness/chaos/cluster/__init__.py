"""The cluster under test: its processes, links, namespaces and ports."""
