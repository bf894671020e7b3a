"""A page's token is taken for the list, tenant, question and cluster that it was made for, and nothing else is."""

import base64
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_node.lifecycle.page_key import page_key
from agent_node.services.paging import Listing
from agentring.errors import InvalidPageToken, InvalidTaskKey
from agentring.ids import TenantId, parse_task

KEY = page_key(b"s" * 32, "cluster")
LISTING = Listing(KEY, "tasks", TenantId("acme"), ("prefix", "", 2))
_MUTATIONS = 10_000


def key_of(last: str) -> str:
    return parse_task("acme", last).task_key


def test_a_token_is_taken_by_another_node_of_the_cluster() -> None:
    token = LISTING.token("job/17")
    elsewhere = Listing(page_key(b"s" * 32, "cluster"), "tasks", TenantId("acme"), ("prefix", "", 2))
    assert elsewhere.begins_after(token, key_of) == "job/17"
    assert LISTING.begins_after("", key_of) is None


@pytest.mark.parametrize(
    "other",
    [
        Listing(KEY, "sessions", TenantId("acme"), ("prefix", "", 2)),
        Listing(KEY, "tasks", TenantId("acm"), ("prefix", "", 2)),
        Listing(KEY, "tasks", TenantId("acme"), ("prefi", "", 2)),
        Listing(KEY, "tasks", TenantId("acme"), ("prefix", "", 3)),
        Listing(KEY, "tasks", TenantId("acme"), ("prefix", "")),
        Listing(page_key(b"s" * 32, "another"), "tasks", TenantId("acme"), ("prefix", "", 2)),
        Listing(page_key(b"t" * 32, "cluster"), "tasks", TenantId("acme"), ("prefix", "", 2)),
        Listing(page_key(None, "cluster"), "tasks", TenantId("acme"), ("prefix", "", 2)),
    ],
    ids=["list", "tenant", "prefix", "state", "fewer", "cluster", "store", "no store"],
)
def test_a_token_of_something_else_is_refused(other: Listing) -> None:
    with pytest.raises(InvalidPageToken):
        LISTING.begins_after(other.token("job"), key_of)


def test_no_mutated_token_is_taken() -> None:
    chosen = random.Random(17)
    token = LISTING.token("job/17")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ \n"
    accepted = 0
    for _ in range(_MUTATIONS):
        mutated = list(token)
        for _ in range(chosen.choice((1, 1, 1, 2, 5))):
            place = chosen.randrange(len(mutated) + 1)
            match chosen.randrange(3):
                case 0:
                    mutated.insert(place, chosen.choice(alphabet))
                case 1:
                    del mutated[place : place + 1]
                case _:
                    mutated[place : place + 1] = chosen.choice(alphabet)
        text = "".join(mutated)
        if text in (token, ""):
            continue
        try:
            LISTING.begins_after(text, key_of)
        except InvalidPageToken:
            continue
        accepted += 1
    assert accepted == 0


@settings(max_examples=50, deadline=None)
@given(st.one_of(st.text(), st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode())))
def test_nothing_made_up_is_taken(text: str) -> None:
    if text:
        with pytest.raises(InvalidPageToken):
            LISTING.begins_after(text, key_of)


def test_a_token_has_one_spelling() -> None:
    token = next(made for last in ("a", "ab", "abc") if (made := LISTING.token(last)).endswith("="))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    place = len(token.rstrip("=")) - 1
    raw = base64.urlsafe_b64decode(token)
    spellings = [token[:place] + char + token[place + 1 :] for char in alphabet]
    same = [spelled for spelled in spellings if base64.urlsafe_b64decode(spelled) == raw]
    assert len(same) > 1, "there is nothing to refuse"
    for spelled in same:
        if spelled != token:
            with pytest.raises(InvalidPageToken):
                LISTING.begins_after(spelled, key_of)


def test_what_was_sealed_and_is_no_id_is_refused() -> None:
    with pytest.raises(InvalidTaskKey):
        key_of("a\0")
    with pytest.raises(InvalidPageToken):
        LISTING.begins_after(LISTING.token("a\0"), key_of)


def test_the_key_is_not_shown() -> None:
    assert "Listing" in repr(LISTING)
    assert repr(KEY) not in repr(LISTING)
