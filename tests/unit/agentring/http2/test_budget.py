"""The budget: who must go when too much waits."""

from agentring.http2.budget import Budget


class Holding:
    """Gives its bytes back when it is shed."""

    def __init__(self, budget: Budget, length: int) -> None:
        self.budget = budget
        self.length = length
        self.is_shed = False
        budget.stalled(self)
        budget.add(length)

    def shed(self) -> None:
        self.is_shed = True
        self.budget.flows(self)
        self.budget.add(-self.length)


def test_up_to_the_limit_nobody_goes() -> None:
    budget = Budget(100)
    holders = [Holding(budget, 50), Holding(budget, 50)]
    assert [each.is_shed for each in holders] == [False, False]
    assert (budget.used_bytes, len(budget), budget.shed_count) == (100, 2, 0)


def test_the_longest_stalled_goes_first_and_no_more_than_needed() -> None:
    budget = Budget(100)
    holders = [Holding(budget, 40), Holding(budget, 40), Holding(budget, 21)]
    assert [each.is_shed for each in holders] == [True, False, False]
    assert (budget.used_bytes, len(budget), budget.shed_count) == (61, 2, 1)


def test_as_many_go_as_it_takes() -> None:
    budget = Budget(100)
    holders = [Holding(budget, 40), Holding(budget, 40), Holding(budget, 90)]
    assert [each.is_shed for each in holders] == [True, True, False]
    assert budget.used_bytes == 90


def test_one_that_is_too_large_alone_goes_itself() -> None:
    budget = Budget(100)
    holder = Holding(budget, 101)
    assert holder.is_shed
    assert (budget.used_bytes, len(budget)) == (0, 0)


def test_what_flows_again_is_not_shed() -> None:
    budget = Budget(100)
    first, second = Holding(budget, 40), Holding(budget, 40)
    budget.flows(first)
    budget.stalled(first)
    Holding(budget, 40)
    assert (first.is_shed, second.is_shed) == (False, True)
