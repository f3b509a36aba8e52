"""Every setting of a sidecar. Those of the way to its upstream are named as for the program as a client."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from providerd_server.errors import ConfigurationError
from providerd_server.serving_settings import SecretText, ServingSettings, load_as, parse_duration, split_list


class SidecarSettings(ServingSettings):
    """The effective settings. Names of the environment are ``PROVIDERD_*``."""

    upstream: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="The daemon to follow: host:port, several ip:port separated by commas, or dns:///name:port.",
    )
    listen: Annotated[list[str], NoDecode] = Field(
        default=["unix:///run/providerd.sock"],
        description="Where to serve gRPC: host:port or unix:///path, several separated by commas.",
    )
    include_credential: bool = Field(
        default=False, description="Carry keys: the upstream must let this sidecar read them."
    )
    tls: bool = Field(default=False, description="Speak TLS to the upstream; the next four turn it on, too.")
    ca_file: Path | None = Field(
        default=None, description="The authorities (PEM) that sign the upstream's certificate."
    )
    cert_file: Path | None = Field(default=None, description="The sidecar's certificate for the upstream (PEM).")
    key_file: Path | None = Field(default=None, description="The private key of that certificate (PEM).")
    tls_server_name: str | None = Field(
        default=None, description="The name in the upstream's certificate, if not its host."
    )
    token: SecretText | None = Field(default=None, description="The sidecar's token for the upstream.")
    token_file: Path | None = Field(default=None, description="The file of that token, instead; read for each call.")
    insecure_token: bool = Field(default=False, description="Send the token in clear, even to another machine.")

    snapshot_file: Path | None = Field(
        default=None, description="The last-known-good file: kept here, and served from while the upstream is away."
    )
    snapshot_key: SecretText | None = Field(
        default=None, description="What the key in that file is encrypted with; without it the file holds none."
    )
    snapshot_max_age: timedelta = Field(
        default=timedelta(days=7), description="How old that file may be at start, like 7d or 12h."
    )

    @property
    def open_to_all(self) -> str:
        """What anybody may do who reaches the sidecar, where there is no access file; for warnings."""
        return (
            "read the configuration and the active provider's key"
            if self.include_credential
            else "read the configuration"
        )

    @field_validator("snapshot_max_age", mode="before")
    @classmethod
    def _duration(cls, value: object) -> object:
        return parse_duration(value) if isinstance(value, str) else value

    @field_validator("upstream", mode="before")
    @classmethod
    def _split_upstream(cls, value: object) -> object:
        return split_list(value)


def load(**flags: Any) -> SidecarSettings:
    """The settings of this process; flags that are None count as not given.

    Raises:
        ConfigurationError: A setting is wrong or missing; the message names it, on one line, without values.
    """
    settings = load_as(SidecarSettings, flags)
    if not settings.upstream:
        raise ConfigurationError("name the daemon to follow: --upstream HOST:PORT, or PROVIDERD_UPSTREAM")
    return settings
