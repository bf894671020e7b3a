"""Arithmetic has Python's answers, within bounds that any text keeps to."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_node.agents.assistant.arithmetic import MAX_DEPTH, MAX_DIGITS, MAX_LENGTH, ExpressionError, Refusal, evaluate


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("42", 42),
        (" 2 + 3 * 4 ", 14),
        ("(2 + 3) * 4", 20),
        ("10 - 4 - 3", 3),
        ("7 / 2", 3.5),
        ("7 // 2", 3),
        ("-7 // 2", -4),
        ("-7 % 3", 2),
        ("2 ** 10", 1024),
        ("2 ** 3 ** 2", 512),
        ("-2 ** 2", -4),
        ("2 ** -1", 0.5),
        ("--3", 3),
        ("-+-3", 3),
        ("2 * -3", -6),
        (".5 + 1.", 1.5),
        ("1.5e3", 1500.0),
        ("007", 7),
        ("1 ** (10 ** 299)", 1),
        ("2 ** -(10 ** 299)", 0.0),
        ("9" * MAX_LENGTH, int("9" * MAX_LENGTH)),
        ("10 ** 299", 10**299),
        ("10 ** 300 ** 0 * (10 ** 299 - 1)", 10 * (10**299 - 1)),
        ("(" * (MAX_DEPTH - 1) + "1" + ")" * (MAX_DEPTH - 1), 1),
    ],
)
def test_works_out(expression: str, value: float) -> None:
    found = evaluate(expression)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("expression", "refusal"),
    [
        ("", Refusal.UNREADABLE),
        ("   ", Refusal.UNREADABLE),
        ("2 +", Refusal.UNREADABLE),
        ("* 2", Refusal.UNREADABLE),
        ("1 2", Refusal.UNREADABLE),
        ("(1", Refusal.UNREADABLE),
        ("1)", Refusal.UNREADABLE),
        ("()", Refusal.UNREADABLE),
        ("2(3)", Refusal.UNREADABLE),
        ("1.2.3", Refusal.UNREADABLE),
        ("1_000", Refusal.UNREADABLE),
        ("0x10", Refusal.UNREADABLE),
        ("1j", Refusal.UNREADABLE),
        ("٣ + ٤", Refusal.UNREADABLE),
        ("__import__('os')", Refusal.UNREADABLE),
        ("abs(1)", Refusal.UNREADABLE),
        ("1 if 1 else 2", Refusal.UNREADABLE),
        ("1" * (MAX_LENGTH + 1), Refusal.TOO_LONG),
        ("(" * MAX_DEPTH + "1" + ")" * MAX_DEPTH, Refusal.TOO_DEEP),
        ("-" * MAX_DEPTH + "1", Refusal.TOO_DEEP),
        ("1" + "**1" * MAX_DEPTH, Refusal.TOO_DEEP),
        (f"10 ** {MAX_DIGITS}", Refusal.TOO_LARGE),
        (f"-(10 ** {MAX_DIGITS - 1}) * 10", Refusal.TOO_LARGE),
        ("9 ** 9 ** 9 ** 9", Refusal.TOO_LARGE),
        ("(10 ** 299) ** (10 ** 299)", Refusal.TOO_LARGE),
        ("9.9 ** 9.9 ** 9.9", Refusal.TOO_LARGE),
        ("1e400", Refusal.TOO_LARGE),
        ("1e200 * 1e200", Refusal.TOO_LARGE),
        ("1 / 0", Refusal.DIVISION_BY_ZERO),
        ("1 // 0.0", Refusal.DIVISION_BY_ZERO),
        ("1 % (2 - 2)", Refusal.DIVISION_BY_ZERO),
        ("0 ** -1", Refusal.DIVISION_BY_ZERO),
        ("(-8) ** 0.5", Refusal.NOT_REAL),
    ],
)
def test_refuses(expression: str, refusal: Refusal) -> None:
    with pytest.raises(ExpressionError) as refused:
        evaluate(expression)
    assert refused.value.refusal is refusal


_literals = st.integers(0, 1000).map(str) | st.integers(1, 1_000_000).map(lambda thousandths: f"{thousandths / 1000:f}")
_powers = st.tuples(_literals, st.integers(-3, 3)).map(lambda power: f"{power[0]} ** {power[1]}")


def _longer(shorter: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Sums without parentheses, so that precedence decides, and shorter ones in parentheses or with a sign."""
    operand = shorter | shorter.map(lambda inner: f"({inner})") | shorter.map(lambda inner: f"-{inner}")
    operators = st.sampled_from(["+", "-", "*", "/", "//", "%"])
    return st.tuples(operand, operators, operand).map(" ".join)


@given(st.recursive(_literals | _powers, _longer, max_leaves=8))
@settings(deadline=None)
def test_agrees_with_python(expression: str) -> None:
    expected: Any
    try:
        expected = eval(expression, {"__builtins__": {}})
    except ZeroDivisionError:
        expected = Refusal.DIVISION_BY_ZERO
    try:
        found: Any = evaluate(expression)
    except ExpressionError as error:
        found = error.refusal
    assert (found, type(found)) == (expected, type(expected))


@given(st.text("0123456789.+-*/%()e ", max_size=MAX_LENGTH + 10) | st.text())
@settings(deadline=None)
def test_any_text_ends_in_a_number_within_bounds_or_in_a_refusal(text: str) -> None:
    try:
        value = evaluate(text)
    except ExpressionError:
        return
    assert -(10**MAX_DIGITS) < value < 10**MAX_DIGITS
