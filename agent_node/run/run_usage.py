"""What an agent counts of its run: RunContext (context.py) is made of it."""

from agentring.agent import Usage


class RunUsage:
    """The usage of one attempt."""

    usage: Usage | None = None
    """The sum; None: nothing was counted."""

    def add_usage(self, usage: Usage) -> None:
        """As Context."""
        if type(usage) is not Usage:
            raise TypeError(f"add_usage takes a Usage, not {type(usage).__name__}")
        self.usage = usage if self.usage is None else self.usage + usage
