"""The checker: what must hold of a run, whatever was done to it."""
