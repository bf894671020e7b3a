"""Where these tests are run with the compiled build (scripts/test), they do run it."""

import os
from pathlib import Path

import pytest

from agentring.process.data_plane import data_plane

_BUILDS = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if Path(path).name == "compiled"]


@pytest.mark.skipif(not _BUILDS, reason="the sources are what is tested")
def test_the_data_plane_is_compiled() -> None:
    assert data_plane() == "compiled"
