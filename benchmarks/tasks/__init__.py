"""What tasks cost: see __main__.py."""
