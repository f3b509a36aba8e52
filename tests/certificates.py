"""Certificates for tests: an authority, and what it signs, as PEM files."""

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_DAY = datetime.timedelta(days=1)


class Authority:
    """Signs certificates. ``ca_file`` is its own, to trust it by.

    Args:
        directory: Where all files go.
        name: Tells several of them apart.
    """

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(f"{name} of a test")
        certificate = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file = directory / f"{name}.crt"
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *sans: str, days: float = 1, key: PrivateKey | None = None) -> tuple[Path, Path]:
        """The files of a new certificate and its key, replaced atomically where they exist.

        Args:
            name: Of the files and the subject.
            sans: Subject alternative names: host names, addresses, or URIs such as ``spiffe://fleet/worker``.
            days: How long it is valid; negative for one that has expired.
            key: Its private key, where it is not to be a common one.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_name(name), self._name, key, days)
            .add_extension(x509.SubjectAlternativeName([_general_name(san) for san in sans]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        cert_file, key_file = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        replace(key_file, private)
        replace(cert_file, certificate.public_bytes(serialization.Encoding.PEM))
        return cert_file, key_file


def replace(path: Path, content: bytes) -> None:
    """Writes a file as a careful operator does: a reader sees the old one or the new one, and only its owner reads."""
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    new.replace(path)


def _builder(subject: x509.Name, issuer: x509.Name, key: PrivateKey, days: float = 1) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 3 * _DAY)
        .not_valid_after(now + days * _DAY)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(san: str) -> x509.GeneralName:
    if "://" in san:
        return x509.UniformResourceIdentifier(san)
    try:
        return x509.IPAddress(ipaddress.ip_address(san))
    except ValueError:
        return x509.DNSName(san)
