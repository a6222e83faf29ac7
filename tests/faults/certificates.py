# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Create a private certificate authority, a valid certificate, and several invalid ones."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOUR = timedelta(hours=1)
LOCALHOST = x509.IPAddress(ip_address("127.0.0.1"))


@dataclass(frozen=True)
class Certificates:
    """TLS contexts for a server at 127.0.0.1, with a valid certificate or an invalid one.

    :ivar ca_path: the certificate authority that issued all certificates except the one of the untrusted authority.
    """

    ca_path: Path
    valid: ssl.SSLContext
    invalid: dict[str, ssl.SSLContext]


class _Authority:
    def __init__(self, name: str, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._folder = folder
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder(self._name, self._name, self._key.public_key(), x509.random_serial_number())
            .not_valid_before(now - 48 * HOUR)
            .not_valid_after(now + 48 * HOUR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def context(self, name: str, host: x509.GeneralName = LOCALHOST, lifetime: timedelta = HOUR) -> ssl.SSLContext:
        """Return a server's TLS context with a certificate for this host, which expires after this time."""
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - 24 * HOUR)
            .not_valid_after(now + lifetime)
            .add_extension(x509.SubjectAlternativeName([host]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        encoding, encryption = serialization.Encoding.PEM, serialization.NoEncryption()
        path = self._folder / f"{name}.pem"
        private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, encryption)
        path.write_bytes(private + certificate.public_bytes(encoding))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def make_certificates(folder: Path) -> Certificates:
    """Create the certificates in a folder."""
    trusted, untrusted = _Authority("trusted", folder), _Authority("untrusted", folder)
    return Certificates(
        trusted.path,
        trusted.context("valid"),
        {
            "untrusted authority": untrusted.context("untrusted-server"),
            "wrong host": trusted.context("wrong-host", x509.DNSName("litellm.example.com")),
            "expired": trusted.context("expired", lifetime=-HOUR),
        },
    )
