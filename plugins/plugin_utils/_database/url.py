# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Split the URL of a database into a URL that other users may see, and its password.

URLs are read as libpq reads them, not as `urllib.parse` does: `#` and `?` do not end the password, only `@` does, and a
`/` before the `@` means that the URL has neither a user nor a password.

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
_INVALID_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")

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
    if "@" in rest or _INVALID_ESCAPE.search(credentials or ""):
        raise OptionError(
            "postgres_url contains a '/', '@' or '%' that is not escaped; write %2F, %40 or %25 in the user and the "
            "password, and %40 or %25 in parameters"
        )
    hosts = _HOSTS.fullmatch(rest)
    if not hosts:
        raise OptionError("postgres_url must look like postgresql://user:password@host:5432/litellm")
    _check_parameters(hosts[1] or "")
    user, _colon, password = (credentials or "").partition(":")
    decoded = os.fsdecode(unquote_to_bytes(password))
    return DatabaseURL(f"{scheme}{user}@{rest}" if user else scheme + rest, decoded, password)


def _check_parameters(query: str) -> None:
    """Check that the parameters contain no secret.

    libpq would refuse an unknown one, such as a misspelled `password`, but only after other users could see it.

    :raises OptionError: if a parameter is not allowed.
    """
    for parameter in filter(None, query.split("&")):
        name = os.fsdecode(unquote_to_bytes(parameter.partition("=")[0]))
        if name == "password":
            raise OptionError(
                "postgres_url must have its password before the host, as in postgresql://user:password@host"
            )
        if not _PARAMETER.fullmatch(name):
            raise OptionError(
                "postgres_url has a parameter that is unknown or would show a secret in the list of processes; remove "
                "it, or use another parameter of libpq"
            )
