"""What the effective settings are, and where each comes from, for people."""

from __future__ import annotations

import os
from typing import Any

from dotenv import dotenv_values
from pydantic import BaseModel
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from providerd.cli.security import SETTINGS as CLIENT_SETTINGS
from providerd.secret import Secret
from providerd_server.serving_settings import ServingSettings, environment_name, given_flags
from providerd_server.settings import Settings, place_of
from providerd_server.sidecar_settings import SidecarSettings

# Read by the command line and by the tests, not by the daemon.
_NAMES_OF_CLIENTS = {
    "PROVIDERD_SERVER", "PROVIDERD_TOKEN", *(setting.variable for setting in CLIENT_SETTINGS),
    "PROVIDERD_COMPLETE", "PROVIDERD_MODEL", "PROVIDERD_ROTATION_KILLS",
}  # fmt: skip


class Described(BaseModel):
    """One setting as ``--print-config`` shows it."""

    name: str
    value: str
    source: str


def describe(settings: ServingSettings, **flags: Any) -> list[Described]:
    """Each setting with its effective value, secrets masked, and where it comes from."""
    given = given_flags(flags)
    kind = type(settings)
    environment, dotenv = EnvSettingsSource(kind)(), DotEnvSettingsSource(kind)()

    def source(field: str) -> str:
        keys = {field, environment_name(kind, field)}
        if keys & given.keys():
            return "flag"
        if keys & environment.keys():
            return "environment"
        return ".env" if keys & dotenv.keys() else "default"

    return [
        Described(
            name=environment_name(kind, field), value=_shown(field, getattr(settings, field)), source=source(field)
        )
        for field in kind.model_fields
    ]


def unknown_settings() -> list[str]:
    """The names in the environment and in ``.env`` that look like settings and are none."""
    kinds: tuple[type[ServingSettings], ...] = (Settings, SidecarSettings)
    known = {environment_name(kind, field) for kind in kinds for field in kind.model_fields} | _NAMES_OF_CLIENTS
    given = {*os.environ, *dotenv_values(".env")}
    return sorted(name for name in given if name.upper().startswith("PROVIDERD_") and name.upper() not in known)


def _shown(field: str, value: object) -> str:
    if field == "supabase_db_url" and isinstance(value, Secret):
        return place_of(value)
    if field == "socket_mode":
        return f"{value:04o}"
    if isinstance(value, list):
        return ",".join(value)
    return "" if value is None else str(value)
