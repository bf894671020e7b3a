"""What is counted of an access log, for the metrics of its process."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agentring.audit.process_log import ProcessLog


def log_metrics(prefix: str, access: ProcessLog | None) -> Iterator[Metric]:
    """prefix: `agentring_node_`, for one; access: None: there is no log, and no number."""

    def _gauge(name: str, about: str, value: float) -> Metric:
        return GaugeMetricFamily(prefix + name, about, value=value)

    def _counter(name: str, about: str, value: float) -> Metric:
        return CounterMetricFamily(prefix + name, about, value=value)

    if access is None:
        return
    log = access.log
    yield _counter("access_log_lost", "Calls that are not in the access log.", log.lost)
    yield _gauge("access_log_waiting", "Calls not written to it yet.", log.waiting)
    yield _gauge("access_log_failing", "Whether it cannot be written.", bool(log.failing))
    yield _gauge("access_log_not_anchored", "Whether its newest head could not be kept.", access.anchor.failing)
