"""What can go wrong; the text is all that the user is told, beside exit status 1."""


class BenchError(Exception):
    """The bench cannot go on, or what it measured would mean nothing."""


class LoadFailed(BenchError):
    """A load did not go through a proxy without fault; the others may still."""
