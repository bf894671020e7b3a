"""An identity without authentication."""

from agentring.auth.identity import Identity, Role, anonymous


def test_without_authentication_everything_is_open_but_the_peers_service() -> None:
    assert anonymous("acme") == Identity("acme", "", frozenset(set(Role) - {Role.peer}), "", None)
