"""Serves a process's metrics for Prometheus, over HTTP or HTTPS on an address of its own, by a thread.

The collector is asked from that thread while the event loop goes on: it reads numbers and copies, nothing that can
change under it. Called by the router's and the node's app.
"""

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.registry import Collector

from agentring.certificates.context_files import ContextFiles
from agentring.http2.listener import CannotListen
from agentring.rpc.metrics_port import serve_by_tls


def serve(metrics: Collector, address: str, tls: ContextFiles | None = None) -> int:
    """Serves them on host:port until the process ends; the port that was taken. tls: None: plaintext. Raises
    CannotListen."""
    registry = CollectorRegistry()
    registry.register(metrics)
    host, _, port = address.rpartition(":")
    try:
        if tls is not None:
            return serve_by_tls(registry, host.strip("[]"), int(port), tls)
        server, _ = start_http_server(int(port), host.strip("[]"), registry)
    except OSError:
        raise CannotListen(address) from None
    return server.server_port
