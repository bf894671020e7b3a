"""A URL as it may be shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentring.secrets import without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:pw@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:pw@h:5432,i:5433/d?ssl=on", "postgresql://u:***@h:5432,i:5433/d?ssl=on"),
        ("postgres://u:pw@h/d", "postgres://u:***@h/d"),
        ("postgresql://u:p@s/s:w@h/d", "postgresql://u:***@h/d"),
        ("postgresql://h/d?user=u&password=pw&a=b", "postgresql://h/d?user=u&password=***&a=b"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql:///d", "postgresql:///d"),
        ("sqlite:////tmp/a b:c.db", "sqlite:////tmp/a b:c.db"),
        ("memory:", "memory:"),
    ],
)
def test_the_password_is_hidden_and_nothing_else(url: str, shown: str) -> None:
    assert without_password(url) == shown


@given(st.text(min_size=1))
def test_no_password_is_shown_whatever_it_is_made_of(word: str) -> None:
    password = f"secret{word}secret"
    assert "secret" not in without_password(f"postgresql://u:{password}@h/d")
