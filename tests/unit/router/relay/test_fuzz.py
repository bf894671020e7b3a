"""Broken and honest peers at random: a short run, the same each time. `scripts/fuzz` goes on for longer, and
makes what it finds small; here that would take longer than a test may.
"""

from hypothesis import HealthCheck, Phase, given, settings

from harness.http2_actors import Step
from harness.http2_broken import CLIENTS, NODES, run_broken_client, run_broken_node
from harness.http2_model import MODELS, RETURNS, run_model

_SHORT = settings(
    max_examples=70,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@_SHORT
@given(CLIENTS)
def test_a_broken_client_harms_nobody(
    example: tuple[bytes, bytes, list[tuple[int, str]], list[int], list[int], int],
) -> None:
    run_broken_client(example)


@_SHORT
@given(NODES)
def test_a_broken_node_harms_no_client(
    example: tuple[int, bytes, list[tuple[int, str]], list[int], int, list[str]],
) -> None:
    run_broken_node(example)


@_SHORT
@given(MODELS)
def test_honest_peers_are_told_all_and_every_call_ends(example: tuple[int, int, int, list[Step]]) -> None:
    run_model(example)


@_SHORT
@given(RETURNS)
def test_calls_that_lose_their_nodes_are_told_everything_once(example: tuple[int, int, int, list[Step]]) -> None:
    run_model(example)
