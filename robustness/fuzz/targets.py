"""What is fuzzed, and one round of it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from harness.http2_broken import CLIENTS, NODES, run_broken_client, run_broken_node
from harness.http2_model import MODELS, RETURNS, run_model
from harness.http2_services import BROKEN_CALLERS, run_broken_caller

TARGETS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], None]]] = {
    "client": (CLIENTS, run_broken_client),
    "node": (NODES, run_broken_node),
    "model": (MODELS, run_model),
    "returns": (RETURNS, run_model),
    "services": (BROKEN_CALLERS, run_broken_caller),
}
_EXAMPLES = 200
_FRAMES_TOLD = -4


@dataclass
class Round:
    """What came of one seed."""

    target: str
    seed: int
    examples: int
    seconds: float
    finding: str
    """Empty: none."""


def play(target: str, seed_number: int) -> Round:
    """Runs _EXAMPLES of a target, fewer where one fails; the failing example is made small and told."""
    strategy, run = TARGETS[target]
    examples = 0

    @seed(seed_number)
    @settings(max_examples=_EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def fuzzed(example: Any) -> None:
        nonlocal examples
        examples += 1
        run(example)

    began_s = time.monotonic()
    finding = ""
    try:
        fuzzed()
    except Exception as error:
        finding = "".join(traceback.format_exception(error, limit=_FRAMES_TOLD))
    return Round(target, seed_number, examples, time.monotonic() - began_s, finding)
