"""Arithmetic is found in a sentence, and nothing else is taken for it."""

import pytest

from agent_node.agents.assistant.spoken_arithmetic import find_expression


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("2+2", "2+2"),
        ("2 + 2 = ?", "2 + 2"),
        ("What is 7 times 6?", "7 * 6"),
        ("what\u2019s 3 x 4", "3 * 4"),
        ("how much is 1,234,567 minus 1", "1234567 - 1"),
        ("10% of 50", "10 / 100 * 50"),
        ("20 percent of 50", "20 / 100 * 50"),
        ("2^10", "2**10"),
        ("2 to the power of 10", "2 ** 10"),
        ("3 squared plus 2 cubed", "3 ** 2 + 2 ** 3"),
        ("8 \u00f7 2 \u00d7 3 \u2212 1", "8 / 2 * 3 - 1"),
        ("17 mod 5", "17 % 5"),
        ("9 divided by 3", "9 / 3"),
        ("what is 42?", "42"),
        ("calculate the moon", "the moon"),
        ("Compute: 1 + 1.", "1 + 1"),
        ("42", None),
        ("what is 5!", None),
        ("what is love?", None),
        ("...", None),
        ("", None),
    ],
)
def test_finds_the_expression_in_a_text(text: str, expression: str | None) -> None:
    assert find_expression(text) == expression
