"""Questions in a conversation: answered with the next line, shown when they are open at its beginning, left open."""

from agentring.v1.session_pb2 import Event, InputRequired, Question, TurnAccepted, TurnCompleted, TurnStarted
from harness.conversations import HELLO, OPENED, PLACE, Talking, words

ASKED = Event(input_required=InputRequired(input_id="q1", prompt="which colour?"))
OPEN = Question(turn_id="earlier", input_id="q1", prompt="which colour?")
SHOWN = "the turn earlier waits for an answer: which colour?"
STAYS = "the question stays open: answer it in `agentring chat`, or by `agentring questions answer`"


async def test_an_agents_question_is_answered_with_the_next_line(talk: Talking) -> None:
    one = await talk((ASKED, Event(turn_completed=TurnCompleted())))
    assert await one.say("hello")
    assert one.shown == ["which colour?"]
    assert one.server.answers == ["q1: blue"]


async def test_a_question_that_nobody_answers_stays_open(talk: Talking) -> None:
    one = await talk((ASKED, Event(turn_completed=TurnCompleted())))
    assert not await one.say("hello", None)
    assert one.shown == ["which colour?", STAYS]
    assert one.server.answers == []


async def test_a_question_asked_again_by_the_next_run_is_not_asked_again_here(talk: Talking) -> None:
    one = await talk((ASKED, ASKED, Event(turn_completed=TurnCompleted())))
    assert await one.say("hello")
    assert one.server.answers == ["q1: blue"]


async def test_what_is_open_at_the_beginning_is_shown_and_answered(talk: Talking) -> None:
    opened = Event()
    opened.CopyFrom(OPENED)
    opened.opened.questions.append(OPEN)
    one = await talk((opened,), (ASKED, words(0, "so it is"), Event(turn_completed=TurnCompleted())))
    attached = await one.conversation.attach()
    assert [question.prompt for question in attached.questions] == ["which colour?"]
    assert await one.finish(attached)
    assert one.shown == [PLACE, SHOWN, "which colour?", "so it is"]
    assert one.server.answers == ["q1: blue"]


async def test_what_is_open_at_the_beginning_and_gets_no_answer_stays_open(talk: Talking) -> None:
    opened = Event()
    opened.CopyFrom(OPENED)
    opened.opened.questions.append(OPEN)
    one = await talk((opened,))
    assert not await one.finish(await one.conversation.attach(), None)
    assert one.shown == [PLACE, SHOWN, STAYS]
    assert one.server.answers == []


async def test_a_line_behind_a_turn_that_waits_is_told_so_and_may_answer_for_it(talk: Talking) -> None:
    behind = Event(turn_accepted=TurnAccepted(turns_ahead=1, questions=[OPEN]))
    again = Event(turn_id="earlier", input_required=InputRequired(input_id="q2", prompt="sure?"))
    started = Event(turn_id="mine", turn_started=TurnStarted(node_id="n1"))
    one = await talk((behind, *HELLO), (words(0, "known"), again, started))
    assert await one.say("hello")
    assert one.shown == [SHOWN, "the turn earlier waits for an answer: sure?", "you said hello"]
    assert one.server.answers == ["q1: blue", "q2: blue"]


async def test_a_line_behind_a_turn_that_waits_in_vain_is_given_up(talk: Talking) -> None:
    one = await talk((Event(turn_accepted=TurnAccepted(turns_ahead=1, questions=[OPEN])), *HELLO))
    assert not await one.say("hello", None)
    assert one.shown == [SHOWN, STAYS]
