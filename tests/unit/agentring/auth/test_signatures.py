"""Signed calls among peers: what was signed is believed once, for 30 s, by the node that it was meant for."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentring import metadata
from agentring.auth.caller_fields import Pairs
from agentring.auth.signatures import ClusterSecret, SecretUnusable, SignatureCheck, Signer
from agentring.errors import NodeFenced, NotAuthenticated

PATH = "/agentring.v1.SessionService/GetSession"
SIGNED: Pairs = (("x-session-id", "s"), ("x-tenant-id", "acme"), ("x-agentring-tenant", "acme"))
SECRET = ClusterSecret([b"a" * 32], "c")


class Clock:
    """Unix time, as the test sets it."""

    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


class SignedCalls:
    """A signer and a node, incarnation 7, on one clock."""

    def __init__(self, secret: ClusterSecret = SECRET) -> None:
        self.clock = Clock()
        self.signer = Signer(secret, "router/1", self.clock)
        self.incarnation = 7
        self.check = SignatureCheck(SECRET, lambda: self.incarnation, self.clock)

    def signed(self, pairs: Pairs = SIGNED, incarnation: int = 7) -> dict[str, str]:
        return dict((*pairs, *self.signer.pairs(PATH, pairs, incarnation)))


def test_what_a_peer_has_signed_is_believed() -> None:
    peers = SignedCalls()
    assert [peers.check.peer_of(PATH, peers.signed()) for _ in range(3)] == ["router/1"] * 3


CHANGES = st.one_of(
    st.tuples(
        st.sampled_from([*dict(SIGNED), metadata.PEER, "x-agent", "x-agentring-roles"]), st.text("abc/ .", max_size=6)
    ),
    st.sampled_from([(name, None) for name in [*dict(SIGNED), metadata.PEER, metadata.SIGNATURE]]),
    st.tuples(st.just(metadata.SIGNATURE), st.text("0123456789abcdef .", max_size=140)),
)


@settings(max_examples=200, deadline=None)
@given(change=CHANGES)
def test_what_was_changed_added_or_left_out_is_not(change: tuple[str, str | None]) -> None:
    peers = SignedCalls()
    fields = peers.signed()
    name, value = change
    if value is None:
        del fields[name]
    elif fields.get(name) == value:
        return
    else:
        fields[name] = value
    with pytest.raises(NotAuthenticated):
        peers.check.peer_of(PATH, fields)


@given(at=st.integers(0, 200), bit=st.integers(0, 6))
def test_no_bit_of_a_signature_may_differ(at: int, bit: int) -> None:
    peers = SignedCalls()
    fields = peers.signed()
    said = fields[metadata.SIGNATURE]
    at %= len(said)
    fields[metadata.SIGNATURE] = said[:at] + chr(ord(said[at]) ^ 1 << bit) + said[at + 1 :]
    with pytest.raises(NotAuthenticated):
        peers.check.peer_of(PATH, fields)


def test_another_method_another_secret_and_another_cluster_are_not() -> None:
    peers = SignedCalls()
    with pytest.raises(NotAuthenticated):
        peers.check.peer_of(PATH.replace("Get", "Close"), peers.signed())
    for secret in (ClusterSecret([b"b" * 32], "c"), ClusterSecret([b"a" * 32], "d")):
        other = SignedCalls(secret)
        with pytest.raises(NotAuthenticated):
            other.check.peer_of(PATH, other.signed())


def test_a_signature_counts_once_for_as_long_as_it_is_valid() -> None:
    peers = SignedCalls()
    fields = peers.signed()
    peers.check.peer_of(PATH, fields)
    for later_s in (0, 20, 30, 36, 60, 100, -40):
        peers.clock.now_s = 1_000_000 + later_s
        peers.check.peer_of(PATH, peers.signed())
        with pytest.raises(NotAuthenticated):
            peers.check.peer_of(PATH, fields)


@pytest.mark.parametrize(
    ("age_s", "counts"), [(29.9, True), (30.1, False), (-4.9, True), (-5.1, False), (86_400, False)]
)
def test_an_old_signature_and_one_of_the_future_are_not_believed(age_s: float, counts: bool) -> None:
    peers = SignedCalls()
    fields = peers.signed()
    peers.clock.now_s += age_s
    if counts:
        peers.check.peer_of(PATH, fields)
    else:
        with pytest.raises(NotAuthenticated):
            peers.check.peer_of(PATH, fields)


def test_another_incarnation_refuses_it_as_a_node_that_was_fenced() -> None:
    peers = SignedCalls()
    fields = peers.signed()
    peers.incarnation = 8
    with pytest.raises(NodeFenced):
        peers.check.peer_of(PATH, fields)
    peers.incarnation = 0
    with pytest.raises(NodeFenced):
        peers.check.peer_of(PATH, peers.signed())


def test_a_secret_is_replaced_one_process_at_a_time() -> None:
    new = ClusterSecret([b"n" * 32, b"a" * 32], "c")
    old_signs = SignedCalls()
    SignatureCheck(new, lambda: 7, old_signs.clock).peer_of(PATH, old_signs.signed())
    signer = Signer(new, "node/n1", old_signs.clock)
    with pytest.raises(NotAuthenticated):
        old_signs.check.peer_of(PATH, dict((*SIGNED, *signer.pairs(PATH, SIGNED, 7))))


def test_the_secret_is_read_from_a_file_of_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    with pytest.raises(SecretUnusable, match="No such file"):
        ClusterSecret.read(file, "c")
    for content, mode, why in (
        ("x" * 31, 0o600, "32"),
        ("", 0o600, "32"),
        ("x" * 32, 0o640, "chmod"),
        ("x" * 32, 0o604, "chmod"),
    ):
        file.write_text(content)
        file.chmod(mode)
        with pytest.raises(SecretUnusable, match=why) as refused:
            ClusterSecret.read(file, "c")
        assert "xxx" not in str(refused.value)
    file.chmod(0o600)
    file.write_text(f"\n{'x' * 32}\n{'y' * 40}\n")
    secret = ClusterSecret.read(file, "c")
    assert len(secret.keys) == 2
    assert repr(secret) == "<ClusterSecret of 2>"
