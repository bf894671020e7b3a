"""LangGraph's checkpoints in the storage of a session or task.

Guarantees: what was saved is committed when the method returns, under the compare of the session's owner, so that what
an earlier owner still wants to save is refused (StaleEpoch ends its run); the writes of one task are saved together;
what each method returns is what the package's own saver for SQLite returns, where both have the method
(tests/unit/agentring/adapters/langgraph/test_saver.py).
"""

import builtins
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_id,
    get_checkpoint_metadata,
    writes_sort_key,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from agentring.adapters.current import current_context, from_thread, in_loop
from agentring.adapters.langgraph.pruning import kept_ancestors
from agentring.adapters.langgraph.stored import (
    PREFIX,
    CheckpointRef,
    Stored,
    add,
    all_keys,
    checkpoint_id_of,
    copy,
    is_checkpoint,
    namespace_prefix,
    packed,
    remove,
    remove_all,
    thread_prefix,
    unpacked,
)
from agentring.agent import LatestStorage


class AgentringSaver(BaseCheckpointSaver[int]):
    """A checkpointer for graphs that run in an agent.

        graph = builder.compile(checkpointer=AgentringSaver())

    `langgraph_agent` gives a graph one by itself. It keeps threads in the storage of the session that runs, so a thread
    is one session's, and another session never finds it; `ctx.storage`'s bounds hold, 64 MiB and 10,000 keys by
    default: prune threads that grow. Each method raises as `ctx.storage.latest`, and RuntimeError outside of an agent.
    The methods that do not await are for other threads than the event loop's.
    """

    def __init__(self, *, serde: SerializerProtocol | None = None) -> None:
        """serde: as BaseCheckpointSaver.

        saver = AgentringSaver(serde=JsonPlusSerializer(pickle_fallback=True))
        """
        super().__init__(serde=serde)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that the config names, or the latest one of its thread and namespace, with its writes."""
        return await in_loop(lambda: self._get_tuple(config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """The newest first. filter: what the metadata has, value for value; before: older than this one's id."""
        for found in await in_loop(lambda: self._list(config, filter, before, limit)):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Saves a checkpoint, over one of its id."""
        named = config["configurable"]
        ref = CheckpointRef(str(named["thread_id"]), named.get("checkpoint_ns", ""), checkpoint["id"])
        head = {
            "thread_id": ref.thread_id,
            "namespace": ref.namespace,
            "parent_id": get_checkpoint_id(config),
            "metadata": get_checkpoint_metadata(config, metadata),
        }
        value = packed(head, self.serde.dumps_typed(checkpoint))
        await in_loop(lambda: _storage().put(ref.key, value))
        return _config(ref, thread_id=named["thread_id"])

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Saves what a task has written, in one commit. What is there already stays, special writes apart."""
        named = config["configurable"]
        ref = CheckpointRef(str(named["thread_id"]), str(named.get("checkpoint_ns", "")), str(named["checkpoint_id"]))
        replaces = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        values: dict[str, bytes | None] = {}
        for position, (channel, value) in enumerate(writes):
            index = WRITES_IDX_MAP.get(channel, position)
            head = {"task_id": task_id, "task_path": task_path, "index": index, "channel": channel}
            key = ref.write(task_id, index)
            if replaces or key not in values:
                values[key] = packed(head, self.serde.dumps_typed(value))
        await in_loop(lambda: add(_storage(), ref, values, replaces=replaces))

    async def adelete_thread(self, thread_id: str) -> None:
        """Removes all that is saved of a thread, in one commit."""
        await in_loop(lambda: remove_all(_storage(), thread_prefix(str(thread_id))))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Removes the checkpoints, and their writes, whose metadata has one of these as `run_id`."""
        await in_loop(lambda: self._delete_for_runs(set(run_ids)))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Saves all of one thread under another one, too."""
        await in_loop(lambda: copy(_storage(), str(source_thread_id), str(target_thread_id)))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Removes what a thread does not need to go on. strategy: `keep_latest`: of each namespace the latest
        checkpoint stays, with those before it that its delta channels are made of; `delete`: nothing stays. Raises
        ValueError for another one."""
        if strategy not in ("keep_latest", "delete"):
            raise ValueError(f"strategy is keep_latest or delete, not {strategy}")
        for thread_id in thread_ids:
            if strategy == "delete":
                await self.adelete_thread(thread_id)
            else:
                await in_loop(partial(self._keep_latest, str(thread_id)))

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """As aget_tuple."""
        return from_thread(lambda: self._get_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """As alist."""
        yield from from_thread(lambda: self._list(config, filter, before, limit))

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """As aput."""
        return from_thread(lambda: self.aput(config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """As aput_writes."""
        from_thread(lambda: self.aput_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """As adelete_thread."""
        from_thread(lambda: self.adelete_thread(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """As adelete_for_runs."""
        from_thread(lambda: self.adelete_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """As acopy_thread."""
        from_thread(lambda: self.acopy_thread(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """As aprune."""
        from_thread(lambda: self.aprune(thread_ids, strategy=strategy))

    async def _get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        named = config["configurable"]
        thread_id, namespace = str(named["thread_id"]), named.get("checkpoint_ns", "")
        checkpoint_id = get_checkpoint_id(config)
        if not checkpoint_id:
            keys = await all_keys(_storage(), namespace_prefix(thread_id, namespace))
            latest = next((key for key in reversed(keys) if is_checkpoint(key)), None)
            if latest is None:
                return None
            checkpoint_id = checkpoint_id_of(latest)
            config = _config(CheckpointRef(thread_id, namespace, checkpoint_id))
        ref = CheckpointRef(thread_id, namespace, checkpoint_id)
        value = await _storage().get(ref.key)
        return await self._tuple(ref, unpacked(value), config) if value is not None else None

    async def _list(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Sequence[CheckpointTuple]:
        named = config["configurable"] if config is not None else {}
        prefix = PREFIX
        if config is not None:
            thread_id, namespace = str(named["thread_id"]), named.get("checkpoint_ns")
            prefix = thread_prefix(thread_id) if namespace is None else namespace_prefix(thread_id, namespace)
        only = get_checkpoint_id(config) if config is not None else None
        older_than = get_checkpoint_id(before) if before is not None else None
        keys = [key for key in await all_keys(_storage(), prefix) if is_checkpoint(key)]
        found: Sequence[CheckpointTuple] = []
        for key in sorted(keys, key=checkpoint_id_of, reverse=True):
            checkpoint_id = checkpoint_id_of(key)
            if (only and checkpoint_id != only) or (older_than and checkpoint_id >= older_than):
                continue
            if limit is not None and len(found) >= limit:
                break
            value = await _storage().get(key)
            if value is None:
                continue
            stored = unpacked(value)
            metadata = stored.head["metadata"]
            if filter and any(metadata.get(name) != wanted for name, wanted in filter.items()):
                continue
            ref = CheckpointRef(stored.head["thread_id"], stored.head["namespace"], checkpoint_id)
            found = [*found, await self._tuple(ref, stored, _config(ref))]
        return found

    async def _tuple(self, ref: CheckpointRef, stored: Stored, config: RunnableConfig) -> CheckpointTuple:
        parent_id = stored.head["parent_id"]
        return CheckpointTuple(
            config,
            self.serde.loads_typed(stored.typed),
            stored.head["metadata"],
            _config(CheckpointRef(ref.thread_id, ref.namespace, parent_id)) if parent_id else None,
            await self._writes(ref),
        )

    async def _writes(self, ref: CheckpointRef) -> builtins.list[PendingWrite]:
        writes = []
        for key in await all_keys(_storage(), ref.writes):
            if (value := await _storage().get(key)) is not None:
                writes.append(unpacked(value))
        writes.sort(key=lambda each: writes_sort_key(each.head["task_path"], each.head["task_id"], each.head["index"]))
        return [(each.head["task_id"], each.head["channel"], self.serde.loads_typed(each.typed)) for each in writes]

    async def _delete_for_runs(self, run_ids: set[str]) -> None:
        storage = _storage()
        keys = await all_keys(storage, PREFIX)
        going = []
        for key in filter(is_checkpoint, keys):
            value = await storage.get(key)
            if value is not None and unpacked(value).head["metadata"].get("run_id") in run_ids:
                going.append(key.removesuffix("c"))
        await remove(storage, [key for key in keys if any(key.startswith(prefix) for prefix in going)])

    async def _keep_latest(self, thread_id: str) -> None:
        storage = _storage()
        keys = await all_keys(storage, thread_prefix(thread_id))
        latest = {key.rsplit("/", 2)[0]: key for key in keys if is_checkpoint(key)}
        kept = []
        for key in latest.values():
            value = await storage.get(key)
            assert value is not None
            ref = CheckpointRef(thread_id, unpacked(value).head["namespace"], checkpoint_id_of(key))
            kept += await kept_ancestors(ref, self.serde, storage)
        await remove(storage, [key for key in keys if not any(key.startswith(ref.prefix) for ref in kept)])


def _storage() -> LatestStorage:
    return current_context().storage.latest


def _config(ref: CheckpointRef, thread_id: Any = None) -> RunnableConfig:
    return {
        "configurable": {
            "thread_id": ref.thread_id if thread_id is None else thread_id,
            "checkpoint_ns": ref.namespace,
            "checkpoint_id": ref.checkpoint_id,
        }
    }
