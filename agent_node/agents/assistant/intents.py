"""Reads what the user of the assistant wants: a text becomes a request.

Guarantees that any text at all becomes a request, in a bounded time. Case, surplus spaces and the punctuation around a
phrase do not matter; a note, a todo or a name keeps its case. English only, and only whole phrases: a text that merely
contains one is OTHER, since a wrong guess would change the session's state.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

from agent_node.agents.assistant.spoken_arithmetic import find_expression


class Intent(Enum):
    """What a user can ask for."""

    TELL_NAME = auto()
    """subject: the name."""
    SAY_NAME = auto()
    ADD_NOTE = auto()
    """subject: the note; empty where it was left out."""
    LIST_NOTES = auto()
    ADD_TODO = auto()
    """subject: what is to be done; empty where it was left out."""
    LIST_TODOS = auto()
    FINISH_TODO = auto()
    """subject: the todo's number or its text."""
    FORGET = auto()
    """subject: what to forget, as the user wrote it."""
    CALCULATE = auto()
    """subject: the expression."""
    INTERVIEW = auto()
    """The assistant asks the user."""
    STATUS = auto()
    HELP = auto()
    GREET = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Request:
    """What one text asks for, and of what."""

    intent: Intent
    subject: str = ""


LONGEST_READ = 2_000
"""Characters that are read, surplus spaces apart. Nothing as long is ever kept or worked out, so a text that is cut
here is always refused."""

# A phrase is compared whole, in its plain form: lower case, no punctuation, without please and thanks.
_QUESTION_PATTERNS = [
    (Intent.GREET, r"(?:hi|hello|hey|greetings|good (?:morning|afternoon|day|evening))(?: there| assistant)?"),
    (
        Intent.SAY_NAME,
        r"(?:what is|whats|tell me|say|do you (?:still )?(?:know|remember)|remember|recall) my name"
        r"|who am i|what am i called|do you (?:still )?(?:know|remember) (?:me|who i am)",
    ),
    (
        Intent.LIST_NOTES,
        r"what (?:do|did|can|have) you (?:still )?(?:know|remembered|remember|recall|noted|note)(?: (?:about|of) me)?"
        r"|what (?:did i tell|have i told) you"
        r"|(?:(?:list|show me|show|read me|read|tell me|what are) )?(?:all )?(?:my |your |the )?notes",
    ),
    (
        Intent.LIST_TODOS,
        r"(?:(?:list|show me|show|read me|read|tell me|what are|whats on|what is on) )?(?:all )?(?:my |the )?"
        r"(?:todos?|to dos?)(?: list)?"
        r"|what (?:do i have|have i|have i got|is there|is left) to do|what (?:should|must) i do",
    ),
    (
        Intent.INTERVIEW,
        r"ask me(?: (?:something|a question|my name))?|get to know me|interview me",
    ),
    (
        Intent.STATUS,
        r"status|node|epoch|where (?:are you(?: running)?|do you run|am i)"
        r"|(?:what|which) node(?: (?:is this|are you(?: running)?(?: on)?|do you run on|am i (?:on|talking to)))?"
        r"|(?:what|which) (?:turn|epoch)(?: (?:is this|is it|are (?:we|you) in))?"
        r"|(?:what is|whats) (?:the|your) (?:status|node|epoch|turn)"
        r"|how many turns(?: (?:is this|is it|so far|(?:have|did|were) [a-z ]{1,40}))?",
    ),
    (
        Intent.HELP,
        r"help(?: me)?|commands|(?:what|who) are you|(?:what is|whats) your name|how do you work"
        r"|what (?:can|do) you do(?: for me)?",
    ),
]
_QUESTIONS = [(intent, re.compile(pattern)) for intent, pattern in _QUESTION_PATTERNS]

# A phrase with a subject, which is kept as the user wrote it.
_SUBJECT = r"(?:\s*[:,.!?]+\s*|\s+-+\s+|\s+|$)(?P<subject>.*)"
_I_AM = r"i(?:\s+am|['\u2019]?m)"
_STATEMENT_PATTERNS = [
    (
        Intent.TELL_NAME,
        r"(?:remember\s+(?:that\s+)?)?"
        r"(?:my name(?:\s+is|['\u2019]?s)|" + _I_AM + r" called"
        r"|(?:you (?:can|may) )?call me(?!\s+(?:an?|at|back|if|later|now|on|tomorrow|when)\b))\b"
        # A name ends with the clause: "my name is Ada, and I like tea".
        r"\s*:?\s*(?P<subject>[^.,:;!?]*?)(?:\s+(?:and|but)\s.*|[.,:;!?].*)?",
    ),
    (Intent.ADD_TODO, r"add\s+(?P<subject>.+) to (?:my |the )?(?:todos?|to-?\s?dos?)(?: list)?\W*"),
    (Intent.ADD_NOTE, r"add\s+(?P<subject>.+) to (?:my |the |your )?notes\W*"),
    (Intent.FINISH_TODO, r"(?:todo|to-do)\s+(?P<subject>#?[0-9]+)(?:\s+is)? (?:done|finished)\W*"),
    (Intent.ADD_TODO, r"(?:(?:add|new)\s+)?(?:an?\s+)?(?:new\s+)?(?:todo|to-do|to do\s*(?=:))" + _SUBJECT),
    (Intent.FINISH_TODO, r"(?:" + _I_AM + r" )?(?:done|finished|finish|completed|complete)(?:\s+with)?" + _SUBJECT),
    (Intent.ADD_NOTE, r"(?:(?:add|take|make|write)\s+)?(?:an?\s+)?note(?:\s+(?:to self|that|down|of))?" + _SUBJECT),
    (Intent.ADD_NOTE, r"(?:remember|(?:do not|don['\u2019]?t) forget)(?:\s+(?:that|to))?" + _SUBJECT),
    (Intent.FORGET, r"(?:forget|delete|remove|clear)(?:\s+(?:about|that))?" + _SUBJECT),
]
_STATEMENTS = [(intent, re.compile(pattern, re.IGNORECASE)) for intent, pattern in _STATEMENT_PATTERNS]

_COURTESY_BEFORE = re.compile(
    r"(?:(?:please|hi|hello|hey|there|good (?:morning|afternoon|day|evening)|okay|ok|well|so|and|now"
    r"|(?:can|could|will|would) you)\b[\s,.:!]*)+",
    re.IGNORECASE,
)
_COURTESY_AFTER = re.compile(r"(?: (?:please|thanks|thank you|again|now|right now|so far))+$")
_QUOTES = " \"'`\u2018\u2019\u201c\u201d"


def understand(text: str) -> Request:
    """What the text asks for; OTHER where nothing here fits."""
    text = " ".join(text.split(maxsplit=LONGEST_READ))[:LONGEST_READ]
    courtesy = _COURTESY_BEFORE.match(text)
    bare = text[courtesy.end() :] if courtesy else text
    if text and not text.strip("?! "):
        return Request(Intent.HELP)
    for candidate in (text, bare):
        question = _COURTESY_AFTER.sub("", plain(candidate))
        for intent, phrase in _QUESTIONS:
            if phrase.fullmatch(question):
                return Request(intent)
    for intent, phrase in _STATEMENTS:
        if statement := phrase.fullmatch(bare):
            return Request(intent, tidy(statement["subject"]))
    expression = find_expression(bare)
    return Request(Intent.OTHER) if expression is None else Request(Intent.CALCULATE, expression)


def plain(text: str) -> str:
    """The text's words alone, for comparing: `What's my "to-do" list?` is `whats my todo list`."""
    return " ".join(re.sub(r"[^\w\s]", "", text.casefold()).split())


def tidy(subject: str) -> str:
    """A subject without the quotes around it and without the end of its sentence."""
    # A question mark may belong to what is kept, the full stop of the sentence does not.
    return subject.strip(_QUOTES).rstrip(".,;:! ").strip(_QUOTES)
