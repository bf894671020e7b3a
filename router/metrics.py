"""What a router counts, for Prometheus.

The counters are plain numbers of the relay (router/stats.py), so that counting costs the data plane next to
nothing; they are read when somebody asks (agentring/rpc/metrics.py).
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import inf
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from agentring.audit.log_metrics import log_metrics
from agentring.audit.process_log import ProcessLog
from agentring.auth.auth_metrics import auth_metrics
from agentring.auth.authenticator import AuthFile
from agentring.cluster.condition import Condition, ConditionBoard, Trouble
from agentring.errors import CoordinatorUnavailable
from agentring.http2.budget import Budget
from router.routing.owner import View
from router.stats import RESUMED_WITHIN_S, Stats


class Counted(Protocol):
    """The relay, as far as it is counted."""

    stats: Stats
    budget: Budget

    @property
    def calls_in_flight(self) -> int:
        """Calls that have not ended."""

    @property
    def client_connections(self) -> int:
        """Open now."""

    @property
    def node_connections(self) -> int:
        """Open now."""


class RouterMetrics(Collector):
    """Reads the numbers."""

    def __init__(
        self,
        relay: Counted,
        view: View,
        board: ConditionBoard,
        access: ProcessLog | None = None,
        credentials: AuthFile | None = None,
    ) -> None:
        """view: whose ring is reported; access: None: calls are not written down; credentials: None: nobody is asked
        who he is."""
        self._access = access
        self._credentials = credentials
        self._relay = relay
        self._board = board
        self._view = view

    def collect(self) -> Iterator[Metric]:
        """As Collector."""
        relay, stats, budget = self._relay, self._relay.stats, self._relay.budget
        yield _one_of("state", "Which state the router is in.", "state", tuple(Condition), self._board.condition)
        trouble = self._board.trouble
        yield _one_of("coordinator_trouble", "What is wrong with etcd.", "trouble", tuple(Trouble), trouble)
        yield _counter("calls", "Calls that clients have begun.", stats.calls)
        yield _counter("calls_cancelled", "Calls that clients have left.", stats.cancelled)
        yield _gauge("calls_in_flight", "Calls that have not ended.", relay.calls_in_flight)
        yield _by("errors", "Calls that the router itself has ended, by the error's reason.", ("reason",), stats.errors)
        yield _gauge("client_connections", "Clients' connections.", relay.client_connections)
        yield _gauge("node_connections", "Connections to nodes.", relay.node_connections)
        yield _counter("client_connections_opened", "Clients' connections so far.", stats.client_connections_opened)
        yield _counter("client_connections_refused", "Connections beyond the limit.", stats.client_connections_refused)
        yield _by(
            "reattachments",
            "Losses of a call's node, and first opens that met a moving session, by the cause and how that ended.",
            ("cause", "outcome"),
            stats.reattachments,
        )
        yield _by(
            "lost_calls",
            "Calls whose node's connection broke before they were taken (or again, at once after), by the outcome.",
            ("outcome",),
            stats.lost_unaccepted,
        )
        yield _counter("stale_epochs", "Answers under an epoch that is over, refused.", stats.stale_epochs)
        yield _histogram(
            "reattaching_seconds",
            "How long those that were resumed had no node.",
            RESUMED_WITHIN_S,
            stats.resumed_within,
            stats.reattaching_s,
        )
        yield _counter("streams_refused", "Streams beyond the limit of their connection.", stats.streams_refused)
        yield _by(
            "connections_ended",
            "Connections that the router has ended, by whose they were and why.",
            ("role", "why"),
            stats.broken,
        )
        yield _by("received_bytes", "Bytes read, by whose connection.", ("role",), stats.received_bytes)
        yield _by("sent_bytes", "Bytes written, by whose connection.", ("role",), stats.sent_bytes)
        yield _gauge("buffered_bytes", "Bytes held for those who do not read, or not yet.", budget.used_bytes)
        yield _gauge("buffered_streams", "Streams that hold such bytes.", len(budget))
        yield _counter("shed", "Calls that were ended because too many bytes were held.", budget.shed_count)
        yield from log_metrics("agentring_router_", self._access)
        yield from auth_metrics("agentring_router_", self._credentials)
        try:
            ring = self._view.ring
        except CoordinatorUnavailable:
            return
        yield _gauge("ring_nodes", "Nodes on the ring.", len(ring.nodes))
        yield _gauge("ring_revision", "The membership's revision that the ring was built from.", ring.revision)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"agentring_router_{name}", about, value=value)


def _one_of(name: str, about: str, label: str, values: tuple[str, ...], current: str | None) -> Metric:
    family = GaugeMetricFamily(f"agentring_router_{name}", about, labels=(label,))
    for each in values:
        family.add_metric((str(each),), each == current)
    return family


def _counter(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(f"agentring_router_{name}", about, value=value)


def _histogram(name: str, about: str, bounds: Sequence[float], counts: Sequence[int], sum_: float) -> Metric:
    names = ["+Inf" if bound == inf else str(bound) for bound in bounds]
    buckets = list(zip(names, accumulate(counts), strict=True))
    family = HistogramMetricFamily(f"agentring_router_{name}", about)
    family.add_metric((), buckets, sum_)
    return family


def _by(name: str, about: str, labels: tuple[str, ...], counts: dict[str, int] | dict[tuple[str, str], int]) -> Metric:
    family = CounterMetricFamily(f"agentring_router_{name}", about, labels=labels)
    for key, count in list(counts.items()):
        family.add_metric((key,) if isinstance(key, str) else key, count)
    return family
