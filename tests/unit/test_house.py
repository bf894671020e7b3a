"""What holds for the repository as a whole: nothing is in a circle of imports.

import-linter holds it for what is installed or started; it does not know the tests' path, on which the harness is.
"""

import grimp
import pytest

_STARTED = ("benchmarks", "examples", "robustness")
"""What stands on the harness, or is tested with it."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("harness", *_STARTED, cache_dir=None)


def test_the_harness_has_no_circle_of_imports(graph: grimp.ImportGraph) -> None:
    assert graph.nominate_cycle_breakers("harness") == set()
    assert len(graph.find_descendants("harness")) > 50, "there is nothing of it in the graph"


@pytest.mark.parametrize("user", _STARTED)
def test_the_harness_does_not_import_what_stands_on_it(graph: grimp.ImportGraph, user: str) -> None:
    assert not graph.chain_exists(importer="harness", imported=user, as_packages=True)
    assert graph.find_descendants(user)
