"""Keeps passwords out of what is shown: URLs as logs, errors, command lines and files may have them."""

import re

HIDDEN = "***"
_BEFORE_HOST = re.compile(r"^(\w[\w+.-]*://[^:/@]*):.*@", re.DOTALL)
_IN_QUERY = re.compile(r"([?&;](?:pg|ssl)?pass(?:word|wd|file|phrase)?=)[^&;#]*", re.IGNORECASE)


def without_password(url: str) -> str:
    """The URL with its password hidden, wherever it stands."""
    # Up to the last @: a password may have any character that somebody did not escape.
    shown = _BEFORE_HOST.sub(rf"\g<1>:{HIDDEN}@", url)
    return _IN_QUERY.sub(rf"\g<1>{HIDDEN}", shown)
