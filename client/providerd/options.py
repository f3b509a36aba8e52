"""The knobs of a client."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from typing import Any, TypedDict, cast

from providerd.channel import is_unix_socket, may_be_several, stays_on_this_machine, target_uri
from providerd.credentials import check_token
from providerd.seal import check_key
from providerd.secret import Secret

DEFAULT_TARGET = "localhost:50051"

_CERTIFICATE_FILES = ("ca_file", "cert_file", "key_file")


class ClientKeywords(TypedDict, total=False):
    """The keyword arguments of a client, for type checkers; ClientOptions says what each does."""

    include_credential: bool
    heartbeat_interval: float
    max_age: float | None
    name: str | None
    timeout: float
    watch: bool
    tls: bool
    ca_file: str | os.PathLike[str] | None
    cert_file: str | os.PathLike[str] | None
    key_file: str | os.PathLike[str] | None
    tls_server_name: str | None
    token: str | Secret | None
    token_file: str | os.PathLike[str] | None
    insecure: bool
    snapshot_file: str | os.PathLike[str] | None
    snapshot_key: str | bytes | Secret | None
    snapshot_max_age: float | None
    tracing: bool
    tracer_provider: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """How a client behaves.

    Raises:
        ValueError: A value is out of range, a target is not an address, or options do not go together.
    """

    # Where the daemons are: "host:port", "unix:///path", or any gRPC target; several "ip:port" to spread over.
    targets: tuple[str, ...] = (DEFAULT_TARGET,)

    # Whether the watch brings the active provider's key. Daemons grant it on loopback and unix sockets, and over TLS
    # to whom they know and who may read it.
    include_credential: bool = False

    # Seconds between signs of life when nothing changes, 1 to 300; fewer where max_age needs it. The client calls its
    # value stale, and reconnects, after three of them without a message.
    heartbeat_interval: float = 15.0

    # Reads raise StaleError once the value is older than this many seconds. None serves the last value for ever;
    # it also is the faster read, because it needs no look at the clock. The client asks for heartbeats that are
    # frequent enough; below 4 s it takes a daemon that also polls its database more often than by default.
    max_age: float | None = None

    # What the daemon calls this client in its logs, as "billing-worker".
    name: str | None = None

    # Seconds a unary call may take, and the longest that entering the client waits for the first answer.
    timeout: float = 5.0

    # False opens no watch: only the calls work, and `active` raises.
    watch: bool = True

    # Whether to speak TLS. Any of the next four turns it on; by itself it trusts the public authorities that come with
    # gRPC, or those in the file that GRPC_DEFAULT_SSL_ROOTS_FILE_PATH names.
    tls: bool = False

    # The authorities (PEM) that the certificates of the daemons are checked by.
    ca_file: str | os.PathLike[str] | None = None

    # The certificate chain of this client and its private key (PEM), for daemons that ask for one: mutual TLS.
    cert_file: str | os.PathLike[str] | None = None
    key_file: str | os.PathLike[str] | None = None

    # The name in the certificates of the daemons, where it is not the host of the target.
    tls_server_name: str | None = None

    # What the client is known by: a bearer token, or a file that holds one and is read again for every call.
    token: str | Secret | None = None
    token_file: str | os.PathLike[str] | None = None

    # Sends the token even without TLS and beyond this machine, as in a mesh that encrypts by itself.
    insecure: bool = False

    # The last-known-good file: what the watch brings is kept there, and the next process starts from it while the
    # daemons are away. It needs a directory that only this user and root can write to.
    snapshot_file: str | os.PathLike[str] | None = None

    # What the key of the active provider is encrypted with in that file, 16 characters or more, as from
    # `openssl rand -base64 32`. Without it the file holds no key. It takes the extra `snapshot`.
    snapshot_key: str | bytes | Secret | None = None

    # Files older than this many seconds are refused. The default, a week, is longer than outages last: an older one
    # was left behind, as in an image. None takes a file of any age.
    snapshot_max_age: float | None = 7 * 86400.0

    # Leaves a span of each change that is applied, in the trace of its revision, and has the daemon continue the traces
    # of those who call it. It takes the library opentelemetry-api; the extra `otel` brings what sends spans, too.
    tracing: bool = False

    # The OpenTelemetry TracerProvider that makes them; None for the one of the process.
    tracer_provider: Any = None

    def __post_init__(self) -> None:
        target_uri(self.targets)
        if not 1 <= self.heartbeat_interval <= 300:
            raise ValueError(f"heartbeat_interval must be 1 to 300 seconds, not {self.heartbeat_interval}")
        if self.max_age is not None and not self.max_age > 0:
            raise ValueError(f"max_age must be a positive number of seconds or None, not {self.max_age}")
        if not 0 < self.timeout < math.inf:
            raise ValueError(f"timeout must be a positive number of seconds, not {self.timeout}")
        if self.tracer_provider is not None and not self.tracing:
            raise ValueError("tracer_provider is for tracing=True: give both, or no provider")
        self._complete_tls()
        self._complete_token()
        self._complete_snapshot()

    @property
    def where(self) -> str:
        """The targets, as shown in messages."""
        return ", ".join(self.targets)

    @property
    def patience(self) -> float:
        """Seconds without a message after which the watch counts as lost."""
        return 3 * self.heartbeat

    @property
    def heartbeat(self) -> float:
        """Seconds between signs of life that the client asks for: as stated, or what max_age needs."""
        if self.max_age is None:
            return self.heartbeat_interval
        return min(self.heartbeat_interval, max(1.0, self.max_age / 3))

    @property
    def has_alternatives(self) -> bool:
        """Whether another daemon may answer in place of one: there are several addresses, or a name to look up."""
        return may_be_several(self.targets)

    @property
    def transport(self) -> str:
        """How the client talks to daemons: "plain", "unix socket", "TLS" or "mutual TLS"."""
        if self.tls:
            return "TLS" if self.cert_file is None else "mutual TLS"
        return "unix socket" if all(map(is_unix_socket, self.targets)) else "plain"

    @property
    def certificate_files(self) -> dict[str, str | os.PathLike[str]]:
        """The files of TLS that are given, by the names of their options."""
        return {name: path for name in _CERTIFICATE_FILES if (path := getattr(self, name)) is not None}

    @property
    def secret_token(self) -> Secret | None:
        """The token, if it is given as such."""
        return cast("Secret | None", self.token)

    @property
    def secret_snapshot_key(self) -> Secret | None:
        """What the last-known-good file is encrypted with."""
        return cast("Secret | None", self.snapshot_key)

    def _complete_tls(self) -> None:
        given = [name for name in ("tls", *_CERTIFICATE_FILES, "tls_server_name") if getattr(self, name)]
        if (self.cert_file is None) is not (self.key_file is None):
            raise ValueError("cert_file and key_file go together: give both or neither")
        if self.tls_server_name is not None and not re.fullmatch(r"[^\s:/]+", self.tls_server_name):
            raise ValueError(f"tls_server_name must be a host name, not {self.tls_server_name!r}")
        if not given:
            return
        if any(map(is_unix_socket, self.targets)):
            raise ValueError(f"a unix socket needs no TLS: leave out {' and '.join(given)}")
        # gRPC would look for the whole list in each certificate.
        if len(self.targets) > 1 and self.tls_server_name is None:
            raise ValueError("several targets with TLS need tls_server_name: a name that all their certificates have")
        object.__setattr__(self, "tls", True)

    def _complete_token(self) -> None:
        if self.token is not None and self.token_file is not None:
            raise ValueError("token and token_file exclude each other: give one of them")
        if isinstance(self.token, str):
            object.__setattr__(self, "token", Secret(self.token))
        if self.secret_token is not None:
            check_token(self.secret_token, "token")
        given = "token" if self.token is not None else "token_file"
        if getattr(self, given) is None or self.tls or self.insecure or stays_on_this_machine(self.targets):
            return
        raise ValueError(
            f"{given} would cross the network in clear: turn on tls or give ca_file, "
            "or say insecure where something else encrypts"
        )

    def _complete_snapshot(self) -> None:
        if self.snapshot_max_age is not None and not self.snapshot_max_age > 0:
            raise ValueError(
                f"snapshot_max_age must be a positive number of seconds or None, not {self.snapshot_max_age}"
            )
        if self.snapshot_file is not None and not os.fspath(self.snapshot_file):
            raise ValueError("snapshot_file is empty: give the path of a file, or None")
        if self.snapshot_key is None:
            return
        if self.snapshot_file is None:
            raise ValueError("snapshot_key is for a snapshot_file: give both, or no key")
        if isinstance(self.snapshot_key, bytes):
            object.__setattr__(self, "snapshot_key", Secret(self.snapshot_key.decode("utf-8", "surrogateescape")))
        elif isinstance(self.snapshot_key, str):
            object.__setattr__(self, "snapshot_key", Secret(self.snapshot_key))
        check_key(cast("Secret", self.snapshot_key), "snapshot_key")
