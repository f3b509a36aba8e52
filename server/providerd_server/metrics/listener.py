"""The address that Prometheus asks, apart from that of the API."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import socketserver
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from providerd_server.errors import ConfigurationError

log = structlog.get_logger(__name__)

# Seconds for a request to be sent.
_PATIENCE = 5.0

# Prometheus asks one at a time.
_MOST_AT_ONCE = 8

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the library has it
        """Says nothing: what asks every few seconds would fill the log."""


class _Server(ThreadingWSGIServer):
    """Answers few at a time, so that nobody takes all threads and descriptors of the process by asking slowly."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._places = threading.BoundedSemaphore(_MOST_AT_ONCE)
        super().__init__(*args, **kwargs)

    def server_bind(self) -> None:
        """Takes the address without asking DNS for its name, as http.server does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answers in a thread, or hangs up where too many are answered already."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers, but no longer than for some seconds, however slowly it is asked."""
        limit = threading.Timer(2 * _PATIENCE, _hang_up, [request])
        limit.daemon = True
        limit.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            limit.cancel()
            self._places.release()

    def handle_error(self, *_: Any) -> None:
        """Says nothing of connections that break off."""


class _Server6(_Server):
    address_family = socket.AF_INET6


@asynccontextmanager
async def serving_metrics(address: str, registry: CollectorRegistry) -> AsyncIterator[str]:
    """Answers HTTP requests in threads of its own, for as long as the block runs; gives host:port as it was taken.

    An event loop that does not get to its part within seconds, see ``InLoop``, is answered for with 503.

    Raises:
        ConfigurationError: The address cannot be taken.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    server_class = _Server6 if ":" in host else _Server
    app = _answering(make_wsgi_app(registry))
    try:
        server = make_server(host, int(port), app, server_class, _Handler)
    except OSError as error:
        raise ConfigurationError(
            f"cannot serve metrics on {address}: {error.strerror or error}; set PROVIDERD_METRICS_LISTEN"
        ) from None
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="metrics", daemon=True)
    thread.start()
    taken = f"{address.rpartition(':')[0]}:{server.server_port}"
    log.info("metrics are served", address=taken, path="/metrics")
    try:
        yield taken
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()


def _answering(app: App) -> App:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] not in ("/metrics", "/"):
            return _text(start_response, "404 Not Found", "metrics are at /metrics\n")
        try:
            return app(environ, start_response)
        except TimeoutError:
            return _text(start_response, "503 Service Unavailable", "the server is too busy to answer\n")
        except Exception:
            log.exception("metrics could not be collected")
            return _text(start_response, "500 Internal Server Error", "the log has the details\n")

    return answer


def _hang_up(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


def _text(start_response: Callable[..., Any], status: str, text: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode()]
