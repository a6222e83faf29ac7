# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Send one request to LiteLLM and return its JSON, or raise a LiteLLMError.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from .._errors import LiteLLMError
from .._masking import mask
from .connection import Connection
from .error_text import error_detail, http_error, is_conflict, transport_error
from .parsing import parse_json
from .transport import TRANSIENT_STATUSES, connection_pool, retry_policies

with contextlib.suppress(ImportError):  # `transport` keeps the error for the user
    from urllib3.exceptions import HTTPError, MaxRetryError

if TYPE_CHECKING:
    import urllib3

Json = dict[str, Any]

# A larger difference is not a wrong clock, and would lead to expiries that no calendar has.
_MAX_CLOCK_OFFSET = timedelta(days=36_500)
_MAX_DETAIL_LENGTH = 500


class Client:
    """An administrator's client for one LiteLLM proxy. Safe to share between threads.

    :ivar api_calls: how many requests were sent, retries included.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.api_calls = 0
        self._clock_offset = timedelta(0)
        self._lock = threading.Lock()
        self._pool = connection_pool(connection)
        self._retry_reads, self._retry_writes = retry_policies(connection.retries)

    def get(self, path: str, query: Mapping[str, str] | None = None, check_size: Callable[[int], object] = bool) -> Any:
        """Send a GET request. Retried if there is no response, or the error is transient or LiteLLM's own 500.

        :param check_size: called with the number of bytes before they are parsed; it can raise a LiteLLMError.
        :raises LiteLLMError: if there is no usable response.
        """
        return self._request("GET", path, self._retry_reads, check_size=check_size, fields=dict(query or {}))

    def post(self, path: str, body: Json) -> Any:
        """Send a POST request. Retried only if the proxy cannot have processed it.

        :raises LiteLLMError: if there is no usable response; the request may have been processed all the same.
        """
        return self._request(
            "POST",
            path,
            self._retry_writes,
            secret=str(body.get("key") or ""),
            body=json.dumps(body).encode(),
            headers={**self._pool.headers, "Content-Type": "application/json"},
        )

    def now(self) -> datetime:
        """Return the time of the proxy's clock, from its last `Date` header."""
        return datetime.now(timezone.utc) + self._clock_offset

    def _request(
        self,
        method: str,
        path: str,
        retry: urllib3.Retry,
        *,
        secret: str = "",
        check_size: Callable[[int], object] = bool,
        **options: Any,
    ) -> Any:
        url, request = self.connection.url, f"{method} {path}"
        try:
            # Compression was not requested, and a small compressed response could expand to a very large one.
            response = self._pool.request(
                method, url + path, retries=retry, redirect=False, decode_content=False, **options
            )
        except MaxRetryError as error:
            self._count(1 + self.connection.retries)
            reason = error.reason if isinstance(error.reason, HTTPError) else error
            raise self._no_response(request, reason, secret) from None
        except HTTPError as error:
            self._count(1)
            raise self._no_response(request, error, secret) from None
        self._count(1 + len(response.retries.history if response.retries else ()))
        self._set_clock(response.headers.get("Date"))
        if response.status >= 400 or response.status < 200:
            detail = self._masked(error_detail(response.data), secret)[:_MAX_DETAIL_LENGTH]
            message = http_error(self.connection, request, response.status, detail)
            transient = response.status in TRANSIENT_STATUSES or (method == "GET" and response.status == 500)
            transient = transient or is_conflict(response.status, detail)
            raise LiteLLMError(message, transient=transient, status=response.status)
        if response.status >= 300:
            raise LiteLLMError(
                f"{url} redirects {request} ({response.status}), and redirects are not followed with the master key; "
                f"set {self.connection.name('url')} to the address of the proxy itself",
                transient=False,
            )
        check_size(len(response.data))
        try:
            return _parse_response(response.data)
        except ValueError:
            raise LiteLLMError(
                f"The response of {url} to {request} is not valid JSON; "
                f"check that {self.connection.name('url')} is a LiteLLM proxy",
                transient=True,
            ) from None

    def _count(self, calls: int) -> None:
        with self._lock:
            self.api_calls += calls

    def _set_clock(self, date: str | None) -> None:
        try:
            server_time = parsedate_to_datetime(date or "")
            if server_time.tzinfo is None:  # no zone, -0000 or an unknown name; in HTTP, all of them are UTC
                server_time = server_time.replace(tzinfo=timezone.utc)
            offset = server_time.astimezone(timezone.utc) - datetime.now(timezone.utc)
        except (ValueError, OverflowError):
            return  # fall back to the local clock
        if abs(offset) < _MAX_CLOCK_OFFSET:
            self._clock_offset = offset

    def _no_response(self, request: str, error: HTTPError, secret: str) -> LiteLLMError:
        message = transport_error(self.connection, request, error)
        return LiteLLMError(self._masked(message, secret), transient=True)

    def _masked(self, text: str, secret: str) -> str:
        """Mask both secrets in one call: what remains of a partly masked secret would not be found again."""
        return mask(text, [self.connection.master_key, secret])


def _parse_response(body: bytes) -> Any:
    """Parse the body of a response.

    :raises ValueError: if it is not JSON, or too complex, or has lone surrogates, which no file or terminal accepts.
    """
    value = parse_json(body)
    if rb"\ud" in body or rb"\uD" in body:
        json.dumps(value, ensure_ascii=False).encode()
    return value
