"""The demo's picture: all that was printed, and nothing from elsewhere."""

from pathlib import Path
from xml.etree import ElementTree

from examples.demo.claims import Claims
from examples.demo.picture import recording, to_svg

COMMITTED = Path(__file__).parents[4] / "docs" / "demo.svg"


def texts(svg: str) -> str:
    return "".join(ElementTree.fromstring(svg).itertext()).replace("\xa0", " ")


def test_it_shows_what_was_printed() -> None:
    console = recording()
    claims = Claims(console)
    claims.scene("A scene", "what it is about")
    claims.claim("one holds", True)
    claims.claim("one does not", False, "two < three")
    shown = texts(to_svg(console))
    for line in ("A scene", "what it is about", "✔ one holds", "✘ one does not", "two < three"):
        assert line in shown


def test_it_needs_nothing_from_elsewhere() -> None:
    console = recording()
    Claims(console).close()
    for svg in (to_svg(console), COMMITTED.read_text()):
        assert svg.count("http") == svg.count('xmlns="http://www.w3.org/2000/svg"') == 1
        assert "<script" not in svg
        assert "url(" not in svg.replace("url(#demo-", "")


def test_the_committed_one_is_of_a_demo_that_held() -> None:
    assert "12 of 12 claims held" in texts(COMMITTED.read_text())
