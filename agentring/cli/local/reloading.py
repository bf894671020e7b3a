"""A change of the agents' code comes to the running cluster.

Guarantees: nodes are replaced one after the other, each by a process that has loaded the new code before, so that
sessions and streams go on; code that cannot be loaded replaces nothing, and is told with its cause; a change of a file
that no agent has imported is none; one that comes while another is dealt with is dealt with after it. Called by `dev`.
"""

import asyncio
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from watchfiles import Change, PythonFilter, awatch

from agentring.cli.errors import ChildFailed, CommandError
from agentring.cli.local.env_file import read_env_file
from agentring.cli.local.local_cluster import LocalCluster
from agentring.cli.local.standby import Loaded, Standby
from agentring.cli.local.target import Target
from agentring.ids import NodeId

_STEP_MS = 20
_TOGETHER_MS = 50
"""What an editor does to a file when it saves it is over by then."""

_OURS = {"PYTHONDONTWRITEBYTECODE": "1"}
"""Bytecode is known to be stale by the source's second and size, and two saves may have both alike."""

Report = Callable[[str], None]


def dev_variables(env_file: Path | None) -> dict[str, str]:
    """What nodes are started with whose code may change. Raises EnvFileUnusable."""
    return {**_OURS, **read_env_file(env_file, os.environ)}


class Reloader:
    """Who makes one calls `watch` before the cluster starts, `run` once it is ready, and then `close`."""

    def __init__(self, cluster: LocalCluster, target: Target, env_file: Path | None, report: Report) -> None:
        """env_file: a change of it is one, too; report: takes a line for people."""
        self._cluster = cluster
        self._root = target.import_from.resolve()
        self._env_file = env_file.resolve() if env_file is not None else None
        self._report = report
        self._standbys: dict[NodeId, Standby] = {}
        self._pending: set[Path] = set()
        self._has_pending = asyncio.Event()
        self._files: set[Path] | None = None
        """Those that the agents are made of; None: it is not known."""
        self._stamps: dict[Path, tuple[int, ...]] = {}
        """Of the files of the last change that was dealt with."""
        self._elsewhere: dict[str, None] = {}
        """Modules of others that the agents import: those that stand by do so ahead."""
        self._accepted: set[str] = set()
        """What cannot be loaded of the code that runs."""
        self.reloaded = asyncio.Event()
        """Set by each change that has come to the nodes."""

    async def watch(self) -> None:
        """Notes what changes, until cancelled."""
        is_python = PythonFilter()

        def is_ours(change: Change, path: str) -> bool:
            return is_python(change, path) or Path(path) == self._env_file

        places = {self._root} | ({self._env_file.parent} if self._env_file else set())
        async for changes in awatch(*places, watch_filter=is_ours, step=_STEP_MS, debounce=_TOGETHER_MS):
            self._pending |= {Path(path) for _, path in changes}
            self._has_pending.set()

    async def run(self) -> None:
        """Brings what has changed to the nodes, until cancelled."""
        self._accepted = set(self._cluster.left_out)
        await self._stand_by()
        while True:
            await self._has_pending.wait()
            self._has_pending.clear()
            changed, self._pending = self._pending, set()
            if what := self._of_ours(changed):
                await self._reload(what)

    async def close(self) -> None:
        """Ends the processes that stand by."""
        standbys, self._standbys = list(self._standbys.values()), {}
        for standby in standbys:
            with suppress(ChildFailed):
                await standby.discard()

    def _of_ours(self, changed: Collection[Path]) -> list[Path]:
        """What of it is another one than before, and may be a part of the agents."""
        of_ours = [path for path in changed if self._files is None or path in self._files or path == self._env_file]
        stamps = {path: _stamp(path) for path in of_ours}
        found = sorted(path for path, stamp in stamps.items() if self._stamps.get(path) != stamp)
        self._stamps |= stamps
        return found

    async def _stand_by(self) -> None:
        for node_id in self._cluster.node_ids:
            spec = self._cluster.standby_spec(node_id)
            self._standbys[node_id] = await Standby.start(spec, self._elsewhere)

    async def _reload(self, changed: Sequence[Path]) -> None:
        began_s = asyncio.get_running_loop().time()
        what = ", ".join(path.name for path in changed[:3]) + (" …" if len(changed) > 3 else "")
        try:
            if self._env_file in changed:
                await self._take_variables()
            loaded = await asyncio.gather(*(standby.load() for standby in self._standbys.values()))
        except CommandError as failed:
            self._report(f"{what}: {failed}; the nodes go on as they were")
            self._files = None
        else:
            if await self._take(what, loaded):
                self._report(f"{what}: on all nodes after {asyncio.get_running_loop().time() - began_s:.1f} s")
                self.reloaded.set()
        await self.close()
        await self._stand_by()

    async def _take_variables(self) -> None:
        """Those that stand by have the old ones. Raises EnvFileUnusable, ChildFailed."""
        hosting = self._cluster.hosting
        env = dev_variables(self._env_file)
        await self.close()
        self._cluster.hosting = replace(hosting, env=env)
        await self._stand_by()

    async def _take(self, what: str, loaded: Sequence[Loaded]) -> bool:
        left_out = dict.fromkeys(line for each in loaded for line in each.left_out)
        if not left_out.keys() <= self._accepted:
            for line in left_out:
                self._report(f"{what}: {line}; the nodes go on as they were")
            self._files = None  # whatever is changed next may be what is missing
            return False
        self._accepted = set(left_out)
        self._learn(loaded)
        for node_id in list(self._standbys):
            standby = self._standbys.pop(node_id)
            try:
                await self._cluster.replace_node(node_id, standby.child, standby.serve)
            except ChildFailed as failed:
                self._report(f"{what}: {failed}")
                return False
        return True

    def _learn(self, loaded: Sequence[Loaded]) -> None:
        files = set()
        for each in loaded:
            for name, file in each.files.items():
                path = Path(file).resolve()
                if path.is_relative_to(self._root) and "site-packages" not in path.parts:
                    files.add(path)
                else:
                    self._elsewhere[name] = None
        self._files = files


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_size, found.st_ino)
