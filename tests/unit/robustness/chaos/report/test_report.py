"""What a run's report shows: who owned what until when, as a picture that any browser reads, and one line."""

from pathlib import Path
from xml.etree import ElementTree

from robustness.chaos.cluster.world import Plan
from robustness.chaos.report.report import as_json, line, write
from robustness.chaos.report.timeline import owners, timeline
from robustness.chaos.run import FAULTS, Outcome
from robustness.chaos.validate.evidence import Call, Evidence, Line, Mark
from robustness.chaos.validate.violation import Violation

S = "session/default/<s>"
SECOND = 1_000_000_000

LINES = [
    Line(0, "n1", 1, "joined"),
    Line(1 * SECOND, "n1", 1, "claimed", S, 10),
    Line(2 * SECOND, "n1", 1, "released", S, 10),
    Line(4 * SECOND, "n2", 2, "claimed", S, 20),
]
CALLS = [
    Call("c", S, "t1", "r1", SECOND, SECOND, SECOND + 1, "n1", 10, ok=True, number=1),
    Call("c", S, "t2", "r1", 3 * SECOND, 5 * SECOND, 6 * SECOND, "n2", 20, ok=True, number=2),
]


def outcome(*violations: Violation) -> Outcome:
    evidence = Evidence(LINES, CALLS, [Mark(3 * SECOND, "killed", "n1")])
    return Outcome(FAULTS["kill"], 7, Plan(Path("etcd")), evidence, 0, 6 * SECOND, 1, list(violations))


def test_an_owner_stands_until_its_release_or_the_next_claim() -> None:
    assert [(claim.node, until_ns) for claim, until_ns in owners(LINES, 6 * SECOND)] == [
        ("n1", 2 * SECOND),
        ("n2", 6 * SECOND),
    ]


def test_the_picture_is_xml_and_has_a_bar_for_each_owner() -> None:
    evidence = outcome().evidence
    drawn = ElementTree.fromstring(timeline(evidence, 0, 6 * SECOND, "kill & restart"))
    titles = [title.text for title in drawn.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["n1 epoch 10", "n2 epoch 20"]


def test_a_run_without_violations_passes() -> None:
    shown = line(outcome())
    assert "kill" in shown
    assert " 0 violations" in shown
    assert shown.endswith("pass")


def test_a_violation_fails_the_run_and_is_told() -> None:
    shown = line(outcome(Violation("I1", S, "worked on")))
    assert " 1 violations" in shown
    assert f"FAIL: I1: {S}: worked on" in shown


def test_the_report_has_the_table_the_pictures_and_the_histories(tmp_path: Path) -> None:
    page = write([outcome(Violation("I1", S, "worked on"))], tmp_path, "etcd 3.5.21").read_text()
    assert "<svg" in page
    assert "&lt;s&gt;: worked on" in page
    assert len((tmp_path / "kill-7.jsonl").read_text().splitlines()) == len(LINES) + len(CALLS) + 1


def test_json_has_every_failover() -> None:
    shown = as_json(outcome())
    assert shown["passed"] is True
    assert shown["turns"] == 2
