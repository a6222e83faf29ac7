# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configure urllib3: connection pool, proxies, what is retried, and limits on the size and duration of responses.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import http.client
import inspect
import io
import socket
import time
from typing import Any
from urllib.parse import unquote, urlsplit

from .._errors import OptionError
from .connection import Connection, http_proxy

try:
    import urllib3
    from urllib3.exceptions import HTTPError, InvalidHeader
except ImportError as error:
    # Playbooks can be parsed, checked and documented without urllib3.
    URLLIB3_IMPORT_ERROR: ImportError | None = error
    _Retry: Any = object
    _HTTPError: Any = Exception
else:
    URLLIB3_IMPORT_ERROR = None
    _Retry = urllib3.Retry
    _HTTPError = HTTPError

# The statuses with which a gateway reports a temporary condition.
TRANSIENT_STATUSES = (429, 502, 503, 504)

# Bytes. A page of a hundred keys is about 300 kB, or more with much metadata.
MAX_RESPONSE_BYTES = 32 << 20

# Seconds. A longer `Retry-After` would look as if the task hung.
_MAX_PAUSE = 30.0


class ResponseTooLong(_HTTPError):
    """The response is longer than MAX_RESPONSE_BYTES."""


class _BoundedReader(io.RawIOBase):
    """The bytes of a response, up to a maximum size and until a deadline.

    The timeout of a socket applies to each read: a server that sends one byte at a time could block for ever.
    """

    def __init__(self, connected: socket.socket) -> None:
        super().__init__()
        self._socket = connected
        self._stream = connected.makefile("rb", buffering=0)
        self._timeout = connected.gettimeout()  # what urllib3 has left for the response
        self._deadline = time.monotonic() + (self._timeout or 0.0)
        self._bytes_left = MAX_RESPONSE_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._timeout is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._socket.settimeout(left)
        try:
            count = self._stream.readinto(buffer) or 0
        finally:
            self._socket.settimeout(self._timeout)  # the connection may be reused
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise ResponseTooLong
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    """A response with a limited size that must arrive within the timeout."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_BoundedReader(sock))

    def begin(self) -> None:
        super().begin()
        if (self.length or 0) > MAX_RESPONSE_BYTES:  # Python would allocate that much at once
            raise ResponseTooLong

    def _safe_read(self, amt: int) -> bytes:
        """Read one chunk; Python and urllib3 pass the size that the server claims."""
        if not 0 <= amt <= MAX_RESPONSE_BYTES:
            raise ResponseTooLong
        # typeshed does not list this private method.
        return super()._safe_read(amt)  # type: ignore[misc,no-any-return]


class _CappedRetry(_Retry):
    """A retry policy that honours `Retry-After` up to _MAX_PAUSE."""

    def get_retry_after(self, response: Any) -> float | None:
        try:
            seconds = super().get_retry_after(response)
        except (InvalidHeader, ValueError, OverflowError):  # urllib3 reads any number of digits and any year
            return None
        return None if seconds is None else min(seconds, _MAX_PAUSE)


class _RetryIfNotProcessed(_CappedRetry):
    """A retry policy for requests that change something: retry only if the proxy cannot have processed the request.

    That is the case if no connection was established, or if the status was 429. urllib3 would also retry a 503 with
    `Retry-After`, but a gateway can send that after the proxy has processed the request.
    """

    RETRY_AFTER_STATUS_CODES = frozenset({429})


def retry_policies(retries: int) -> tuple[urllib3.Retry, urllib3.Retry]:
    """Return the retry policies for requests that only read, and for requests that change something."""
    # LiteLLM's own 500 may be temporary as well, and reading again does no harm.
    reads = _retry(_CappedRetry, retries, status_forcelist=(500, *TRANSIENT_STATUSES))
    writes = _retry(_RetryIfNotProcessed, retries, read=False, other=0, status_forcelist=(429,))
    return reads, writes


def _retry(kind: type[_CappedRetry], retries: int, **options: Any) -> urllib3.Retry:
    backoff: dict[str, Any] = {"backoff_factor": 0.25}
    if "backoff_jitter" in inspect.signature(urllib3.Retry).parameters:  # urllib3 >= 2
        backoff["backoff_jitter"] = 0.25  # controllers that failed together do not retry together
    return kind(total=retries, allowed_methods=None, raise_on_status=False, **backoff, **options)


def connection_pool(connection: Connection) -> urllib3.PoolManager:
    """Return a connection pool with the authorization header, TLS settings and HTTP proxy of the connection.

    :raises OptionError: if the environment sets an HTTP proxy that cannot be used.
    """
    scheme = urlsplit(connection.url).scheme
    options: dict[str, Any] = {
        "maxsize": connection.concurrency,
        "timeout": urllib3.Timeout(connection.timeout),
        "headers": {
            "Authorization": f"Bearer {connection.master_key}",
            "Accept": "application/json",
            "User-Agent": "rhpds.litellm_virtual_keys",
        },
    }
    if scheme == "https":
        options["cert_reqs"] = "CERT_REQUIRED" if connection.validate_certs else "CERT_NONE"
        if connection.ca_path and connection.validate_certs:
            options["ca_certs"] = connection.ca_path
        if not connection.validate_certs:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    proxy = http_proxy(connection.url)
    if not proxy:
        return _with_limits(urllib3.PoolManager(**options))
    try:
        credentials = urllib3.util.parse_url(proxy).auth
        headers = urllib3.make_headers(proxy_basic_auth=unquote(credentials)) if credentials else None
        return _with_limits(urllib3.ProxyManager(proxy, proxy_headers=headers, **options))
    except HTTPError:
        # The address is not quoted: it may contain a password.
        problem = f"{scheme.upper()}_PROXY in the environment is invalid; it must look like http://host:port"
    raise OptionError(problem)


def _with_limits(manager: urllib3.PoolManager) -> urllib3.PoolManager:
    """Install limits on the size and duration of responses."""

    def limited(pool: Any) -> Any:
        connection = type("Connection", (pool.ConnectionCls,), {"response_class": _BoundedResponse})
        return type("Pool", (pool,), {"ConnectionCls": connection})

    manager.pool_classes_by_scheme = {name: limited(pool) for name, pool in manager.pool_classes_by_scheme.items()}
    return manager
