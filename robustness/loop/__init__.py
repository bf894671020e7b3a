"""Long loops of model calls and tools, whose nodes are killed."""
