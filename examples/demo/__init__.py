"""The demo: a cluster of its own, and what it promises, shown and checked in under a minute. See `scripts/demo`."""
