"""Code that is altered on purpose: where processes end, and bugs that the checker must find."""
