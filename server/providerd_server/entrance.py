"""Who may come in, and by what certificates the server is known: the security of everything that serves the API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from providerd_server.access import Registry
from providerd_server.certificates import Certificates
from providerd_server.listening import check_exposure
from providerd_server.reloading import Reloaded
from providerd_server.serving_settings import ServingSettings


@dataclass(frozen=True, slots=True)
class Entrance:
    """What is between callers and the API.

    Attributes:
        registry: Who may call; None for anybody.
        certificates: What TLS is spoken with; None for no TLS.
    """

    registry: Registry | None
    certificates: Certificates | None

    @classmethod
    def of(cls, settings: ServingSettings) -> Self:
        """Reads what the settings name.

        Raises:
            ConfigurationError: Something cannot be used, or is too weak for where the server is told to listen.
        """
        check_exposure(settings)
        registry = Registry(settings.access_file) if settings.access_file else None
        certificates = None
        if settings.tls_cert_file is not None and settings.tls_key_file is not None:
            certificates = Certificates(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
        return cls(registry, certificates)

    def files(self) -> Iterator[Reloaded[Any]]:
        """What is read again when it changes."""
        if self.registry is not None:
            yield self.registry.file
        if self.certificates is not None:
            yield self.certificates.files
