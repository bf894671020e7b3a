"""`scripts/bench_sessions`: what sessions cost a node that does nothing with them, and what it costs to wake them."""
