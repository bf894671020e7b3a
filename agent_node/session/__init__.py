"""Sessions: the stages of a session's life on the node that owns it."""
