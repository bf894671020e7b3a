"""A TLS context that is made anew when its files change, so that certificates are renewed without a restart.

Guarantees: what is read half way through a change, or is wrong, replaces nothing and is tried again; connections keep
the context they were made with. Polled each second by Listener and NodePool.
"""

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

_log = structlog.get_logger()

_Stamps = tuple[tuple[int, int, int] | None, ...]


class ContextFiles:
    """The context for new connections."""

    def __init__(self, make: Callable[[], ssl.SSLContext], files: Sequence[Path] = ()) -> None:
        """make: reads the files; raises OSError, ValueError. Raises OSError, which names the files."""
        self._make = make
        self._files = files
        self._seen = self._stamps()
        self._refused: _Stamps | None = None
        try:
            self.current = make()
        except (OSError, ValueError) as error:
            raise OSError(self._why(error)) from error

    def poll(self) -> None:
        """Reads the files again if one was changed or replaced."""
        stamps = self._stamps()
        if stamps == self._seen:
            return
        try:
            self.current = self._make()
        except (OSError, ValueError) as error:  # OSError: of TLS, too: a key that is not yet the certificate's
            if stamps != self._refused:
                _log.warning("certificates_not_reloaded", files=[*map(str, self._files)], why=self._why(error))
            self._refused = stamps
            return
        # Invariant: seen before they were read, so what has changed since is read with the next poll.
        self._seen = stamps
        _log.info("certificates_reloaded", files=[*map(str, self._files)])

    def _why(self, error: Exception) -> str:
        """OpenSSL says what is wrong, and not of which file."""
        for file in self._files:
            try:
                file.open("rb").close()
            except OSError as missing:
                return f"{file}: {missing.strerror}"
        return f"{', '.join(map(str, self._files))}: {error}"

    def _stamps(self) -> _Stamps:
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
