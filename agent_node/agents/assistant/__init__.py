"""The agent `assistant`: remembers, reckons and knows where it runs, without a model and without a network."""
