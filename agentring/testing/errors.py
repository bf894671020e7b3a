"""What a test of an agent fails with. All are AssertionErrors, so that pytest shows them as what they are."""


class TurnNotAsExpected(AssertionError):
    """A turn or task failed that was to complete, or the other way round; the agent's own error, if it raised one, is
    the cause (`__cause__`), so its traceback is shown, too.

    with pytest.raises(TurnNotAsExpected, match="AGENT_ERROR: KeyError: 'milk'"):
        await t.turn("milk")
    """


class QuestionUnanswered(AssertionError):
    """The agent has asked a question that the test has no answer for; the turn was cancelled.

    with pytest.raises(QuestionUnanswered, match="sure?"):
        await t.turn("buy")
    """


class TurnTimeout(AssertionError):
    """The turn or task has not ended in time, and was cancelled; says where the agent waits.

    with pytest.raises(TurnTimeout, match="the agent waits at"):
        await t.turn("wait", timeout_s=0.01)
    """


class CrashFound(AssertionError):
    """A turn ends otherwise, or does something twice, when its node dies; says where, and what would help.

    with pytest.raises(CrashFound, match="charge took effect twice"):
        await t.crash_everywhere("pay without a step")
    """


class NodeDied(Exception):
    """The kit's own: the node died before it answered."""
