# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The address of a proxy, and how to connect to it.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from .._errors import OptionError
from .._text import SECRET_PREFIX

# The environment variables that set each option, in the order of their precedence.
ENVIRONMENT = {
    "url": ("LITELLM_URL", "LITELLM_PROXY_URL"),
    "master_key": ("LITELLM_MASTER_KEY", "LITELLM_PROXY_API_KEY"),
    "validate_certs": ("LITELLM_VALIDATE_CERTS",),
    "ca_path": ("LITELLM_CA_PATH",),
    "timeout": ("LITELLM_TIMEOUT",),
    "retries": ("LITELLM_RETRIES",),
    "concurrency": ("LITELLM_CONCURRENCY",),
}

# Seconds. A socket cannot wait much longer.
_MAX_TIMEOUT = 2_000_000


@dataclass(frozen=True)
class Connection:
    """Where the proxy is and how to connect to it. `timeout` is in seconds, for one request.

    :ivar names: what messages call an option: the variable or the environment variable that set it.
    :raises OptionError: if an option has an invalid value.
    """

    url: str
    master_key: str = field(repr=False)
    validate_certs: bool = True
    ca_path: str | None = None
    timeout: float = 30.0
    retries: int = 3
    concurrency: int = 8
    names: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        name = self.name
        object.__setattr__(self, "url", _normalize_url(self.url, self.names))
        if not self.master_key:
            raise OptionError(
                f"{name('master_key')} is not set; set {_choices('master_key', self.names)}variable litellm_master_key "
                "or the environment variable LITELLM_MASTER_KEY"
            )
        # LiteLLM looks up anything else as a hash, and returns a misleading 401.
        if not self.master_key.startswith(SECRET_PREFIX):
            raise OptionError(
                f"{name('master_key')} must start with '{SECRET_PREFIX}': pass the key itself, not its hash"
            )
        if not (self.master_key.isascii() and self.master_key.isprintable() and " " not in self.master_key):
            raise OptionError(f"{name('master_key')} must be printable ASCII without spaces")
        if self.ca_path and self.validate_certs and not Path(self.ca_path).is_file():
            raise OptionError(f"{name('ca_path')} is '{self.ca_path}', which is not a file")
        if not 0 < self.timeout <= _MAX_TIMEOUT:
            raise OptionError(
                f"{name('timeout')} is {self.timeout:g}; it must be more than 0 and at most {_MAX_TIMEOUT} seconds"
            )
        if self.retries < 0:
            raise OptionError(f"{name('retries')} is {self.retries}; it must be 0 or more")
        if not 1 <= self.concurrency <= 64:
            raise OptionError(f"{name('concurrency')} is {self.concurrency}; it must be 1 to 64")

    def name(self, option: str) -> str:
        """Return what messages call an option."""
        return self.names.get(option, option)

    @property
    def base_url(self) -> str:
        """The base URL for OpenAI clients."""
        return f"{self.url}/v1"

    @property
    def is_unencrypted(self) -> bool:
        """Whether secrets leave this machine without encryption."""
        if urlsplit(self.url).scheme != "http":
            return False
        return not all(_is_loopback(address) for address in (self.url, http_proxy(self.url)) if address)


def http_proxy(url: str) -> str | None:
    """Return the address of the HTTP proxy that the environment sets for this URL, or None."""
    scheme, host = urlsplit(url)[:2]
    address = None if proxy_bypass(host) else getproxies().get(scheme)
    return address if not address or "://" in address else f"http://{address}"


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a host name
        return host == "localhost"


def _choices(option: str, names: Mapping[str, str]) -> str:
    return "the " if option in names else "the option, the "


def _normalize_url(url: str, names: Mapping[str, str]) -> str:
    """Return the address of the proxy without a trailing slash and without a trailing /v1."""
    name, master_key = names.get("url", "url"), names.get("master_key", "master_key")
    if not url:
        raise OptionError(
            f"{name} is not set; set {_choices('url', names)}variable litellm_url "
            "or the environment variable LITELLM_URL"
        )
    if "@" in url:  # checked first: the messages below quote the URL
        raise OptionError(f"{name} must not contain credentials; pass the master key as {master_key}")
    try:
        parts = urlsplit(url.strip())
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise OptionError(f"{name} '{url}' is invalid: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise OptionError(f"{name} '{url}' is invalid; it must look like https://litellm.example.com")
    if parts.query or parts.fragment:
        raise OptionError(f"{name} '{url}' must end with the host or a path, without '?' or '#'")
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))
