"""What the tests of runs stand on."""

import pytest

from harness.bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()
