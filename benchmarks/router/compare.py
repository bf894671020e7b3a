"""From samples to what is told: medians, spreads, ratios to Envoy, latency added to the direct way, and the targets.

Guarantees that a ratio or a target is missing, never guessed, where one of its two sides was not measured.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.router.loads import LATENCY_LOADS, LOADS, Unit
from benchmarks.router.measure import Sample
from benchmarks.router.proxies import DIRECT, ENVOY

MOST_ADDED_P99_OVER_ENVOY_US = 200.0
MOST_CPU_RATIO = 1.0

_METRICS = (
    "cpu_us",
    "units_per_s",
    "events_per_s",
    "calls_per_s",
    "proxy_busy",
    "client_busy",
    "p50_us",
    "p99_us",
    "memory_kib",
    "memory_base_mib",
    "contention",
)
_COMPARED = ("cpu_us", "units_per_s", "memory_kib")


@dataclass(frozen=True, slots=True)
class Median:
    """A metric over the runs."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Row:
    """One load through one proxy."""

    load: str
    proxy: str
    runs: int
    metrics: dict[str, Median]
    to_envoy: dict[str, float]
    """The metrics' medians, divided by Envoy's."""
    added_p50_us: float | None
    """To the direct way, median to median; None: not a load for latency, or nothing to compare with."""
    added_p99_us: float | None

    def value(self, metric: str) -> float | None:
        """The metric's median, if it was measured."""
        measured = self.metrics.get(metric)
        return measured.median if measured else None


@dataclass(frozen=True, slots=True)
class Target:
    """Something that a router is to reach."""

    proxy: str
    name: str
    value: float
    limit: float
    met: bool


def rows_of(samples: Sequence[Sample]) -> list[Row]:
    """One row for each load and proxy, in the order in which they were first measured."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        if sample.failure:
            continue
        groups.setdefault((sample.load, sample.proxy), []).append(sample)
    metrics = {key: _medians(group) for key, group in groups.items()}
    rows = []
    for (load, proxy), own in metrics.items():
        envoy = metrics.get((load, ENVOY), {})
        direct = metrics.get((load, DIRECT), {}) if load in LATENCY_LOADS and proxy != DIRECT else {}
        rows.append(
            Row(
                load=load,
                proxy=proxy,
                runs=len(groups[load, proxy]),
                metrics=own,
                to_envoy={
                    name: own[name].median / envoy[name].median
                    for name in _COMPARED
                    if name in own and name in envoy and envoy[name].median
                },
                added_p50_us=_added(own, direct, "p50_us"),
                added_p99_us=_added(own, direct, "p99_us"),
            )
        )
    return rows


def targets_of(rows: Iterable[Row], routers: Iterable[str]) -> list[Target]:
    """What the routers are to reach, as far as both they and Envoy were measured."""
    found = {(row.load, row.proxy): row for row in rows}
    targets = []
    for router in routers:
        for load in LOADS.values():
            row, envoy = found.get((load.name, router)), found.get((load.name, ENVOY))
            if row is None or envoy is None:
                continue
            if load.saturates and "cpu_us" in row.to_envoy:
                ratio = row.to_envoy["cpu_us"]
                name = f"CPU of a {load.unit} to Envoy's, {load.name}"
                targets.append(Target(router, name, ratio, MOST_CPU_RATIO, ratio <= MOST_CPU_RATIO))
            if load.name == "moderate" and row.added_p99_us is not None and envoy.added_p99_us is not None:
                over_us = row.added_p99_us - envoy.added_p99_us
                name = "added p99 over Envoy's, µs, moderate"
                limit = MOST_ADDED_P99_OVER_ENVOY_US
                targets.append(Target(router, name, over_us, limit, over_us <= limit))
            if load.unit is Unit.STREAM and "memory_kib" in row.to_envoy:
                ratio = row.to_envoy["memory_kib"]
                name = "memory of an idle stream to Envoy's"
                targets.append(Target(router, name, ratio, 1.0, ratio <= 1.0))
    return targets


def _medians(group: Sequence[Sample]) -> dict[str, Median]:
    medians = {}
    for name in _METRICS:
        values = [value for sample in group if (value := getattr(sample, name)) is not None]
        if values:
            medians[name] = Median(median(values), min(values), max(values))
    return medians


def _added(own: dict[str, Median], direct: dict[str, Median], metric: str) -> float | None:
    if metric not in own or metric not in direct:
        return None
    return own[metric].median - direct[metric].median
