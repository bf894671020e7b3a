"""How long sessions were without an owner, measured on histories made by hand."""

from chaos_histories import FIRST, HANDED_OVER, MS, call, line
from robustness.chaos.validate.evidence import Evidence, Mark
from robustness.chaos.validate.failover import failovers, percentile, too_slow


def test_a_failover_is_from_the_kill_to_the_first_answer_under_a_later_epoch() -> None:
    calls = [call(0, 1, 10), call(1_200, 1_500, 20, node="n2"), call(1_600, 1_601, 20, node="n2")]
    evidence = Evidence([*FIRST, line(1_400, "claimed", 20, node="n2")], calls, [Mark(1_000 * MS, "killed", "n1")])
    assert [failover.took_s for failover in failovers(evidence, "killed")] == [0.5]
    assert [violation.rule for violation in too_slow(evidence, "killed", 0.4)] == ["I6"]
    assert list(too_slow(evidence, "killed", 0.6)) == []


def test_a_hand_over_counts_from_the_end_of_the_turn_that_ran() -> None:
    ended = line(1_400, "turn_committed", 10, turn="a")
    calls = [call(1_200, 1_500, 20, node="n2")]
    evidence = Evidence([*FIRST, ended], calls, [Mark(1_000 * MS, "stopped", "n1")])
    assert [failover.took_s for failover in failovers(evidence, "stopped")] == [0.1]


def test_a_session_that_the_node_had_given_up_has_no_failover() -> None:
    evidence = Evidence([*FIRST, *HANDED_OVER], [call(70, 71, 20, node="n2")], [Mark(65 * MS, "killed", "n1")])
    assert failovers(evidence, "killed") == []


def test_percentiles() -> None:
    assert percentile([], 50) is None
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([3.0, 1.0, 2.0], 99) == 3.0
