"""Event logs: what a session's turns and a task's run tell, in order, and who reads it."""
