"""The agent `assistant`: remembers, calculates and knows where it runs, without a model and without a network."""
