"""Finds the arithmetic in a sentence: `What is 7 times 6?` becomes `7 * 6`.

What it returns looks like arithmetic, or stood after a word like `calculate`; whether it has a value is for
arithmetic.py to say.
"""

import re

_COMMAND = re.compile(r"(?:calculate|calc|compute|evaluate|solve|work out)\b[\s:,]*", re.IGNORECASE)
_QUESTION = re.compile(r"(?:what is|what['\u2019]?s|how much is|how many is)\s+", re.IGNORECASE)
_DIGITS = frozenset("0123456789")
_CHARACTERS = _DIGITS | frozenset(".+-*/%()eE ")
_OPERATORS = frozenset("+-*/%(")

# In this order: "10% of 50" before "%", "to the power of" before anything that could be read in it.
_WORDS = [
    (re.compile(pattern, re.IGNORECASE), sign)
    for pattern, sign in [
        (r"(?:%|\bpercent) of\b", " / 100 *"),
        (r"\b(?:to the power of)\b|\^", "**"),
        (r"\bsquared\b", "** 2"),
        (r"\bcubed\b", "** 3"),
        (r"\bplus\b", "+"),
        (r"\bminus\b|[\u2212\u2013]", "-"),
        (r"\b(?:times|multiplied by)\b|[\u00d7\u00b7]|(?<=[0-9) ])x(?=[0-9( .-])", "*"),
        (r"\bdivided by\b|\u00f7", "/"),
        (r"\b(?:mod|modulo)\b", "%"),
        (r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", ""),
    ]
]


def find_expression(text: str) -> str | None:
    """The expression that the text asks the value of; None where it asks for something else.

    A text without a question counts only where it has an operator: `42` alone asks nothing. After `calculate` anything
    counts, so that the user learns when it cannot be read.
    """
    command, question = _COMMAND.match(text), _QUESTION.match(text)
    asking = command or question
    expression = (text[asking.end() :] if asking else text).rstrip("?=. ")
    for words, sign in _WORDS:
        expression = words.sub(sign, expression)
    expression = " ".join(expression.split())
    if command:
        return expression
    looks_like_arithmetic = _CHARACTERS.issuperset(expression) and not _DIGITS.isdisjoint(expression)
    return expression if looks_like_arithmetic and (question or not _OPERATORS.isdisjoint(expression)) else None
