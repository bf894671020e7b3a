"""Generated from protos/agentring/v1 by scripts/gen_protos; never edited."""
