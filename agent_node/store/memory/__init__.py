"""The volatile stores: in the process, and only as long as this node holds the claim."""
