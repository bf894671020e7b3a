"""Who calls, as metadata and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentring import metadata
from agentring.auth.caller_fields import caller_pairs, read_caller
from agentring.auth.identity import Identity, Role
from agentring.errors import NotAuthenticated

IDENTITIES = st.builds(
    Identity,
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.frozensets(st.sampled_from(Role)),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.none(),
)


@given(identity=IDENTITIES)
def test_what_was_written_is_read_again_and_is_metadata(identity: Identity) -> None:
    pairs = caller_pairs(identity)
    for name, value in pairs:
        assert name.startswith(metadata.INTERNAL_PREFIX)
        assert value.isascii()
        assert value == "" or value.isprintable()
        assert value == value.strip(" ")
    assert read_caller(dict(pairs)) == identity


def test_who_does_not_say_all_is_not_believed() -> None:
    pairs = dict(caller_pairs(Identity("acme", "ada", frozenset({Role.user}), "k", None)))
    for name in pairs:
        said = {key: value for key, value in pairs.items() if key != name}
        if name == metadata.CALLER_TENANT:
            assert read_caller(said) is None
        else:
            with pytest.raises(NotAuthenticated):
                read_caller(said)


def test_a_role_that_is_not_known_counts_for_nothing() -> None:
    pairs = dict(caller_pairs(Identity("acme", "ada", frozenset({Role.user}), "k", None)))
    read = read_caller(pairs | {metadata.CALLER_ROLES: "user,emperor"})
    assert read is not None
    assert read.roles == {Role.user}
