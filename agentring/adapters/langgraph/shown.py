"""What a graph's nodes have told, kept in the session's storage so that a later attempt tells it again.

Guarantees: what a node of the graph or of a subgraph has told is kept once the node has finished, in the order in
which they finish, whether the graph's state has it or not; an attempt that goes on behind it reads it as it was. What
nodes that run side by side write with stream writers names no node: it is kept when the last of them has finished, so
that none is told twice. What an earlier turn has kept goes with the first that this one keeps.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from agentring.adapters.langgraph.stored import all_keys
from agentring.agent import Context

PREFIX = "langgraph-shown/"
WORDS, USED, TOOL, CUSTOM, NODE = "words", "used", "tool", "custom", "node"
_MESSAGE = "message"
"""The id of the one whose words follow."""
Piece = tuple[str, Any]
"""One of these kinds, and what of it was told, as JSON."""


class Shown:
    """Of one attempt of a turn."""

    def __init__(self, ctx: Context[Any]) -> None:
        """ctx: the turn's."""
        self._ctx = ctx
        self._count = 0
        self._old: Sequence[str] = ()
        """Keys of what is void, or an earlier turn's."""
        self._of_tasks: defaultdict[str, list[Piece]] = defaultdict(list)
        """What tasks have told that have not finished, by their places in the graph."""
        self._of_steps: defaultdict[str, list[Piece]] = defaultdict(list)
        """What is no one task's, by its graph's place."""
        self._running: defaultdict[str, set[str]] = defaultdict(set)
        """Tasks, by their graph's place."""
        self.message_ids: set[str | None] = set()
        """Of the messages whose words are kept."""

    async def again(self, begun_anew: Sequence[str] | None) -> list[Piece]:
        """What earlier attempts of the turn have kept, in its order. begun_anew: places of tasks whose subgraphs begin
        anew, so that what is kept of these is void; None: there were no earlier attempts."""
        keys = await all_keys(self._ctx.storage.latest, PREFIX)
        pieces: list[Piece] = []
        old: list[str] = []
        for key in keys:
            stored = await self._ctx.storage.latest.get(key) if begun_anew is not None else None
            kept = json.loads(stored) if stored is not None else {}
            if kept.get("turn") == self._ctx.idempotency_key:
                self._count = int(key.removeprefix(PREFIX)) + 1
                if any(kept["place"].startswith(f"{place}|") for place in begun_anew or ()):
                    old.append(key)
                    continue
                self.message_ids.update(what for kind, what in kept["pieces"] if kind == _MESSAGE)
                pieces += [(kind, what) for kind, what in kept["pieces"] if kind != _MESSAGE]
            else:
                old.append(key)
        self._old = old
        return pieces

    def by_task(self, place: str, kind: str, what: Any, message_id: str | None = None) -> None:
        """A task has told this. place: as its `langgraph_checkpoint_ns`; message_id: whose words these are."""
        pieces = self._of_tasks[place]
        if message_id is not None and message_id not in self.message_ids:
            self.message_ids.add(message_id)
            pieces.append((_MESSAGE, message_id))
        if kind == WORDS and pieces and pieces[-1][0] == WORDS:
            pieces[-1] = (WORDS, pieces[-1][1] + what)
        else:
            pieces.append((kind, what))

    def by_step(self, namespace: Sequence[str], kind: str, what: Any) -> None:
        """One of the tasks that run in this graph has told it."""
        self._of_steps["|".join(namespace)].append((kind, what))

    async def task_changed(self, namespace: Sequence[str], task: Mapping[str, Any], more: Sequence[Piece]) -> None:
        """A task has begun, or has ended. task: as the stream mode `tasks` says it; more: what it has told with its
        end."""
        graph = "|".join(namespace)
        running = self._running[graph]
        if "input" in task:
            running.add(task["id"])
            return
        if task["error"] or task["interrupts"]:
            return  # it runs again, or the graph has come to its end
        running.discard(task["id"])
        place = "|".join([*namespace, f"{task['name']}:{task['id']}"])
        pieces: list[Piece] = []
        for of_places in (self._of_tasks, self._of_steps):
            for inner in [each for each in of_places if each == place or each.startswith(f"{place}|")]:
                pieces += of_places.pop(inner)
        if not running:
            pieces += self._of_steps.pop(graph, [])
        pieces += more
        if pieces:
            await self._keep(place, pieces)

    async def _keep(self, place: str, pieces: Sequence[Piece]) -> None:
        kept = {"turn": self._ctx.idempotency_key, "place": place, "pieces": pieces}
        values: dict[str, bytes | None] = dict.fromkeys(self._old)
        values[f"{PREFIX}{self._count:06}"] = json.dumps(kept).encode()
        self._count += 1
        self._old = ()
        await self._ctx.storage.latest.change(values)
