"""Event logs: the events of a session's turns or a task's run, in order, and their readers."""
