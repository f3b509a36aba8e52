"""Every setting of the daemon, from flags, the environment and ``.env``, in this order of precedence."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, quote, urlsplit

from pydantic import AliasChoices, Field, field_validator, model_validator
from pydantic_settings import NoDecode

from providerd.secret import Secret
from providerd_server.serving_settings import Seconds, SecretText, ServingSettings, load_as, parse_duration, split_list

# The passphrase that the founding document publishes: good enough to try things out, and no secret.
PUBLISHED_PASSPHRASE = "josoor-llm-provider-key-2026"  # noqa: S105


def _seed_name(name: str, description: str) -> Any:
    return Field(default=None, validation_alias=AliasChoices(name), description=description)


class Settings(ServingSettings):
    """The effective settings. Names of the environment are ``PROVIDERD_*``, but for those of the founding document."""

    data_dir: Path | None = Field(
        default=None, description="Where the embedded database lives; the user's data directory by default."
    )
    migrate: bool | None = Field(
        default=None, description="Migrate the database at start. Default: only the embedded one."
    )

    supabase_db_url: SecretText | None = _seed_name(
        "SUPABASE_DB_URL",
        "The database: postgresql://user:password@host:5432/name. Special characters of the password as %XX.",
    )
    supabase_db_host: str | None = _seed_name(
        "SUPABASE_DB_HOST", "The database's host, or several separated by commas, where there is no URL."
    )
    supabase_db_port: int | None = _seed_name("SUPABASE_DB_PORT", "Its port, on each of its hosts; 5432 by default.")
    supabase_db_name: str | None = _seed_name("SUPABASE_DB_NAME", "Its name; postgres by default.")
    supabase_db_user: str | None = _seed_name("SUPABASE_DB_USER", "Its user; postgres by default.")
    supabase_db_password: SecretText | None = _seed_name("SUPABASE_DB_PASSWORD", "The user's password.")
    db_encryption_key: SecretText = Field(
        default=Secret(PUBLISHED_PASSPHRASE),
        validation_alias=AliasChoices("DB_ENCRYPTION_KEY"),
        description="What the API keys are encrypted with in the database.",
    )

    db_encryption_key_previous: SecretText | None = Field(
        default=None,
        validation_alias=AliasChoices("DB_ENCRYPTION_KEY_PREVIOUS"),
        description="What they were encrypted with before; still decrypts, until `providerd keys rotate` is through.",
    )
    encryption_keys_file: Path | None = Field(
        default=None,
        description="Instead of the two above: a file of `name = passphrase` lines; the first one encrypts.",
    )
    require_seals: bool = Field(
        default=False, description="Refuse stored API keys that are not bound to their provider and destination."
    )
    database_ca_file: Path | None = Field(
        default=None,
        description="The authorities that the database's certificate is checked by; default: the system's.",
    )

    database_insecure: bool = Field(
        default=False, description="Reach a database beyond this machine unverified, where its URL asks for that."
    )
    dev: bool = Field(
        default=False,
        description="For development: the published passphrase, short ones and http:// to loopback are only warned of.",
    )
    allowed_hosts: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="Hosts beyond public names for a base_url: names, *.suffixes, addresses and networks (CIDR).",
    )

    poll_interval: Seconds = Field(default=2.0, description="Seconds between polls behind LISTEN.")
    probe_interval: Seconds = Field(default=5.0, description="Seconds between probes of the LISTEN connection.")
    history_retention: timedelta | None = Field(
        default=None, description="How long to keep the audit history, like 90d or 12h. Default: for ever."
    )
    pool_size: int = Field(default=5, ge=1, le=100, description="Most database connections used by writes.")

    @field_validator("data_dir")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()

    @field_validator("history_retention", mode="before")
    @classmethod
    def _duration(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return parse_duration(value)

    @field_validator("supabase_db_host")
    @classmethod
    def _hosts(cls, value: str | None) -> str | None:
        if value is not None and not all(host.strip() for host in value.split(",")):
            raise ValueError("must be a host, or several separated by commas, like db1.example.com,db2.example.com")
        return value

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return split_list(value)

    @model_validator(mode="after")
    def _complete_database(self) -> Settings:
        parts = (
            self.supabase_db_user,
            self.supabase_db_password,
            self.supabase_db_name,
            self.supabase_db_port,
        )
        if self.supabase_db_url is None and self.supabase_db_host is None and any(parts):
            raise ValueError("SUPABASE_DB_HOST is missing beside the other SUPABASE_DB_* settings")
        if self.supabase_db_url is not None:
            _check_url(self.supabase_db_url.reveal())
        return self

    @property
    def in_development(self) -> bool:
        """Whether what is weak is put up with: on the embedded database, whose reader has the passphrase as well."""
        return self.dev or self.database_url is None

    @property
    def database_url(self) -> Secret | None:
        """The URL of the configured database; None means the embedded one."""
        if self.supabase_db_url is not None:
            return self.supabase_db_url
        if self.supabase_db_host is None:
            return None
        user = quote(self.supabase_db_user or "postgres", safe="")
        password = self.supabase_db_password.reveal() if self.supabase_db_password else ""
        secret = f":{quote(password, safe='')}" if password else ""
        hosts = [f"[{host}]" if ":" in host else host for host in map(str.strip, self.supabase_db_host.split(","))]
        # Each with its port: a host without one has the default, whatever that of another is.
        places = ",".join(f"{host}:{self.supabase_db_port or 5432}" for host in hosts)
        name = quote(self.supabase_db_name or "postgres", safe="")
        return Secret(f"postgresql://{user}{secret}@{places}/{name}")


def load(**flags: Any) -> Settings:
    """The settings of this process; flags that are None count as not given.

    Raises:
        ConfigurationError: A setting is wrong; the message names each, on one line, without values.
    """
    return load_as(Settings, flags)


def place_of(url: Secret) -> str:
    """A database URL that people may see: without its password, and without parameters, which may hold one."""
    parts = urlsplit(url.reveal())
    credentials, _, hosts = parts.netloc.rpartition("@")
    user = credentials.partition(":")[0]
    where = hosts or parse_qs(parts.query).get("host", [""])[0]
    return f"{parts.scheme}://{user}{'@' if user else ''}{where}{parts.path}"


def _check_url(url: str) -> None:
    if not url.startswith(("postgres://", "postgresql://")):
        raise ValueError("SUPABASE_DB_URL must start with postgresql://")
    # An unescaped / # or ? in the password would end the host early, and have the rest shown as a path.
    try:
        parts = urlsplit(url)
        readable = not parts.fragment and "@" not in parts.path + parts.query
    except ValueError:
        readable = False
    hosts = urlsplit(url).netloc.rpartition("@")[2].split(",") if readable else []
    if not readable or not all(re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\s]*)(:\d{1,5})?", host) for host in hosts):
        raise ValueError("SUPABASE_DB_URL cannot be read; write special characters in its password as %XX")
