"""What tenants and subjects have of one incarnation of the node, against the node's share of their limits.

Guarantees: what is counted is held, and a hold is given back once, however often its holder says so; a check and the
count that it allows are one step, so that callers that come at once do not count on the same room. What was accepted
once (a swept session, a turn of an earlier owner, a stream that comes again) is counted and never refused. Counts are
this incarnation's: they end with it, and the next one begins with none.
"""

from collections import Counter
from collections.abc import Callable
from enum import StrEnum

from agent_node.quota.limits import Limits, LimitTable
from agent_node.quota.rates import Rates
from agent_node.quota.refusals import Refusals
from agent_node.quota.share import Share
from agent_node.quota.stored import MEASURE_S, StoredBytes
from agentring.errors import QuotaExceeded
from agentring.ids import TenantId

_FULL_WAIT_MS = 1_000
_MEASURED_MS = int(MEASURE_S * 1_000)


class Held(StrEnum):
    """What is counted while it lasts."""

    SESSIONS = "sessions"
    STREAMS = "streams"
    OPEN_TURNS = "open_turns"
    RUNNING_TURNS = "running_turns"
    TASKS = "tasks"


class Hold:
    """One thing that is counted, until it is released."""

    __slots__ = ("_counts", "_party", "_what")

    def __init__(self, counts: "Counter[tuple[str, str, str]]", what: Held, tenant: str, subject: str) -> None:
        self._counts: Counter[tuple[str, str, str]] | None = counts
        self._what = what
        self._party = tenant, subject
        for each in _scopes(subject):
            counts[what, tenant, each] += 1

    def release(self) -> None:
        """Counts it no more. A second time changes nothing."""
        counts, self._counts = self._counts, None
        if counts is None:
            return
        tenant, subject = self._party
        for each in _scopes(subject):
            counts[self._what, tenant, each] -= 1
            if not counts[self._what, tenant, each]:
                del counts[self._what, tenant, each]

    def __enter__(self) -> "Hold":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Quota:
    """Who has how much here, and who may have more."""

    def __init__(
        self,
        table: Callable[[], LimitTable],
        share: Callable[[], Share],
        now_s: Callable[[], float],
        refusals: Refusals,
    ) -> None:
        """table, share: as they are now; now_s: a clock that never goes back."""
        self._table = table
        self._share = share
        self._rates = Rates(now_s)
        self.stored = StoredBytes()
        """What tenants have stored."""
        self._refusals = refusals
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def held(self, what: Held, tenant: str, subject: str = "") -> int:
        """How many a tenant has, or one of its subjects."""
        return self._counts[what, tenant, subject]

    def totals(self) -> dict[str, int]:
        """How many all tenants have, by what."""
        totals = dict.fromkeys((str(what) for what in Held), 0)
        for (what, _, subject), count in self._counts.copy().items():  # metrics are read on another thread
            if not subject:
                totals[what] += count
        return totals

    def refusal(self, what: Held, tenant: TenantId, subject: str) -> QuotaExceeded | None:
        """Why the party may not have one more; None: it may."""
        for scope, limits in self._limits(tenant, subject):
            limit: int | None = getattr(limits, what)
            if limit is not None and self._counts[what, tenant, scope] >= self._share().of_count(limit):
                return self._refused(what, limit, tenant, scope, _FULL_WAIT_MS)
        return None

    def hold(self, what: Held, tenant: TenantId, subject: str, *, was_accepted: bool = False) -> Hold:
        """Counts one more. was_accepted: whatever the limits say. Raises QuotaExceeded."""
        if not was_accepted and (refusal := self.refusal(what, tenant, subject)) is not None:
            raise refusal
        return Hold(self._counts, what, tenant, subject)

    def may_run(self, tenant: TenantId, subject: str) -> bool:
        """Whether one more turn or task run of the party may run now; else it waits."""
        return self._room_to_run(tenant, subject) > 0

    def begin_run(self, tenant: TenantId, subject: str) -> Hold:
        """Counts a run; may_run has just said yes."""
        return Hold(self._counts, Held.RUNNING_TURNS, tenant, subject)

    def accept_turn(self, tenant: TenantId, subject: str, size_bytes: int, free: int | None) -> Hold:
        """Counts a turn or a task run that is about to be accepted, and what it spends. free: how many slots it might
        run in at once; None: it takes the place of one that is counted, so it makes none wait. Raises QuotaExceeded,
        and then nothing was counted."""
        if free is not None:
            self._check_waiting(tenant, subject, free)
        stores = self._checked_stored(tenant, size_bytes)
        self._spend(tenant, subject, {"turns_per_s": 1, "bytes_in_per_s": size_bytes})
        if stores:
            self.stored.add(tenant, size_bytes)
        return Hold(self._counts, Held.OPEN_TURNS, tenant, subject)

    def resume_turn(self, tenant: TenantId, subject: str) -> Hold:
        """Counts one that was accepted before."""
        return Hold(self._counts, Held.OPEN_TURNS, tenant, subject)

    def take_file(self, tenant: TenantId, subject: str, size_bytes: int) -> None:
        """Counts a file that is about to come. Raises QuotaExceeded, and then nothing was counted."""
        stores = self._checked_stored(tenant, size_bytes)
        self.spend_bytes(tenant, subject, size_bytes)
        if stores:
            self.stored.add(tenant, size_bytes)

    def spend_bytes(self, tenant: TenantId, subject: str, size_bytes: int) -> None:
        """Counts bytes that came. Raises QuotaExceeded, and then none were counted."""
        self._spend(tenant, subject, {"bytes_in_per_s": size_bytes})

    def _limits(self, tenant: str, subject: str) -> list[tuple[str, Limits]]:
        table = self._table()
        found: list[tuple[str, Limits]] = [("", table.of_tenant(tenant))]
        return [*found, (subject, table.of_subject(tenant, subject))] if subject else found

    def _room_to_run(self, tenant: TenantId, subject: str) -> int:
        room = 1 << 40
        for scope, limits in self._limits(tenant, subject):
            if limits.running_turns is not None:
                most = self._share().of_count(limits.running_turns)
                room = min(room, most - self._counts[Held.RUNNING_TURNS, tenant, scope])
        return max(0, room)

    def _check_waiting(self, tenant: TenantId, subject: str, free: int) -> None:
        for scope, limits in self._limits(tenant, subject):
            if (limit := limits.waiting_turns) is None:
                continue
            # Those that were accepted a moment ago have not begun yet, so they take of the room to run.
            waiting = self._counts[Held.OPEN_TURNS, tenant, scope] - self._counts[Held.RUNNING_TURNS, tenant, scope]
            if waiting >= self._share().of_count(limit) + min(free, self._room_to_run(tenant, subject)):
                raise self._refused("waiting_turns", limit, tenant, scope, _FULL_WAIT_MS)

    def _checked_stored(self, tenant: TenantId, size_bytes: int) -> bool:
        """Whether the tenant has a limit of what it stores."""
        limit = self._table().of_tenant(tenant).stored_bytes
        if limit is None:
            return False
        if not self.stored.has_room(tenant, limit, size_bytes, self._share()):
            raise self._refused("stored_bytes", limit, tenant, "", _MEASURED_MS)
        return True

    def _spend(self, tenant: TenantId, subject: str, amounts: dict[str, int]) -> None:
        """All of it, or nothing."""
        spent = []
        for scope, limits in self._limits(tenant, subject):
            for what, amount in amounts.items():
                limit: float | None = getattr(limits, what)
                if limit is None:
                    continue
                rate, party = self._share().of_rate(limit), (what, tenant, scope)
                if wait_s := self._rates.wait_s(party, rate, amount):
                    raise self._refused(what, limit, tenant, scope, int(wait_s * 1_000) + 1)
                spent.append((party, rate, amount))
        for party, rate, amount in spent:
            self._rates.spend(party, rate, amount)

    def _refused(self, what: str, limit: float, tenant: TenantId, scope: str, wait_ms: int) -> QuotaExceeded:
        self._refusals.add(what, tenant)
        return QuotaExceeded(what, f"{limit:g}", "subject" if scope else "tenant", wait_ms)


def _scopes(subject: str) -> tuple[str, ...]:
    """Under which names a party is counted: its tenant's, and its own."""
    return ("", subject) if subject else ("",)
