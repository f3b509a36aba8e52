"""Everything that the settings say of security, checked before the daemon listens anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import structlog

from providerd_server.access import Registry
from providerd_server.certificates import Certificates
from providerd_server.errors import ConfigurationError
from providerd_server.listening import check_exposure
from providerd_server.reloading import Reloaded
from providerd_server.settings import Settings
from providerd_server.store.keyring import Keyring, check_passphrases, load_keyring
from providerd_server.validation.hosts import HostPolicy

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Security:
    """What a daemon is secured with.

    Attributes:
        keyring: What API keys are encrypted with.
        hosts: Where they may be sent.
        registry: Who may call; None for anybody.
        certificates: What TLS is spoken with; None for no TLS.
    """

    keyring: Keyring
    hosts: HostPolicy
    registry: Registry | None
    certificates: Certificates | None

    @classmethod
    def of(cls, settings: Settings) -> Security:
        """Reads what the settings name, and warns of what is only fit for development.

        Raises:
            ConfigurationError: Something cannot be used, or is too weak for what the daemon is told to do.
        """
        check_exposure(settings)
        keyring = load_keyring(settings)
        for warning in check_passphrases(keyring, development=settings.in_development):
            log.warning(warning)
        return cls(
            keyring,
            hosts_of(settings),
            Registry(settings.access_file) if settings.access_file else None,
            _certificates(settings),
        )

    def files(self) -> Iterator[Reloaded[Any]]:
        """What is read again when it changes."""
        if self.registry is not None:
            yield self.registry.file
        if self.certificates is not None:
            yield self.certificates.files


def hosts_of(settings: Settings) -> HostPolicy:
    """Where API keys may be sent.

    Raises:
        ConfigurationError: A host that is allowed is none.
    """
    try:
        return HostPolicy(settings.allowed_hosts, development=settings.in_development)
    except ValueError as error:
        raise ConfigurationError(f"PROVIDERD_ALLOWED_HOSTS: {error}") from None


def _certificates(settings: Settings) -> Certificates | None:
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    return Certificates(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
