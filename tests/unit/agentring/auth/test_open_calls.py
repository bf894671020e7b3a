"""Calls end with the credential that opened them."""

from dataclasses import replace

import pytest

from agentring.auth.access import AccessControl
from agentring.auth.open_calls import OpenCalls
from agentring.errors import AgentringError
from harness.credentials import ADA, EVE, SpokenWords


class Told:
    """A call, and what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def credential_ends(self) -> None:
        self.said.append("ends")

    def fail(self, error: AgentringError) -> None:
        self.said.append(error.reason)


class Clock:
    """Of Unix time."""

    now_s = 900.0


@pytest.fixture
def words() -> SpokenWords:
    return SpokenWords()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def calls(words: SpokenWords, clock: Clock) -> OpenCalls:
    return OpenCalls(AccessControl(words, lambda: clock.now_s))


def test_a_call_is_told_once_thirty_seconds_before_its_end_and_ended_there(clock: Clock, calls: OpenCalls) -> None:
    accepted, early, late, other = replace(ADA, expires_at=1_000.0), Told(), Told(), Told()
    calls.add(accepted, early, 900)
    calls.add(EVE, other, 900)
    clock.now_s = 950
    for now_s in (950, 969.9):
        calls.tick(now_s)
    assert early.said == []
    calls.add(accepted, late, 970.5)
    for now_s in (970, 971, 999):
        calls.tick(now_s)
    assert (early.said, late.said) == (["ends"], [])
    clock.now_s = 1_000
    calls.tick(1_000)
    assert (early.said, late.said, other.said) == (["ends", "NOT_AUTHENTICATED"], ["NOT_AUTHENTICATED"], [])


def test_a_revocation_ends_the_calls_of_that_credential_alone(words: SpokenWords, calls: OpenCalls) -> None:
    mine, others = Told(), Told()
    calls.add(ADA, mine, 0)
    calls.add(EVE, others, 0)
    words.revoke("ada")
    calls.tick(1)
    assert (mine.said, others.said) == (["NOT_AUTHENTICATED"], [])


def test_nothing_is_kept_of_calls_that_have_ended(calls: OpenCalls) -> None:
    heard = [Told() for _ in range(3)]
    for each in heard:
        calls.add(ADA, each, 0)
    for each in (*heard, *heard):
        calls.discard(ADA, each)
    assert len(calls) == 0
    assert calls._groups == {}
