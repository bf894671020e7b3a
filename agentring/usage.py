"""What the model calls of a turn have used, as its clients are told at its end."""

from dataclasses import dataclass

MOST_USAGE = 1 << 53
"""Of each number."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and calls, which add up.

    total = Usage(input_tokens=1_200, output_tokens=80, model_calls=1) + Usage(input_tokens=1_300, model_calls=1)
    """

    input_tokens: int = 0
    """That the models read, those out of a cache among them."""
    output_tokens: int = 0
    """That they wrote."""
    cached_tokens: int = 0
    """Of input_tokens, those that came out of a cache of the endpoint's."""
    model_calls: int = 0
    """Requests that an endpoint began to answer, those that broke off among them."""

    def __post_init__(self) -> None:
        """Raises ValueError for what is no count."""
        for count in (self.input_tokens, self.output_tokens, self.cached_tokens, self.model_calls):
            if type(count) is not int or not 0 <= count <= MOST_USAGE:
                raise ValueError(f"a Usage has whole numbers from 0 to 2**53, not {count!r}")

    def __add__(self, other: "Usage") -> "Usage":
        """Both together."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.model_calls + other.model_calls,
        )
