"""One run of an agent: a turn of a session or a task's run, and all that it needs."""
