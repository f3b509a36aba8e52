"""Everything that the settings say of security, checked before the daemon listens anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from providerd_server.entrance import Entrance
from providerd_server.errors import ConfigurationError
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
        entrance: Who may call, and what TLS is spoken with.
    """

    keyring: Keyring
    hosts: HostPolicy
    entrance: Entrance

    @classmethod
    def of(cls, settings: Settings) -> Security:
        """Reads what the settings name, and warns of what is only fit for development.

        Raises:
            ConfigurationError: Something cannot be used, or is too weak for what the daemon is told to do.
        """
        entrance = Entrance.of(settings)
        keyring = load_keyring(settings)
        for warning in check_passphrases(keyring, development=settings.in_development):
            log.warning(warning)
        return cls(keyring, hosts_of(settings), entrance)


def hosts_of(settings: Settings) -> HostPolicy:
    """Where API keys may be sent.

    Raises:
        ConfigurationError: A host that is allowed is none.
    """
    try:
        return HostPolicy(settings.allowed_hosts, development=settings.in_development)
    except ValueError as error:
        raise ConfigurationError(f"PROVIDERD_ALLOWED_HOSTS: {error}") from None
