"""What holds for the repository as a whole: nothing is in a circle of imports.

import-linter holds it for what is installed or started; it does not know the tests' path, on which the harness is.
"""

import grimp


def test_the_harness_has_no_circle_of_imports() -> None:
    graph = grimp.build_graph("harness", cache_dir=None)

    assert graph.nominate_cycle_breakers("harness") == set()
    assert len(graph.modules) > 50, "there is nothing of it in the graph"
