"""The faults that a run can do, a kind a file."""
