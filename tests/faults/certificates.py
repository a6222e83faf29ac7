# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A private certificate authority, a certificate that is right, and some that are wrong."""

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
OURS = x509.IPAddress(ip_address("127.0.0.1"))


@dataclass(frozen=True)
class Certificates:
    """What a server for 127.0.0.1 may show, as contexts for TLS.

    :ivar ca_path: vouches for all of them but the stranger's.
    """

    ca_path: Path
    right: ssl.SSLContext
    wrong: dict[str, ssl.SSLContext]


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

    def context(self, name: str, host: x509.GeneralName = OURS, end: timedelta = HOUR) -> ssl.SSLContext:
        """How a server speaks TLS that has a certificate of ours for this host until this end."""
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        made = (
            x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - 24 * HOUR)
            .not_valid_after(now + end)
            .add_extension(x509.SubjectAlternativeName([host]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        path = self._folder / f"{name}.pem"
        private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
        path.write_bytes(private + made.public_bytes(encoding))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def make(folder: Path) -> Certificates:
    ours, strange = _Authority("ours", folder), _Authority("strange", folder)
    return Certificates(
        ours.path,
        ours.context("right"),
        {
            "another authority's": strange.context("stranger"),
            "another host's": ours.context("another-host", x509.DNSName("litellm.example.com")),
            "expired": ours.context("expired", end=-HOUR),
        },
    )
