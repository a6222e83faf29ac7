# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One request to LiteLLM: connection pool, time-outs, what may be repeated, and errors as our own.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import ast
import contextlib
import http.client
import inspect
import io
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError, OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import PREFIX, mask

try:
    import urllib3
    from urllib3.exceptions import (
        ConnectTimeoutError,
        HTTPError,
        InvalidHeader,
        MaxRetryError,
        NewConnectionError,
        ProtocolError,
        ProxyError,
        ReadTimeoutError,
        SSLError,
    )
except ImportError as error:
    # So that playbooks can be read, checked and documented without it.
    URLLIB3_IMPORT_ERROR: ImportError | None = error
    _Retry: Any = object
    _HTTPError: Any = Exception
else:
    URLLIB3_IMPORT_ERROR = None
    _Retry = urllib3.Retry
    _HTTPError = HTTPError

Json = dict[str, Any]

# By these a gateway says "not now".
_PASSING_STATUSES = (429, 502, 503, 504)

# Seconds, whatever a gateway's `Retry-After` says: who waits must be able to see that something is wrong.
_LONGEST_PAUSE = 30.0
# Seconds; a socket cannot wait for much more than this many.
_LONGEST_TIMEOUT = 2_000_000
# Bytes. A page of a hundred keys is some 300 kB, more with much metadata: whatever is longer is something else.
_LONGEST_ANSWER = 32 << 20
# No clock is so wrong. With a larger one there would be ends of keys that no calendar has.
_LONGEST_OFFSET = timedelta(days=36_500)


@dataclass(frozen=True)
class Connection:
    """Where the proxy is and how to talk to it; `timeout` is in seconds, for one request.

    :raises OptionError: when an option cannot be used.
    """

    url: str
    master_key: str = field(repr=False)
    validate_certs: bool = True
    ca_path: str | None = None
    timeout: float = 30.0
    retries: int = 3
    concurrency: int = 8

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _endpoint(self.url))
        if not self.master_key:
            raise OptionError(
                "master_key is not set: give the option, the variable litellm_master_key "
                "or the environment variable LITELLM_MASTER_KEY"
            )
        # LiteLLM looks up anything else as a hash and answers with a misleading 401.
        if not self.master_key.startswith(PREFIX):
            raise OptionError(f"master_key must start with '{PREFIX}': it is the key itself, not its hash")
        if not (self.master_key.isascii() and self.master_key.isprintable() and " " not in self.master_key):
            raise OptionError("master_key must be printable ASCII without blanks")
        if self.ca_path and self.validate_certs and not Path(self.ca_path).is_file():
            raise OptionError(f"ca_path is '{self.ca_path}', which is not a file")
        if not 0 < self.timeout <= _LONGEST_TIMEOUT:
            raise OptionError(
                f"timeout is {self.timeout:g}; it must be more than 0 and at most {_LONGEST_TIMEOUT} seconds"
            )
        if self.retries < 0:
            raise OptionError(f"retries is {self.retries}; it must be 0 or more")
        if not 1 <= self.concurrency <= 64:
            raise OptionError(f"concurrency is {self.concurrency}; it must be 1 to 64")

    @property
    def in_the_clear(self) -> bool:
        """Whether secrets leave this machine as anybody on the way can read them."""
        if urlsplit(self.url).scheme != "http":
            return False
        return not all(_is_this_machine(address) for address in (self.url, _http_proxy(self.url)) if address)


def _is_this_machine(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def _http_proxy(url: str) -> str | None:
    """The address of the HTTP proxy that the environment names for this one, if any."""
    scheme, host = urlsplit(url)[:2]
    way = None if proxy_bypass(host) else getproxies().get(scheme)
    return way if not way or "://" in way else f"http://{way}"


def _endpoint(url: str) -> str:
    """The proxy's address in one form: no trailing slash, no trailing /v1."""
    if not url:
        raise OptionError(
            "url is not set: give the option, the variable litellm_url or the environment variable LITELLM_URL"
        )
    if "@" in url:  # before any message that would quote them
        raise OptionError("url must not contain credentials; the master key goes into master_key")
    try:
        parts = urlsplit(url.strip())
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise OptionError(f"url '{url}' cannot be read: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise OptionError(f"url '{url}' is not usable; it must look like https://litellm.example.com")
    if parts.query or parts.fragment:
        raise OptionError(f"url '{url}' must end with the host or a path, without '?' or '#'")
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


class _TooLong(_HTTPError):
    """The answer is longer than what is read."""


class _Incoming(io.RawIOBase):
    """What comes in over a socket, with an end: so many bytes, and until then.

    A socket's own time-out is for each piece that comes: who sends a byte now and then could hold us for ever.
    """

    def __init__(self, connected: socket.socket) -> None:
        super().__init__()
        self._socket = connected
        self._pieces = connected.makefile("rb", buffering=0)
        self._timeout = connected.gettimeout()  # what urllib3 has left for the answer
        self._deadline = time.monotonic() + (self._timeout or 0.0)
        self._left = _LONGEST_ANSWER

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._timeout is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._socket.settimeout(left)
        try:
            count = self._pieces.readinto(buffer) or 0
        finally:
            self._socket.settimeout(self._timeout)  # the connection may be used again
        self._left -= count
        if self._left < 0:
            raise _TooLong
        return count

    def close(self) -> None:
        self._pieces.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer of which no more is read than is sensible, for no longer than is allowed."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_Incoming(sock))

    def begin(self) -> None:
        super().begin()
        if (self.length or 0) > _LONGEST_ANSWER:  # Python would make room for all of it at once
            raise _TooLong

    def _safe_read(self, amt: int) -> bytes:
        """What both Python and urllib3 read a chunk with, of whatever size that says it has."""
        if not 0 <= amt <= _LONGEST_ANSWER:
            raise _TooLong
        # The types of the standard library leave private names out; urllib3 calls this one, too.
        return super()._safe_read(amt)  # type: ignore[misc,no-any-return]


class _Patient(_Retry):
    """Waits as long as it is told to, within reason."""

    def get_retry_after(self, response: Any) -> float | None:
        try:
            seconds = super().get_retry_after(response)
        except InvalidHeader:
            return None
        return None if seconds is None else min(seconds, _LONGEST_PAUSE)


class _OnlyIfRefused(_Patient):
    """Repeats a request only when it cannot have been carried out.

    That is: no connection came about, or the answer was 429. urllib3 would also repeat a 503 that has
    `Retry-After`, but behind a gateway that is no proof that nothing happened.
    """

    RETRY_AFTER_STATUS_CODES = frozenset({429})


def _retry(kind: type[_Patient], retries: int, **options: Any) -> urllib3.Retry:
    pause: dict[str, Any] = {"backoff_factor": 0.25}
    if "backoff_jitter" in inspect.signature(urllib3.Retry).parameters:  # urllib3 >= 2
        pause["backoff_jitter"] = 0.25  # controllers that failed together do not return together
    return kind(total=retries, allowed_methods=None, raise_on_status=False, **pause, **options)


class Client:
    """Talks to one LiteLLM proxy as its administrator. Threads may share it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.api_calls = 0
        self._clock_offset = timedelta(0)
        self._lock = threading.Lock()
        self._pool = _pool(connection)
        self._repeatable = _retry(_Patient, connection.retries, status_forcelist=_PASSING_STATUSES)
        self._unrepeatable = _retry(_OnlyIfRefused, connection.retries, read=False, other=0, status_forcelist=(429,))

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Ask. Repeated when the answer is lost or the proxy is busy.

        :raises LiteLLMError: when there is no usable answer.
        """
        return self._request("GET", path, self._repeatable, fields=dict(query or {}))

    def post(self, path: str, body: Json) -> Any:
        """Tell. Repeated only when the proxy cannot have seen it: what may have happened is not done again.

        :raises LiteLLMError: when there is no usable answer; it may have been carried out all the same.
        """
        return self._request(
            "POST",
            path,
            self._unrepeatable,
            secret=str(body.get("key") or ""),
            body=json.dumps(body).encode(),
            headers={**self._pool.headers, "Content-Type": "application/json"},
        )

    def now(self) -> datetime:
        """The time by the proxy's clock, as its last `Date` header told it."""
        return datetime.now(timezone.utc) + self._clock_offset

    def _request(self, method: str, path: str, retry: urllib3.Retry, *, secret: str = "", **request: Any) -> Any:
        doing = f"{method} {path}"
        try:
            # Nothing is unpacked, which was not asked for: a small answer could become a very large one.
            answer = self._pool.request(
                method, self.connection.url + path, retries=retry, redirect=False, decode_content=False, **request
            )
        except MaxRetryError as error:
            self._count(1 + self.connection.retries)
            reason = error.reason if isinstance(error.reason, HTTPError) else error
            raise self._unanswered(doing, reason, secret) from None
        except HTTPError as error:
            self._count(1)
            raise self._unanswered(doing, error, secret) from None
        self._count(1 + len(answer.retries.history if answer.retries else ()))
        self._set_clock(answer.headers.get("Date"))
        if answer.status >= 400 or answer.status < 200:
            raise self._refused(doing, answer.status, answer.data, secret)
        if answer.status >= 300:
            raise LiteLLMError(
                f"{self.connection.url} answers {doing} with a redirect ({answer.status}), which is not followed "
                "with the master key; set url to the address of the proxy itself",
                passing=False,
            )
        try:
            return _read(answer.data)
        except (ValueError, RecursionError):
            raise LiteLLMError(
                f"{self.connection.url} answered {doing} with something that is not JSON; is it a LiteLLM proxy?",
                passing=True,
            ) from None

    def _count(self, calls: int) -> None:
        with self._lock:
            self.api_calls += calls

    def _set_clock(self, date: str | None) -> None:
        try:
            told = parsedate_to_datetime(date or "").astimezone(timezone.utc)
        except (ValueError, OverflowError):
            return  # the local clock has to do
        offset = told - datetime.now(timezone.utc)
        if abs(offset) < _LONGEST_OFFSET:
            self._clock_offset = offset

    def _unanswered(self, doing: str, error: HTTPError, secret: str) -> LiteLLMError:
        where, seconds = self.connection.url, f"{self.connection.timeout:g} s"
        cause = _words(_innermost(error))
        if isinstance(error, ProxyError):
            message = f"The HTTP proxy on the way to {where} failed ({cause})"
        elif isinstance(_innermost(error), socket.gaierror):
            message = f"The host of {where} cannot be found; check url"
        elif isinstance(error, NewConnectionError):
            message = f"No LiteLLM proxy answers at {where} ({cause}); check url, and that the proxy runs"
        elif isinstance(error, ConnectTimeoutError):
            message = f"{where} could not be reached within {seconds}; check url and the network"
        elif isinstance(error, SSLError):
            advice = "for a private certificate authority set ca_path"
            if "WRONG_VERSION_NUMBER" in cause:
                advice = "the proxy may speak http and not https"
            message = f"The TLS connection to {where} failed ({cause}); {advice}"
        elif isinstance(error, ReadTimeoutError):
            message = f"{where} did not answer {doing} within {seconds}"
        elif isinstance(error, _TooLong):
            message = f"{where} answered {doing} with more than {_LONGEST_ANSWER >> 20} MB; is it a LiteLLM proxy?"
        elif isinstance(error, ProtocolError):
            message = f"{where} closed the connection before it answered {doing}"
        else:
            message = f"{where} gave no usable answer to {doing} ({cause})"
        return LiteLLMError(self._masked(message, secret), passing=True)

    def _refused(self, doing: str, status: int, body: bytes, secret: str) -> LiteLLMError:
        said = self._masked(_said(body), secret)[:500]
        if status == 401 and "Only proxy admin" in said:
            message = f"{self.connection.url} takes the key given as master_key for a user's, not for the master key"
        elif status == 401:
            # LiteLLM's own words would tell the unsalted hash of the key that it did not accept.
            message = f"{self.connection.url} does not accept the master key (401); check master_key"
        elif status in (404, 405) and not said:
            message = f"{self.connection.url} has no {doing} ({status}); is it a LiteLLM proxy?"
        elif status in (502, 503, 504) and not said:
            message = (
                f"A gateway at {self.connection.url} answered {doing} with {status}; LiteLLM behind it may be down"
            )
        else:
            message = f"LiteLLM answered {doing} with {status}: {said or 'no reason given'}"
        return LiteLLMError(message, passing=status in _PASSING_STATUSES, status=status)

    def _masked(self, text: str, secret: str) -> str:
        """All at once: of a secret that is hidden in part, the rest is not found again."""
        return mask(text, [self.connection.master_key, secret])


def _pool(connection: Connection) -> urllib3.PoolManager:
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
    way = _http_proxy(connection.url)
    if not way:
        return _bounded(urllib3.PoolManager(**options))
    try:
        credentials = urllib3.util.parse_url(way).auth
        headers = urllib3.make_headers(proxy_basic_auth=unquote(credentials)) if credentials else None
        return _bounded(urllib3.ProxyManager(way, proxy_headers=headers, **options))
    except HTTPError:
        # Without its address, which may hold a password.
        problem = f"{scheme.upper()}_PROXY in the environment cannot be used; it must look like http://host:port"
    raise OptionError(problem)


def _bounded(manager: urllib3.PoolManager) -> urllib3.PoolManager:
    """The same, whose answers are bounded."""

    def bounded(pool: Any) -> Any:
        connection = type("Connection", (pool.ConnectionCls,), {"response_class": _Answer})
        return type("Pool", (pool,), {"ConnectionCls": connection})

    manager.pool_classes_by_scheme = {name: bounded(pool) for name, pool in manager.pool_classes_by_scheme.items()}
    return manager


def _read(body: bytes) -> Any:
    """The JSON of an answer.

    :raises ValueError: when it is none, or has halves of characters in it, which no file and no terminal takes.
    """
    answer = json.loads(body)
    if rb"\ud" in body or rb"\uD" in body:
        json.dumps(answer, ensure_ascii=False).encode()
    return answer


def _innermost(error: BaseException) -> BaseException:
    """The reason itself: urllib3 wraps the operating system's word several times."""
    while inner := error.__cause__ or error.__context__ or next(filter(_is_error, error.args), None):
        error = inner
    return error


def _is_error(value: object) -> TypeGuard[BaseException]:
    return isinstance(value, BaseException)


def _words(error: BaseException) -> str:
    return (getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)).strip()


def _said(body: bytes) -> str:
    """What LiteLLM says is wrong, of the several shapes it says it in, on one line."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    said: Any = answer
    if isinstance(answer, dict):
        error = answer.get("error") or answer
        said = error.get("message", error.get("detail", error)) if isinstance(error, dict) else error
    if isinstance(said, str) and said.startswith("{"):
        # LiteLLM often puts a Python dict, as text, where the message should be.
        with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            said = ast.literal_eval(said)
    if isinstance(said, dict):
        said = said.get("error", said)
    if isinstance(said, list):  # FastAPI's validation errors
        said = "; ".join(map(_said_of_one_field, said))
    text = "" if said is None else " ".join(str(said).split())
    return text.removeprefix("Authentication Error, ").partition(" You must be a LiteLLM Enterprise user")[0]


def _said_of_one_field(item: Any) -> str:
    if not isinstance(item, dict) or "msg" not in item:
        return str(item)
    return f"{'.'.join(map(str, item.get('loc', ())))}: {item['msg']}"
