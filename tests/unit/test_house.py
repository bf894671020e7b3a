"""What holds for the repository as a whole: no circle of imports, no long file, none of the names that were given up.

import-linter holds the imports of what is installed or started; it does not know the tests' path, on which the harness
is.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
MOST_LINES = 300

_STARTED = ("benchmarks", "examples", "robustness")
"""What stands on the harness, or is tested with it."""
_PRODUCT = ("agentring", "router", "agent_node")
_FOLDERS = (*_PRODUCT, *_STARTED, "tests", "scripts", "docs", "protos")
_NOT_OURS = ("__pycache__", "node_modules", "target", "build")
_GENERATED = ROOT / "agentring" / "v1"
_WITHOUT_LEVELS = (
    *("agentring/v1", "agentring/protos"),  # generated; and one module
    *("agent_node/store/database/migrations", "agent_node/store/database/migrations/versions"),  # read by alembic
)
_CODE = (".py", ".sh", ".cc", ".h", ".go", ".java", ".rs", ".ts", ".js")

_OLD_FILES = frozenset(
    (
        *("answers", "apart", "asking", "bounded", "call_moves", "carrier", "control", "following", "headers"),
        *("incarnations", "kept", "known_turns", "left_stream", "lost_stories", "log_entries", "other_stream"),
        *("outgoing", "patience", "phrases", "place", "remembering", "replays", "room", "running_places"),
        *("screen", "session_turns", "session_writes", "shared_calls", "sight", "sums", "task_room", "taking"),
        *("turn", "turn_context", "turn_intake", "turn_questions", "turn_runner", "upstreams", "way", "words"),
    )
)
_OLD_NAMES = frozenset(
    (
        *("Apart", "Carrier", "DeadlineMet", "Incarnations", "LetGo", "LostStories", "KnownTurns", "Patience"),
        *("Peers", "Place", "Replays", "Room", "RunningPlaces", "SessionTurns", "SessionWrites", "SharedCalls"),
        *("Story", "Taking", "TaskRoom", "TimeLeft", "TurnIntake", "TurnRunner", "Upstreams", "Words", "bury"),
        *("carrier", "known_turns", "let_go", "lost_stories", "put_back", "running_places", "session_turns"),
        *("session_writes", "shared_calls", "take_up", "task_room", "tells_on", "told", "turn_context"),
        *("turn_intake", "turn_runner", "upstreams"),
    )
)
_OLD_PARAMETERS = frozenset({"again", "given", "gone", "moved"})


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


@pytest.mark.parametrize("package", _PRODUCT)
def test_imports_are_held_on_every_level(package: str) -> None:
    """So whatever is new must be placed. import-linter passes over folders that are no package: there are none."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    held = {each for one in contracts if one.get("exhaustive") for each in one["containers"]}
    folders = {path.parent for path in _python_files() if path.relative_to(ROOT).parts[0] == package}
    inside = {path.relative_to(ROOT) for path in folders} - {Path(name) for name in _WITHOUT_LEVELS}

    assert {folder for folder in inside if ".".join(folder.parts) not in held} == set()
    assert {folder for folder in inside if not (ROOT / folder / "__init__.py").is_file()} == set()
    assert len(inside) > 3


def test_no_file_of_code_is_long() -> None:
    files = list(_files())
    lengths = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES} == {}
    assert len(lengths) > 500, "there is next to nothing to look at"


def test_no_file_has_a_name_that_was_given_up() -> None:
    product = [path for path in _files() if path.relative_to(ROOT).parts[0] in _PRODUCT]
    assert [str(path) for path in product if path.stem in _OLD_FILES] == []
    assert len(product) > 200


def test_no_name_in_the_code_is_one_that_was_given_up() -> None:
    found = [f"{path.relative_to(ROOT)}: {name}" for path in _python_files() for name in _old_names(path)]
    assert found == []


def test_a_name_that_was_given_up_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "some.py"
    path.write_text("def put_back(given, *, _told, x):\n    moved = x.carrier\n    return let_gone(gone=moved)\n")
    assert sorted(_old_names(path)) == ["_told", "carrier", "given", "put_back"]


def _files() -> Iterator[Path]:
    for folder in _FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            ours = not set(path.relative_to(ROOT).parts) & set(_NOT_OURS) and _GENERATED not in path.parents
            if ours and path.is_file() and (path.suffix in _CODE or (folder == "scripts" and not path.suffix)):
                yield path
    yield ROOT / "hatch_build.py"


def _python_files() -> Iterator[Path]:
    return (path for path in _files() if path.suffix == ".py" and path != Path(__file__))


def _old_names(path: Path) -> Iterator[str]:
    """Of modules, classes, functions, parameters, variables and attributes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        parameter = node.arg if isinstance(node, ast.arg) else ""
        if parameter.lstrip("_") in _OLD_PARAMETERS:
            yield parameter
        for part in ("id", "arg", "attr", "name", "asname", "module"):
            name = getattr(node, part, None)
            if isinstance(name, str) and name.lstrip("_") in _OLD_NAMES:
                yield name


def test_no_text_says_a_name_that_was_given_up() -> None:
    """In documents, comments and scripts, but for the changelog, which says what became of it. Words of English are
    left out."""
    words = [name for name in _OLD_NAMES if "_" in name or re.search("[a-z][A-Z]", name)]
    old = re.compile(rf"(?<![\w])({'|'.join(sorted(words))})(?![\w])")
    listed = {ROOT / "CHANGELOG.md", ROOT / "tests" / "docs" / "test_pages.py", Path(__file__)}
    pages = {*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("protos/**/*.proto"), *_files()} - listed
    texts = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in pages}
    assert [f"{path}: {found}" for path, text in texts.items() for found in old.findall(text)] == []
    assert len(texts) > 500
