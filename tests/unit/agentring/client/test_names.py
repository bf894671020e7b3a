"""What the client's package exports."""

import pytest

import agentring.client
from agentring.client import RetryPolicy


def test_the_old_name_of_the_retry_policy_is_the_new_one_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="RetryPolicy"):
        old = agentring.client.Policy
    assert old is RetryPolicy


def test_a_name_that_never_was_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Polity"):
        getattr(agentring.client, "Pol" + "ity")


def test_every_exported_name_is_there_and_they_are_sorted() -> None:
    exported = agentring.client.__all__
    assert exported == sorted(exported, key=lambda name: (name[0].islower(), name))
    assert all(hasattr(agentring.client, name) for name in exported)
