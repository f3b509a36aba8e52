"""The gRPC server: its options, health and reflection, and the addresses it takes."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from providerd.channel import is_loopback_host
from providerd_server.certificates import Certificates
from providerd_server.errors import ConfigurationError
from providerd_server.service import SERVICE_NAME
from providerd_server.serving_settings import ServingSettings

log = structlog.get_logger(__name__)

# A storm of reconnects is thousands of calls at once; gRPC's default of 1,000 pending ones fails some at random.
_MOST_PENDING = 100_000


@dataclass(frozen=True, slots=True)
class Exposure:
    """Somebody to whom the daemon is open, in words, what would close it, and the details for its log."""

    what: str
    remedy: str
    details: Mapping[str, object] = field(default_factory=dict)


def create_server(
    handler: grpc.GenericRpcHandler, interceptors: Sequence[grpc.aio.ServerInterceptor], settings: ServingSettings
) -> tuple[grpc.aio.Server, HealthServicer]:
    """A server of ``handler``, health (not serving yet) and reflection, that listens nowhere yet.

    All of them are behind the interceptors, which a call meets in their order.
    """
    server = grpc.aio.server(interceptors=interceptors, options=_options(settings))
    server.add_generic_rpc_handlers((handler,))
    health = HealthServicer()
    add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection((SERVICE_NAME, HEALTH_SERVICE, reflection.SERVICE_NAME), server)
    return server, health


async def set_serving(health: HealthServicer, serving: bool) -> None:
    """Tells health checks whether calls are answered."""
    status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
    for service in ("", SERVICE_NAME):
        await health.set(service, status)


@contextmanager
def holding(addresses: Sequence[str]) -> Iterator[None]:
    """Holds the unix sockets among the addresses against other daemons, which would silently take them over.

    Raises:
        ConfigurationError: Another daemon has one of them.
    """
    with ExitStack() as stack:
        for address in addresses:
            if address.startswith("unix:"):
                path = address.removeprefix("unix:").removeprefix("//")
                stack.callback(os.close, _lock(path))
        yield


def listen(
    server: grpc.aio.Server,
    addresses: Sequence[str],
    certificates: Certificates | None,
    *,
    socket_mode: int,
) -> list[str]:
    """Takes the addresses; returns them with the ports that were chosen for port 0.

    Args:
        server: Has not been started.
        addresses: host:port, or unix:///path.
        certificates: What TLS is spoken with on TCP; None for no TLS. Unix sockets never need it.
        socket_mode: The permissions of unix sockets.

    Raises:
        ConfigurationError: An address cannot be taken.
    """
    taken = []
    for address in addresses:
        try:
            check_free(address)
            port = _add(server, address, certificates, socket_mode)
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "it cannot be bound"
            raise ConfigurationError(
                f"cannot listen on {address}: {reason}; stop what holds it, or set PROVIDERD_LISTEN"
            ) from None
        taken.append(address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}")
    return taken


def check_exposure(settings: ServingSettings) -> None:
    """Keeps a server that anybody could use from being reached from other machines by accident.

    Raises:
        ConfigurationError: An address is not of this machine alone, TLS or authentication is off, and ``insecure`` too.
    """
    for exposure in exposures(settings):
        log.warning(exposure.what, **exposure.details)


def exposures(settings: ServingSettings) -> Iterator[Exposure]:
    """To whom the daemon is open, as the settings say in so many words.

    Raises:
        ConfigurationError: They do not say so, and it would be.
    """
    open_socket = settings.socket_mode & 0o006 and settings.access_file is None
    if open_socket and any(address.startswith("unix:") for address in settings.listen):
        yield Exposure(
            f"every user of this machine may {settings.open_to_all}, as PROVIDERD_SOCKET_MODE says",
            "set PROVIDERD_SOCKET_MODE to 0660 or 0600",
        )
    exposed = [address for address in settings.listen if not _is_loopback(address)]
    lacking = [
        what
        for what, given in (
            ("TLS (PROVIDERD_TLS_CERT_FILE, PROVIDERD_TLS_KEY_FILE)", settings.tls_cert_file),
            ("authentication (PROVIDERD_ACCESS_FILE)", settings.access_file),
        )
        if given is None
    ]
    if not exposed or not lacking:
        return
    without = " and ".join(lacking)
    if not settings.insecure:
        raise ConfigurationError(
            f"refusing to listen on {', '.join(exposed)}, beyond this machine, without {without};"
            " set them, listen on loopback, or say --insecure"
        )
    danger = (
        "others may read and change what is sent"
        if settings.access_file
        else f"whoever reaches it may {settings.open_to_all}"
    )
    yield Exposure(
        f"listening beyond this machine insecurely, as --insecure says: {danger}",
        f"unset PROVIDERD_INSECURE, and set {without}",
        {"addresses": exposed, "without": without},
    )


def check_free(address: str) -> None:
    """Raises OSError when a TCP address cannot be taken: gRPC would only print why, past our log."""
    if address.startswith("unix:"):
        return
    host, _, port = address.rpartition(":")
    for family, kind, protocol, _, where in socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM):
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)


def _add(server: grpc.aio.Server, address: str, certificates: Certificates | None, socket_mode: int) -> int:
    if not address.startswith("unix:"):
        if certificates is None:
            return int(server.add_insecure_port(address))
        return int(server.add_secure_port(address, certificates.server_credentials()))
    # Nobody can connect in the moment before the permissions are those wanted.
    before = os.umask(0o777)
    try:
        port: int = server.add_insecure_port(address)
    finally:
        os.umask(before)
    Path(address.removeprefix("unix:").removeprefix("//")).chmod(socket_mode)
    return port


def _lock(path: str) -> int:
    try:
        descriptor = _lock_file(f"{path}.lock")
    except PermissionError as error:
        if not os.path.lexists(f"{path}.lock"):
            raise ConfigurationError(f"cannot listen on unix:{path}: {error.strerror}; set PROVIDERD_LISTEN") from None
        raise ConfigurationError(
            f"cannot listen on unix:{path}: {path}.lock belongs to another account; if no daemon of that account runs,"
            " remove it, or else set PROVIDERD_LISTEN"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"cannot listen on unix:{path}: {error.strerror}; set PROVIDERD_LISTEN") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ConfigurationError(
            f"cannot listen on unix:{path}: another daemon has it; stop that one, or set PROVIDERD_LISTEN"
        ) from None
    return descriptor


def _lock_file(path: str) -> int:
    flags = os.O_RDWR | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)
    if os.geteuid() == 0:
        # Otherwise the account that the directory was made for could not serve there after root has, even once.
        directory = Path(path).parent.stat()
        os.fchown(descriptor, directory.st_uid, directory.st_gid)
    return descriptor


def _is_loopback(address: str) -> bool:
    return address.startswith("unix:") or is_loopback_host(address.rpartition(":")[0].strip("[]"))


def _options(settings: ServingSettings) -> list[tuple[str, int]]:
    return [
        # Otherwise a second daemon would silently take half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.server.max_pending_requests", _MOST_PENDING),
        ("grpc.server.max_pending_requests_hard_limit", _MOST_PENDING),
        ("grpc.max_receive_message_length", settings.max_request_bytes),
        # Between two different values gRPC would refuse at random.
        ("grpc.max_metadata_size", settings.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_concurrent_streams", settings.max_streams),
        ("grpc.server_handshake_timeout_ms", int(settings.handshake_timeout * 1000)),
        ("grpc.max_connection_idle_ms", int(settings.idle_timeout * 1000)),
        # Finds peers that vanished without a word.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients ping every 20 s; below this the server would send them away with too_many_pings.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 0),
    ]
