"""Which checkpoints a thread needs to go on: the latest, and those that its delta channels are made of.

A delta channel stands in few checkpoints; its value is made of the last one that has it and of the writes since. One
that a checkpoint counts since its last snapshot (`counters_since_delta_snapshot`) and does not have is looked for in
those before.
"""

from langgraph.checkpoint.serde.base import SerializerProtocol

from agentring.adapters.langgraph.stored import CheckpointRef, unpacked
from agentring.agent import LatestStorage


async def kept_ancestors(
    latest: CheckpointRef, serde: SerializerProtocol, storage: LatestStorage
) -> list[CheckpointRef]:
    """The latest one of its namespace, and those before it that it needs."""
    kept: list[CheckpointRef] = []
    missing: set[str] | None = None
    ref: CheckpointRef | None = latest
    while ref is not None and missing != set():
        value = await storage.get(ref.key)
        if value is None:
            break
        stored = unpacked(value)
        present = set(serde.loads_typed(stored.typed)["channel_values"])
        if missing is None:
            missing = set(stored.head["metadata"].get("counters_since_delta_snapshot") or {})
        missing -= present
        kept.append(ref)
        parent_id = stored.head["parent_id"]
        ref = CheckpointRef(ref.thread_id, ref.namespace, parent_id) if parent_id else None
    return kept
