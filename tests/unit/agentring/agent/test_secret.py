"""A secret is not shown."""

import json
from typing import Any

import pytest

from agentring.agent import Secret


def test_only_who_asks_gets_it() -> None:
    secret = Secret("sk-1")
    assert secret.get_secret_value() == "sk-1"
    assert {str(secret), repr(secret), f"{secret}", repr([secret])} == {"Secret('***')", "[Secret('***')]"}
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_it_is_equal_to_one_that_holds_the_same() -> None:
    assert {Secret("a"), Secret("a")} == {Secret("a")}
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


@pytest.mark.parametrize("value", [None, 7, b"x", Secret("x")])
def test_it_is_a_str(value: Any) -> None:
    with pytest.raises(TypeError, match="a secret is a str"):
        Secret(value)
