"""Benchmarks: what agentring costs, as ratios measured in one run. scripts/bench_* and scripts/load start them."""
