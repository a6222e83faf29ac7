# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Split the URL of a database into a URL that other users may see, and its password.

URLs are read as libpq reads them, not as `urllib.parse` does: `#` and `?` do not end the password, only `@` does, and a
`/` before the `@` means that the URL has neither a user nor a password. A URL that releases of libpq read in different
ways is refused.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from .._errors import OptionError

# Text without the characters that no argument of a process can contain.
_FORMAT = re.compile(r"(postgres(?:ql)?://)(?:([^@/\0\ud800-\udfff]*)@)?([^\0\ud800-\udfff]*)")
_HOST = r"(?:\[[^\]/?]*\]|[^\[:/?,][^:/?,]*)?(?::\d*)?"
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*(?:/[^?]*)?(?:\?(.*))?", re.DOTALL)
# PostgreSQL 18 and later ignore or refuse spaces.
_INVALID_CREDENTIALS = re.compile(r"%(?![0-9A-Fa-f]{2})|%00| ")
# A misplaced password: as a parameter, or after a character that starts no parameter, such as `;`.
_PASSWORD = re.compile(r"(?<![a-z])password\s*=", re.IGNORECASE)

# The parameters of libpq, up to PostgreSQL 18, whose values other users may see. These are not among them: password,
# sslpassword, oauth_client_secret, scram_client_key, scram_server_key.
_PARAMETER = re.compile(
    r"""
    user | dbname | host | hostaddr | port | passfile | service | servicefile | options | replication | require_auth
    | requirepeer | channel_binding | client_encoding | connect_timeout | (fallback_)?application_name
    | keepalives(_count|_idle|_interval)? | tcp_user_timeout | target_session_attrs | load_balance_hosts
    | gssdelegation | gssencmode | gsslib | krbsrvname | oauth_client_id | oauth_issuer | oauth_scope
    | ssl(cert|certmode|compression|crl|crldir|key|keylogfile|mode|negotiation|rootcert|sni)?
    | (ssl_)?(min|max)_protocol_version
    """,
    re.VERBOSE,
)


class DatabaseURL(NamedTuple):
    """The parts of the URL of a database.

    :ivar url: the URL without the password.
    :ivar password: as libpq decodes it; empty if there is none.
    :ivar encoded_password: as it is in the URL.
    """

    url: str
    password: str
    encoded_password: str


def split_password(url: str) -> DatabaseURL:
    """Split the password from the URL of a database: other users can read the arguments of a process.

    :raises OptionError: if libpq would refuse the URL, or take a part of the password for something else.
    """
    match = _FORMAT.fullmatch(url.strip())
    if not match:
        raise OptionError("postgres_url must look like postgresql://user:password@host:5432/litellm")
    scheme, credentials, rest = match.groups()
    if "@" in rest or _INVALID_CREDENTIALS.search(credentials or ""):
        raise OptionError(
            "postgres_url contains a '/', '@', '%' or space that is not escaped; write %2F, %40, %25 or %20 in the "
            "user and the password, and %40 or %25 in parameters"
        )
    if _PASSWORD.search(_decode(rest)):
        raise OptionError("postgres_url must have its password before the host, as in postgresql://user:password@host")
    hosts = _HOSTS.fullmatch(rest)
    if not hosts:
        raise OptionError("postgres_url must look like postgresql://user:password@host:5432/litellm")
    parameters = [_decode(parameter.partition("=")[0]) for parameter in (hosts[1] or "").split("&") if parameter]
    if not all(map(_PARAMETER.fullmatch, parameters)):
        # libpq would refuse an unknown one, such as a misspelled `password`, but only after other users could see it.
        raise OptionError(
            "postgres_url has a parameter that is unknown or would show a secret in the list of processes; remove "
            "it, or use another parameter of libpq"
        )
    user, _colon, password = (credentials or "").partition(":")
    if password and "service" in parameters:
        raise service_error()
    return DatabaseURL(f"{scheme}{user}@{rest}" if user else scheme + rest, _decode(password), password)


def service_error() -> OptionError:
    """Return the error for a password beside a service, whose password libpq prefers to that of the environment."""
    return OptionError(
        "postgres_url has a password, but psql would use that of the service in the parameter service or in the "
        "environment variable PGSERVICE; remove the password or the service"
    )


def _decode(text: str) -> str:
    return os.fsdecode(unquote_to_bytes(text))
