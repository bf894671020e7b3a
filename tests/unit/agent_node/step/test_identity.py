"""A step is the same one in every attempt, and no other one is."""

from itertools import combinations, product
from typing import Any

import pytest

from agent_node.step.identity import base_of, derived, scope_id, step_id


def base(parent: bytes = b"", name: str = "charge", *args: Any, key: str | None = None) -> bytes:
    return base_of(parent, name, args, {}, key)


def test_everything_that_makes_a_step_makes_it_another_one() -> None:
    parents = (b"", scope_id(b"", "a"), scope_id(b"", "b"), scope_id(scope_id(b"", "a"), "b"), step_id("l", base(), 1))
    ids = [
        step_id(life, base(parent, name, *args, key=key), occurrence)
        for life, parent, name, (args, key), occurrence in product(
            ("l1", "l2"), parents, ("x", "y"), (((1,), None), ((2,), None), ((), "1"), ((), "2")), (1, 2, 11)
        )
    ]
    assert len(set(ids)) == len(ids) == 240
    assert {len(each) for each in ids} == {16}
    assert ids[0] == step_id("l1", base(b"", "x", 1), 1)


def test_a_key_stands_for_the_arguments() -> None:
    assert base(b"", "x", object(), key="k") == base(b"", "x", 1, key="k")
    assert base(b"", "x", 1, key="") != base(b"", "x", 1)


def test_parts_do_not_run_into_each_other() -> None:
    names = ["a", "ab", "b", "aa"]
    found = [base(b"", one, key=other) for one, other in product(names, names)]
    assert all(one != other for one, other in combinations(found, 2))


def test_what_is_derived_differs_by_its_place_its_kind_and_its_number() -> None:
    found = [
        derived(life, parent, kind, count)
        for life, parent, kind, count in product(("l1", "l2"), (b"", b"p" * 16), ("uuid", "random"), (1, 2))
    ]
    assert len(set(found)) == 16


@pytest.mark.parametrize(
    ("name", "key", "kind"),
    [(7, None, TypeError), ("", None, ValueError), ("n" * 257, None, ValueError), ("n", 7, TypeError)],
)
def test_a_name_says_something_and_a_key_is_text(name: Any, key: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        base_of(b"", name, (), {}, key)
    with pytest.raises(ValueError, match="4096 bytes"):
        base_of(b"", "n", (), {}, "k" * 4097)
