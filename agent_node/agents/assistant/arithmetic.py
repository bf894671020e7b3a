"""Evaluates arithmetic that somebody typed: numbers, + - * / // % **, signs and parentheses.

Guarantees that any text at all ends, quickly and in little memory, in a finite number or in an ExpressionError: length,
nesting and size of every value in between are bounded, and a power is refused before it is worked out. Precedence and
kinds of number are Python's (`7 / 2` is 3.5, `-2 ** 2` is -4); there are no names, no calls and no eval.

A parser of its own rather than Python's `ast`: four rules, and no dependence on what a Python version's parser warns of
or how deep it may recurse.
"""

import operator
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final

Number = int | float

MAX_LENGTH = 200
"""Characters of an expression."""
MAX_DEPTH = 32
"""Parentheses, signs and powers within each other."""
MAX_DIGITS = 300
"""Of a whole number. Fewer than a double can hold, so that whole numbers and fractions mix without overflow."""

_LIMIT: Final = 10**MAX_DIGITS
_TOKEN = re.compile(r"\s*(?:(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)|(?P<sign>\*\*|//|[-+*/%()]))")


class Refusal(StrEnum):
    """Why there is no number."""

    UNREADABLE = "unreadable"
    TOO_LONG = "too_long"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    DIVISION_BY_ZERO = "division_by_zero"
    NOT_REAL = "not_real"


class ExpressionError(ValueError):
    """An expression has no number for an answer, and why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


def evaluate(expression: str) -> Number:
    """The expression's value, between -10**300 and 10**300. Raises ExpressionError."""
    if len(expression) > MAX_LENGTH:
        raise ExpressionError(Refusal.TOO_LONG)
    return _Reader(_tokens(expression)).whole()


class _Reader:
    """Recursive descent, one method a rule; what it returns is the value of what it has read."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def whole(self) -> Number:
        value = self._sum()
        if self._peek():
            raise ExpressionError(Refusal.UNREADABLE)
        return value

    def _sum(self) -> Number:
        return self._left_to_right(self._product, _ADDITIVE)

    def _product(self) -> Number:
        return self._left_to_right(self._signed, _MULTIPLICATIVE)

    def _left_to_right(self, operand: Callable[[], Number], operators: "_Operators") -> Number:
        value = operand()
        while (sign := self._peek()) in operators:
            self._next += 1
            value = _apply(operators[sign], value, operand())
        return value

    def _signed(self) -> Number:
        # Every way to nest comes through here: a parenthesis, a sign before a sign, a power's exponent.
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(Refusal.TOO_DEEP)
        if self._skip("-"):
            value = -self._signed()
        elif self._skip("+"):
            value = self._signed()
        else:
            value = self._power()
        self._depth -= 1
        return value

    def _power(self) -> Number:
        base = self._atom()
        # The exponent may have a sign of its own, and powers group from the right: 2 ** -1, 2 ** 3 ** 2.
        return _apply(_raise, base, self._signed()) if self._skip("**") else base

    def _atom(self) -> Number:
        if self._skip("("):
            value = self._sum()
            if not self._skip(")"):
                raise ExpressionError(Refusal.UNREADABLE)
            return value
        token = self._peek()
        if not token or not (token[0].isdigit() or token[0] == "."):
            raise ExpressionError(Refusal.UNREADABLE)
        self._next += 1
        return _small_enough(int(token) if token.isdigit() else float(token))

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _skip(self, token: str) -> bool:
        found = self._peek() == token
        self._next += found
        return found


def _tokens(expression: str) -> list[str]:
    tokens, position = [], 0
    expression = expression.rstrip()
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        if match is None:
            raise ExpressionError(Refusal.UNREADABLE)
        tokens.append(match["number"] or match["sign"])
        position = match.end()
    return tokens


def _apply(operation: Callable[[Number, Number], Number], left: Number, right: Number) -> Number:
    try:
        return _small_enough(operation(left, right))
    except ZeroDivisionError:
        raise ExpressionError(Refusal.DIVISION_BY_ZERO) from None
    except OverflowError:
        raise ExpressionError(Refusal.TOO_LARGE) from None


def _raise(base: Number, exponent: Number) -> Number:
    whole = isinstance(base, int) and isinstance(exponent, int) and exponent > 0
    # A base of n bits is at least 2 ** (n - 1). What passes here takes microseconds; the limit on values does the rest.
    if whole and (abs(int(base)).bit_length() - 1) * exponent > _LIMIT.bit_length():
        raise ExpressionError(Refusal.TOO_LARGE)
    value = base**exponent
    if isinstance(value, complex):
        raise ExpressionError(Refusal.NOT_REAL)
    return value


def _small_enough(value: Number) -> Number:
    if not -_LIMIT < value < _LIMIT:
        raise ExpressionError(Refusal.TOO_LARGE)
    return value


_Operators = dict[str, Callable[[Number, Number], Number]]
_ADDITIVE: _Operators = {"+": operator.add, "-": operator.sub}
_MULTIPLICATIVE: _Operators = {"*": operator.mul, "/": operator.truediv, "//": operator.floordiv, "%": operator.mod}
