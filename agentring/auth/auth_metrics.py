"""What is counted of an auth file, for the metrics of its process."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agentring.auth.authenticator import AuthFile


def auth_metrics(prefix: str, auth: AuthFile | None) -> Iterator[Metric]:
    """prefix: `agentring_node_`, for one; auth: None: nobody is asked who he is, and there is no number."""

    def _gauge(name: str, about: str, value: float) -> Metric:
        return GaugeMetricFamily(prefix + name, about, value=value)

    def _counter(name: str, about: str, value: float) -> Metric:
        return CounterMetricFamily(prefix + name, about, value=value)

    if auth is None:
        return
    yield _gauge("auth_file_unusable", "Whether the auth file as it is now is not in force.", bool(auth.why_unusable))
    yield _gauge("auth_tokens_remembered", "Tokens that are not verified again.", auth.remembered)
    yield _counter("auth_tokens_unchecked", "New tokens that were not looked at.", auth.unchecked)
    yield _gauge("auth_jwks_failing", "Issuers' keys that could not be fetched the last time.", auth.fetched.failing)
    yield _counter("auth_jwks_failures", "Fetches of issuers' keys that failed.", auth.fetched.failures)
