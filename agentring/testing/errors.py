"""What a test of an agent fails with. All are AssertionErrors, so that pytest shows them as what they are."""


class TurnNotAsExpected(AssertionError):
    """A turn or task failed that was to complete, or the other way round; the agent's own error, if it raised one, is
    the cause (`__cause__`), so its traceback is shown, too."""


class QuestionUnanswered(AssertionError):
    """The agent has asked a question that the test has no answer for; the turn was cancelled."""


class TurnTimeout(AssertionError):
    """The turn or task has not ended in time; says what it waits for."""


class CrashFound(AssertionError):
    """A turn ends otherwise, or does something twice, when its node dies; says where, and what would help."""


class NodeDied(Exception):
    """The kit's own: the node died before it answered."""
