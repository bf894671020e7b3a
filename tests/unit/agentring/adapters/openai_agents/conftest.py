"""Nothing is sent to anybody."""

import pytest
from agents import set_tracing_disabled


@pytest.fixture(autouse=True)
def _no_traces() -> None:
    set_tracing_disabled(True)
