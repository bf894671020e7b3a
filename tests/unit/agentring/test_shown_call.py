"""What a user is shown of a call before it is made."""

import pytest

from agentring.shown_call import shown_call


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ('{"amount": 7}', '{"amount": 7}'),
        ('{"amount":7}', '{"amount":7}'),
        ('{"amount":' + " " * 5_000 + "7}", '{"amount": 7}'),
        ('{"amount": 7, "amount": 9000}', '{"amount": 9000}'),
        ('{"to":\n\n"\u202eoslO"}', '{"to": "\\u202eoslO"}'),
        ('{"to": "\\ud800"}', '{"to": "\\ud800"}'),
        ("no\n\n json", "no json"),
        ("", ""),
    ],
)
def test_nothing_is_hidden(arguments: str, shown: str) -> None:
    assert shown_call("pay", arguments) == f"pay({shown})"


def test_a_cut_is_told() -> None:
    said = shown_call("pay", f'{{"why": "{"x" * 3_000}", "amount": 9000}}')
    assert said.endswith("x … and more than can be shown)")
    assert len(said.encode()) < 16 << 10
