"""What the reader of a streamed answer has of it, where the try that it came from broke off.

Guarantees: the reader's text is that of the try that ended well, byte for byte, or the call fails: what was handed on
cannot be taken back.
"""

from dataclasses import replace

from agentring.models.errors import ModelFailed


class SeenText:
    """Of one call."""

    def __init__(self) -> None:
        """Nothing was handed on."""
        self._error: ModelFailed | None = None
        """Why the last try broke off."""
        self._before = ""
        """What earlier tries have handed on."""
        self._at = 0
        """How much of it this try has said again."""
        self._fresh: list[str] = []

    def fresh(self, piece: str) -> str:
        """What of a try's next piece the reader has not got. Raises ModelFailed where it has got something else."""
        again = self._before[self._at : self._at + len(piece)]
        if not piece.startswith(again):
            raise self._otherwise()
        self._at += len(again)
        rest = piece[len(again) :]
        if rest:
            self._fresh.append(rest)
        return rest

    def restart(self, error: ModelFailed) -> None:
        """The try broke off, and another one begins."""
        self._error = error
        self._before += "".join(self._fresh)
        self._fresh.clear()
        self._at = 0

    def finish(self) -> None:
        """The try has ended well. Raises as `fresh`."""
        if self._at < len(self._before):
            raise self._otherwise()

    def _otherwise(self) -> ModelFailed:
        problem = f"its stream broke off after {len(self._before)} characters, and the next try did not say them again"
        assert self._error is not None
        return replace(self._error, problem=problem, advice="send the turn again", is_retryable=False)
