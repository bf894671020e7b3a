"""A str that is not shown."""

from typing import Any


class Secret:
    """A str that no log line, message or traceback shows: the type of a setting that holds a key or a password.

    key = Secret("sk-123")
    assert str(key) == repr(key) == "Secret('***')"
    assert key.get_secret_value() == "sk-123"
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Raises TypeError."""
        if not isinstance(value, str):
            raise TypeError("a secret is a str")
        self._value = value

    def get_secret_value(self) -> str:
        """What it holds; named as that of pydantic's SecretStr."""
        return self._value

    def __repr__(self) -> str:
        """Shows nothing of it."""
        return "Secret('***')"

    def __eq__(self, other: Any) -> bool:
        """Whether both hold the same."""
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        """As that of the str."""
        return hash(self._value)
