"""The metrics' port with TLS: HTTP/1.1, each connection on a thread of its own.

Guarantees: a handshake or a request that is slow holds up nobody but itself, and ends after _PATIENCE_S; beyond
MAX_CONNECTIONS another one is closed at once; certificates that change are used for new connections. Used by
metrics.py.
"""

import socket
import threading
from contextlib import suppress
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from agentring.certificates.context_files import ContextFiles

MAX_CONNECTIONS = 32
_PATIENCE_S = 10.0

_log = structlog.get_logger()


def serve_by_tls(registry: CollectorRegistry, host: str, port: int, tls: ContextFiles) -> int:
    """Serves until the process ends; the port that was taken. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    server = _Server(family, (str(address[0]), int(address[1])), tls)
    server.set_app(make_wsgi_app(registry))
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server.server_port


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """A request is no event."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int], tls: ContextFiles) -> None:
        """Listens. Raises OSError."""
        self.address_family = family
        self._tls = tls
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """As TCPServer: WSGIServer would look up the host's name, which may take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Each on a thread of its own, up to the limit."""
        self._tls.poll()
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread could be started
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The handshake, then the request."""
        try:
            encrypted = self._tls.current.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
            over = threading.Timer(_PATIENCE_S, _shut, (encrypted,))
            over.start()
            try:
                encrypted.do_handshake()
                super().process_request_thread(encrypted, client_address)
            finally:
                over.cancel()
                encrypted.close()
        except OSError as error:  # of TLS, too
            _log.debug("metrics_handshake_failed", why=type(error).__name__)
            request.close()
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke: nothing of it goes to stderr."""
        _log.debug("metrics_request_failed")


def _shut(encrypted: socket.socket) -> None:
    """Past TLS: who is silent would not answer its goodbye."""
    with suppress(OSError):
        socket.socket.shutdown(encrypted, socket.SHUT_RDWR)
