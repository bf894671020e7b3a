"""Which AGENTRING_* variables there are, and what is told of others."""

import pytest

from agent_node.settings import NodeSettings
from agentring import variables
from agentring.settings import ProcessSettings
from router.settings import RouterSettings

OWN = tuple(ProcessSettings.model_fields)


def test_the_names_are_those_of_all_programs_settings() -> None:
    shared = set(variables.SHARED)
    assert shared == set(OWN)
    assert set(variables.NODES) == set(NodeSettings.model_fields) - shared
    assert set(variables.ROUTERS) == set(RouterSettings.model_fields) - shared


@pytest.mark.parametrize("name", [*NodeSettings.model_fields, *RouterSettings.model_fields, *variables.OTHERS])
def test_a_neighbours_variable_is_known_to_everybody(name: str) -> None:
    for written in (f"AGENTRING_{name.upper()}", f"agentring_{name}"):
        assert variables.unknown({written: "x"}, ()) == ({}, [])


@pytest.mark.parametrize(
    ("sent", "right"),
    [
        ("AGENTRING_LEASE_TTL", "AGENTRING_LEASE_TTL_S"),
        ("AGENTRING_LSITEN", "AGENTRING_LISTEN"),
        ("AGENTRING_TLS_CERTS", "AGENTRING_TLS_CERT"),
        ("AGENTRING_MAX_RUNING_TURNS", "AGENTRING_MAX_RUNNING_TURNS"),
        ("AGENTRING_ROUTERS", "AGENTRING_ROUTER"),
        ("agentring_stores", "AGENTRING_STORE"),
    ],
)
def test_a_mistyped_one_is_named_with_the_right_one(sent: str, right: str) -> None:
    assert variables.unknown({sent: "x", "PATH": "/"}, OWN) == ({sent: right}, [])


@pytest.mark.parametrize(
    "suffix",
    ["SERVICE_HOST", "SERVICE_PORT", "PORT", "PORT_7700_TCP", "PORT_7700_TCP_ADDR", "PORT_7700_TCP_PROTO", "HOME"],
)
def test_what_others_set_is_named_alone(suffix: str) -> None:
    """Kubernetes does, for a service of that name."""
    assert variables.unknown({f"AGENTRING_{suffix}": "x"}, OWN) == ({}, [f"AGENTRING_{suffix}"])
