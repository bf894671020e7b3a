"""What tests of sessions share."""

import pytest

from harness.premises import Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()
