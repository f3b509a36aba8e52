"""The settings of everything that serves the API, wherever its answers come from, and how settings are read."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    SettingsConfigDict,
)

from providerd.secret import Secret
from providerd_server.errors import ConfigurationError

SecretText = Annotated[Secret, PlainValidator(lambda value: value if isinstance(value, Secret) else Secret(str(value)))]
SocketMode = Annotated[int, BeforeValidator(lambda value: int(value, 8) if isinstance(value, str) else value)]
Seconds = Annotated[float, Field(gt=0, le=3600)]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def split_list(value: object) -> object:
    """A list in which a setting has several values separated by commas; anything but text is returned as it is."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def parse_duration(text: str) -> timedelta:
    """A duration such as ``90d`` or ``12h``.

    Raises:
        ValueError: It is none.
    """
    match = re.fullmatch(r"([1-9]\d{0,5})([smhdw])", text.strip())
    if match is None:
        raise ValueError("must be a number and a unit of s, m, h, d or w, like 90d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


class ServingSettings(BaseSettings):
    """Where and to whom the API is served, and within which limits."""

    model_config = SettingsConfigDict(
        env_prefix="PROVIDERD_",
        env_ignore_empty=True,
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        populate_by_name=True,
    )

    listen: Annotated[list[str], NoDecode] = Field(
        default=["127.0.0.1:50051"],
        description="Where to serve gRPC: host:port or unix:///path, several separated by commas.",
    )
    insecure: bool = Field(default=False, description="Listen beyond this machine without TLS or authentication.")
    tls_cert_file: Path | None = Field(default=None, description="The daemon's certificate chain (PEM); turns TLS on.")
    tls_key_file: Path | None = Field(default=None, description="The private key of that certificate (PEM).")
    tls_client_ca_file: Path | None = Field(
        default=None, description="The authorities of clients' certificates (PEM); turns mutual TLS on."
    )
    socket_mode: SocketMode = Field(default=0o600, description="The permissions of unix sockets, in octal.")
    access_file: Path | None = Field(
        default=None,
        description="Who may do what: tokens and certificates, made by `providerd token`; turns authentication on.",
    )
    metrics_listen: str | None = Field(
        default=None, description="Where to serve metrics to Prometheus over HTTP, as 127.0.0.1:9464. Default: nowhere."
    )
    stale_after: Seconds = Field(default=10.0, description="Seconds unverified after which answers are marked stale.")
    watch_write_timeout: Seconds = Field(default=10.0, description="Seconds until a watcher must have taken a change.")
    shutdown_grace: Seconds = Field(default=3.0, description="Seconds that running calls get to finish at shutdown.")
    max_request_bytes: int = Field(default=1 << 20, ge=1024, le=1 << 26, description="Largest request accepted.")
    max_metadata_bytes: int = Field(default=1 << 17, ge=8192, le=1 << 20, description="Most metadata of one call.")
    max_connections: int = Field(default=10_000, ge=1, description="Most connections at once; more are closed.")
    max_calls: int = Field(default=2_000, ge=1, description="Most unary calls in flight.")
    max_watches: int = Field(default=20_000, ge=1, description="Most watches at once.")
    max_watches_per_principal: int = Field(
        default=1_000, ge=1, description="Most watches at once of one principal, where authentication is on."
    )
    max_streams: int = Field(default=1_000, ge=1, description="Most calls and watches at once on one connection.")
    handshake_timeout: Seconds = Field(
        default=10.0, description="Seconds a connection may take to shake hands, and a call to send its request."
    )
    idle_timeout: Seconds = Field(default=300.0, description="Seconds until a connection without calls is closed.")
    max_auth_failures: int = Field(
        default=60, ge=1, description="Most failed authentications a minute of one host that are answered in detail."
    )
    tracing: bool = Field(
        default=False, description="Send traces by OTLP, to where the OTEL_* variables say; needs the extra `otel`."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: console on a terminal, else json."
    )

    @property
    def open_to_all(self) -> str:
        """What anybody may do who reaches the server, where there is no access file; for warnings."""
        return "switch providers"

    @field_validator("access_file")
    @classmethod
    def _expand_access_file(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("listen", mode="before")
    @classmethod
    def _split_listen(cls, value: object) -> object:
        return split_list(value)

    @field_validator("listen")
    @classmethod
    def _addresses(cls, value: list[str]) -> list[str]:
        if not value:
            raise ValueError("must name at least one address, like 127.0.0.1:50051")
        for address in value:
            _check_address(address)
        return value

    @field_validator("metrics_listen")
    @classmethod
    def _metrics_address(cls, value: str | None) -> str | None:
        if value is not None:
            if value.startswith("unix:"):
                raise ValueError("must be host:port")
            _check_address(value)
        return value

    @model_validator(mode="after")
    def _complete_tls(self) -> ServingSettings:
        if (self.tls_cert_file is None) is not (self.tls_key_file is None):
            raise ValueError("PROVIDERD_TLS_CERT_FILE and PROVIDERD_TLS_KEY_FILE go together; set both or neither")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("PROVIDERD_TLS_CLIENT_CA_FILE needs PROVIDERD_TLS_CERT_FILE and PROVIDERD_TLS_KEY_FILE")
        return self


S = TypeVar("S", bound=ServingSettings)


def load_as(kind: type[S], flags: dict[str, Any]) -> S:
    """The settings of this process; flags that are None count as not given.

    Raises:
        ConfigurationError: A setting is wrong; the message names each, on one line, without values.
    """
    try:
        return kind(**given_flags(flags))
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False)
        problems = "; ".join(_problem(kind, detail) for detail in details)
        raise ConfigurationError(f"wrong settings: {problems}") from None


def given_flags(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given: None counts as not given."""
    return {name: value for name, value in flags.items() if value is not None}


def environment_name(kind: type[ServingSettings], field: str) -> str:
    """What a setting is called in the environment."""
    alias = kind.model_fields[field].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"PROVIDERD_{field.upper()}"


def _problem(kind: type[ServingSettings], detail: Any) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    field = detail["loc"][0] if detail["loc"] else None
    if field is None:
        return str(message)
    name = environment_name(kind, field) if field in kind.model_fields else field
    return f"{name}: {message}"


def _check_address(address: str) -> None:
    if address.startswith("unix:"):
        if len(address.removeprefix("unix:").removeprefix("//")) > 107:
            raise ValueError("a unix socket path is at most 107 bytes long")
        return
    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be host:port or unix:///path")
