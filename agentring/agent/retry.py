"""How often a step that failed is tried again, and how long it waits in between."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retry:
    """The policy of `ctx.step(..., retry=Retry(most_tries=5))`: tries follow each other inside one step, with waits
    that grow, spread by chance so that many runs do not come back together."""

    most_tries: int = 3
    """With the first one; at least 1."""
    first_wait_s: float = 0.5
    """Before the second try."""
    factor: float = 2.0
    """How much longer each further wait is."""
    most_wait_s: float = 30.0
    errors: tuple[type[Exception], ...] = (Exception,)
    """What is tried again; anything else is the step's error at once."""

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if self.most_tries < 1 or self.first_wait_s < 0 or self.factor < 1 or self.most_wait_s < 0:
            raise ValueError("a Retry has at least 1 try, a factor of at least 1, and waits of at least 0 s")

    def tries_again(self, error: Exception, tries: int) -> bool:
        """Whether there is another try after so many failed ones."""
        return tries < self.most_tries and issubclass(type(error), self.errors)

    def wait_s(self, tries: int) -> float:
        """The wait after so many failed tries: between a half and all of what the policy says."""
        whole_s = min(self.most_wait_s, self.first_wait_s * self.factor ** min(tries - 1, 100))
        return whole_s * (0.5 + random.random() / 2)  # noqa: S311  no secret
