"""Programs in other languages that tests build for themselves, into .tools, once for each change of their sources."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from harness.tools import TOOLS, locked, require_library, require_tool, run

INTEROP = Path(__file__).parents[1] / "interop"


def go_client() -> list[str]:
    """The command of the client in Go."""
    go = require_tool("go")
    built = _built("go", lambda to: run([go, "build", "-o", to / "client", "."], cwd=INTEROP / "go"))
    return [str(built / "client")]


def java_client() -> list[str]:
    """The command of the client in Java."""
    java, mvn = require_tool("java"), require_tool("mvn")

    def build(to: Path) -> object:
        goals = ("compile", "dependency:copy-dependencies")
        return run([mvn, "-q", "-B", f"-Dbuild.to={to}", *goals], cwd=INTEROP / "java")

    built = _built("java", build)
    # It lives for a few seconds: what optimizes for longer ones only delays it.
    flags = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m")
    return [str(java), *flags, "-cp", f"{built / 'classes'}:{built / 'dependency'}/*", "interop.Main"]


def js_client() -> list[str]:
    """The command of the client in TypeScript."""
    node, npm = require_tool("node"), require_tool("npm")

    def build(to: Path) -> object:
        for name in ("package.json", "tsconfig.json"):
            shutil.copy(INTEROP / "js" / name, to)
        (to / "src").mkdir()
        for source in (INTEROP / "js").glob("*.ts"):
            shutil.copy(source, to / "src")
        run([npm, "install", "--no-package-lock", "--no-fund", "--no-audit", "--silent"], cwd=to)
        return run([to / "node_modules" / ".bin" / "tsc"], cwd=to)

    return [str(node), str(_built("js", build) / "dist" / "main.js")]


def rust_client() -> list[str]:
    """The command of the client in Rust."""
    cargo = require_tool("cargo")

    def build(to: Path) -> None:
        # As new files, so that cargo builds ours anew; it writes its lock file beside the manifest.
        shutil.copytree(INTEROP / "rust", to / "source", copy_function=shutil.copyfile)
        # Others' packages take minutes: what cargo has built of them stays, also where it was ended half way.
        crates = TOOLS / "interop-crates"
        run([cargo, "build", "--quiet", "--release", "--target-dir", crates], cwd=to / "source")
        shutil.copy(crates / "release" / "interop", to / "client")

    return [str(_built("rust", build) / "client")]


def cpp_client() -> list[str]:
    """The command of the client in C++."""
    compiler, pkg_config = require_tool("g++"), require_tool("pkg-config")
    require_library("grpc++")

    def build(to: Path) -> object:
        flags = run([pkg_config, "--cflags", "--libs", "grpc++"], cwd=to).split()
        sources = sorted((INTEROP / "cpp").glob("*.cc"))
        return run([compiler, "-std=c++17", "-O1", "-o", to / "client", *sources, *flags], cwd=to)

    return [str(_built("cpp", build) / "client")]


def _built(name: str, build: Callable[[Path], object]) -> Path:
    """Where the client is, built anew if its sources have changed since."""
    sources = sorted(path for path in (INTEROP / name).rglob("*") if path.is_file())
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()
    to = TOOLS / "interop" / name
    stamp = to / "stamp"
    with locked(f"interop-{name}"):
        if not (stamp.exists() and stamp.read_text() == digest):
            shutil.rmtree(to, ignore_errors=True)
            to.mkdir(parents=True)
            build(to)
            stamp.write_text(digest)
    return to
