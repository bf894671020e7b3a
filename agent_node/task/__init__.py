"""Tasks: runs of an agent under a key, at most one at a time in the cluster."""
