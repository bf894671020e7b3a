"""`ctx.once`: a step of a turn or a task that runs once in the whole cluster, and whose outcome is everybody's.

Guarantees: the function is called only by the owner of the key's claim, after the run's row was written under the
claim's epoch, and while the lease stands, so that two runs of a key never overlap as long as leases do; callers that
come meanwhile wait for that run's outcome, in memory on this node and by WatchRun on others, each wait with a deadline,
and get the one that the store has; where the owner dies, is cancelled or fenced the key comes free, and one of those
that wait runs the step, or finds it UNKNOWN where it must not run twice. A wait for one's own key is refused. Does not
guarantee that the function's effect happens once: it gets an idempotency_key, the same for all attempts, and a
fencing_token that grows with each.

The first caller on this node looks a key up for the others too, and they wait for what it finds; where it goes away,
another of them continues; what refuses one refuses all, so that thousands that wait are not refused one after the
other. Callers that hold keys look for themselves: the keys travel along, and what one may wait for another may not.

Called by the turns and runs of this incarnation of the node; owned by it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from agent_node.agent_errors import log_failure, text_of
from agent_node.json_values import NotJson, to_json
from agent_node.once.cycles import check_no_cycle, held_runs, holding, waiting
from agent_node.once.keys import OnceKeys
from agent_node.once.run import OnceRun
from agent_node.store.once_records import Ending, OnceCaller
from agentring.agent import OnceFailed, OnceTimeout, OnceUnknown
from agentring.cluster.lease import Lease
from agentring.errors import (
    AgentringError,
    ClaimUnreadable,
    CoordinatorUnavailable,
    NodeFenced,
    NodeOverloaded,
    NotOwner,
    SessionMoving,
    StaleEpoch,
    StoreUnavailable,
    TaskCycle,
)
from agentring.held import held
from agentring.ids import OnceRef, parse_once
from agentring.plain_json import type_name
from agentring.rpc.channel import NodeAt
from agentring.v1.task_pb2 import (
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    TASK_STATE_PENDING,
    TASK_STATE_UNKNOWN,
)

MAX_ERROR_CHARS = 1_000
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5
"""Between looks for the holder of a key: twice as long after each, while none answers."""


async def _at_once() -> None:
    """Nothing is waited for."""


class RunWatcher(Protocol):
    """Waits for another node's run (remote.py)."""

    async def watch(self, ref: OnceRef, node: NodeAt, held: Collection[OnceRef]) -> Ending | None:
        """How the run ended that the node has; None: that node has it no more, or does not answer. Raises
        TaskCycle."""


@dataclass(frozen=True, slots=True)
class _Call:
    caller: OnceCaller
    ref: OnceRef
    function: Callable[..., Awaitable[Any]]
    idempotent: bool
    held: Sequence[OnceRun]
    publish_unknown: Callable[[], None]
    in_child: bool
    may_run: Callable[[], Awaitable[None]]

    @property
    def held_refs(self) -> frozenset[OnceRef]:
        return frozenset(run.ref for run in self.held)


class Once:
    """Single-flight for the steps of this node's turns and tasks."""

    def __init__(self, keys: OnceKeys, lease: Lease, remote: RunWatcher) -> None:
        """keys: those of this node; remote: waits for the other nodes' runs."""
        self.keys = keys
        self._lease = lease
        self._remote = remote
        self._lookups: dict[tuple[OnceRef, frozenset[OnceRef]], asyncio.Future[Ending | None]] = {}
        """Those under way, which one caller makes for all: by key, and by the keys that the callers hold."""

    async def call(
        self,
        caller: OnceCaller,
        key: str,
        function: Callable[..., Awaitable[Any]],
        *,
        timeout_s: float,
        idempotent: bool,
        publish_unknown: Callable[[], None],
        in_child: bool = False,
        may_run: Callable[[], Awaitable[None]] = _at_once,
    ) -> Any:
        """The step's result, as Context.once says. publish_unknown: called where the step is UNKNOWN; in_child:
        the function is in a child process (agent_node/child_process); may_run: awaited before the function is called.

        Raises OnceFailed, OnceUnknown, OnceTimeout, InvalidTaskKey, TaskCycle, NodeFenced, NodeOverloaded, StaleEpoch,
        and, where etcd or the store were away until the deadline, CoordinatorUnavailable or StoreUnavailable.
        Cancellation: a step that is being run is cut off.
        """
        self._lease.check()
        ref = parse_once(caller.ref.tenant, key)
        if ref in held():  # by itself, or by a step that waits for this turn
            raise TaskCycle
        call = _Call(caller, ref, function, idempotent, held_runs(), publish_unknown, in_child, may_run)
        with waiting(call.held, ref):
            ending = await self._find(call, asyncio.get_running_loop().time() + timeout_s, timeout_s)
        self._lease.check()
        if ending.state == TASK_STATE_COMPLETED:
            return json.loads(ending.result_json)
        if ending.state == TASK_STATE_FAILED:
            raise OnceFailed(key, ending.error_type, ending.error_text)
        publish_unknown()
        raise OnceUnknown(key)

    async def _find(self, call: _Call, deadline_s: float, timeout_s: float) -> Ending:
        key = (call.ref, call.held_refs)
        while True:
            if (lookup := self._lookups.get(key)) is None:
                return await self._lead_lookup(key, call, deadline_s, timeout_s)
            try:
                async with asyncio.timeout_at(deadline_s):
                    ending = await asyncio.shield(lookup)
            except TimeoutError:
                raise OnceTimeout(call.ref.task_key, timeout_s) from None
            if ending is not None:
                return ending

    async def _lead_lookup(
        self, key: tuple[OnceRef, frozenset[OnceRef]], call: _Call, deadline_s: float, timeout_s: float
    ) -> Ending:
        lookup = self._lookups[key] = asyncio.get_running_loop().create_future()
        ending = None
        try:
            ending = await self._look_up(call, deadline_s, timeout_s)
        except (NodeFenced, NodeOverloaded, TaskCycle) as error:
            lookup.set_exception(error)
            lookup.exception()  # nobody may be waiting
            raise
        finally:
            del self._lookups[key]
            if not lookup.done():
                lookup.set_result(ending)
        return ending

    async def _look_up(self, call: _Call, deadline_s: float, timeout_s: float) -> Ending:
        pause_s, trouble = _FIRST_PAUSE_S, None
        while True:
            try:
                async with asyncio.timeout_at(deadline_s):
                    found = await self._look_up_once(call)
                    trouble = None
                    if found is None:
                        await asyncio.sleep(pause_s)
            except TimeoutError:
                raise trouble or OnceTimeout(call.ref.task_key, timeout_s) from None
            except (ClaimUnreadable, CoordinatorUnavailable, StoreUnavailable) as error:
                trouble, found = error, None
                await asyncio.sleep(pause_s)
            if isinstance(found, OnceRun):
                return await self._carry_out(found, call)
            if found is not None:
                return found
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _look_up_once(self, call: _Call) -> OnceRun | Ending | None:
        """OnceRun: it is this call's to carry out; None: to be looked up again."""
        ref = call.ref
        if ref not in self.keys and (ending := await self.keys.ending(ref, idempotent=call.idempotent)) is not None:
            return ending
        try:
            taken = await self.keys.take(ref, call.caller, idempotent=call.idempotent, in_child=call.in_child)
        except NotOwner as error:
            return await self._remote.watch(ref, NodeAt(error.node, error.address), call.held_refs)
        except (SessionMoving, StaleEpoch):
            return None
        if taken is not None:
            return taken
        if (run := self.keys.runs.get(ref)) is None:
            return None
        check_no_cycle(self.keys.runs, ref, call.held_refs)
        return await asyncio.shield(run.ended)

    async def _carry_out(self, run: OnceRun, call: _Call) -> Ending:
        try:
            with holding(run):
                ending = await self._run(run, call)
        except GeneratorExit:  # its coroutine is closed from outside, and must not wait any more
            self.keys.begin_conclude(run, self._cut_off_ending(run))
            raise
        except BaseException:
            await self._cut_off(run, call)
            raise
        await self.keys.conclude(run, ending)
        return ending

    async def _cut_off(self, run: OnceRun, call: _Call) -> None:
        """The step was cancelled, or not even begun: whether it took effect is not known here either."""
        ending = self._cut_off_ending(run)
        with suppress(AgentringError):
            await self.keys.conclude(run, ending)
            if ending.state == TASK_STATE_UNKNOWN:
                call.publish_unknown()

    @staticmethod
    def _cut_off_ending(run: OnceRun) -> Ending:
        return Ending(TASK_STATE_PENDING if run.stored.idempotent else TASK_STATE_UNKNOWN)

    async def _run(self, run: OnceRun, call: _Call) -> Ending:
        await call.may_run()  # whoever has looked the key up may have been halted since
        self._lease.check()
        self.keys.started(run)
        try:
            result = await call.function(idempotency_key=run.idempotency_key, fencing_token=run.claim.epoch)
        except Exception as error:
            log_failure("once_failed", error, epoch=run.claim.epoch)
            return _failed(type_name(type(error)), text_of(error))
        try:
            result_json = to_json(result)
        except NotJson as error:
            return _failed("ResultNotKept", error.detail)
        if (size_bytes := len(result_json.encode())) > self.keys.limits.max_result_bytes:
            return _failed("ResultNotKept", f"the result has {size_bytes} bytes")
        return Ending(TASK_STATE_COMPLETED, result_json)


def _failed(error_type: str, error_text: str) -> Ending:
    return Ending(TASK_STATE_FAILED, error_type=error_type, error_text=error_text[:MAX_ERROR_CHARS])
