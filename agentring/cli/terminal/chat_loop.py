"""A conversation of a person at a terminal: each line is a turn. Called by `chat` and `dev`."""

from agentring.cli.terminal.conversation import Conversation
from agentring.cli.terminal.event_view import EventView
from agentring.cli.terminal.stdin_lines import StdinLines


class ChatLoop:
    """Lines in, turns out."""

    def __init__(self, conversation: Conversation, view: EventView, lines: StdinLines) -> None:
        """lines: what the person types."""
        self._conversation = conversation
        self._view = view
        self._lines = lines
        self._unsaid: str | None = None
        self.all_completed = True
        """Whether every turn has completed so far."""

    async def run(self) -> None:
        """Until the input's end. Raises CallFailed; to be called again after that."""
        attached = await self._conversation.attach()
        for question in attached.questions:
            completed = await self._conversation.finish_turn(question, attached.head_seq, self.ask)
            self.all_completed &= completed
        while (line := self._unsaid if self._unsaid is not None else await self.ask()) is not None:
            self._unsaid = None
            if line.strip():
                self.all_completed &= await self._conversation.run_turn(line, self.ask)

    async def wait_for_line(self) -> bool:
        """Waits for the next line, which the next `run` begins with; False: there is none."""
        self._unsaid = await self.ask()
        return self._unsaid is not None

    async def ask(self) -> str | None:
        """The next line; None: there is none."""
        self._view.prompt()
        line = await self._lines.next()
        self._view.prompted()
        return line
