# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn error responses and failed connections into one sentence.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any, TypeGuard

with contextlib.suppress(ImportError):  # `transport` keeps the error for the user
    from urllib3.exceptions import (
        ConnectTimeoutError,
        HTTPError,
        NewConnectionError,
        ProtocolError,
        ProxyError,
        ReadTimeoutError,
        SSLError,
    )

from .connection import Connection
from .parsing import parse_json, parse_literal
from .transport import MAX_RESPONSE_BYTES, ResponseTooLong

# Bytes. LiteLLM's longest error responses quote the request.
_MAX_ERROR_BYTES = 64 << 10


def error_detail(body: bytes) -> str:
    """Return the reason that LiteLLM gives in an error response, on one line; empty if there is none.

    LiteLLM uses several shapes: an OpenAI error, FastAPI's detail, and a Python dict as text inside of either.
    """
    try:
        detail: Any = parse_json(body) if len(body) <= _MAX_ERROR_BYTES else None
    except ValueError:
        return ""
    if isinstance(detail, dict):
        error = detail.get("error") or detail
        detail = error.get("message", error.get("detail", error)) if isinstance(error, dict) else error
    if isinstance(detail, str) and detail.startswith("{"):
        with contextlib.suppress(ValueError):
            detail = parse_literal(detail)
    if isinstance(detail, dict):
        detail = detail.get("error", detail)
    if isinstance(detail, list):  # FastAPI's validation errors
        detail = "; ".join(map(_field_error, detail))
    text = "" if detail is None else " ".join(str(detail).split())
    return text.removeprefix("Authentication Error, ").partition(" You must be a LiteLLM Enterprise user")[0]


def is_conflict(status: int, detail: str) -> bool:
    """Return whether LiteLLM (>= 1.109) changed nothing because another client changed the key at the same time."""
    return status == 400 and "was updated concurrently" in detail


def http_error(connection: Connection, request: str, status: int, detail: str) -> str:
    """Return the message for a response with an error status.

    :param request: method and path, such as `GET /key/list`.
    :param detail: the reason from `error_detail`, masked.
    """
    url, url_name, key_name = connection.url, connection.name("url"), connection.name("master_key")
    if status == 401 and "Only proxy admin" in detail:
        return not_administrator(connection, status)
    if status == 403 and ("to call this route" in detail or "to access this route" in detail):
        return (
            f"{url} does not allow {key_name} to send {request} ({status}), because the key, or the role of its user, "
            "is limited to other routes; pass the master key, or a key that may call this route"
        )
    if status == 401:
        # LiteLLM's own message contains the unsalted hash of the key.
        return f"{url} does not accept the master key (401); check {key_name}"
    if status in (404, 405) and not detail:
        return f"{url} has no {request} ({status}); check that {url_name} is a LiteLLM proxy"
    if status in (502, 503, 504) and not detail:
        return f"A gateway at {url} returned {status} for {request}; check that LiteLLM is running behind it"
    return f"LiteLLM returned {status} for {request}: {detail or 'no reason given'}"


def not_administrator(connection: Connection, status: int) -> str:
    """Return the message for a key that is valid, but not an administrator's."""
    return (
        f"{connection.url} does not accept {connection.name('master_key')} as an administrator's key ({status}): it "
        "does not see all keys; pass the master key of the proxy, or a key of a user with the role proxy_admin"
    )


def transport_error(connection: Connection, request: str, error: HTTPError) -> str:
    """Return the message for a request without a response."""
    url, url_name, timeout = connection.url, connection.name("url"), connection.timeout
    seconds, innermost = f"{timeout:g} s", _innermost(error)
    cause = os_error_text(innermost)
    if isinstance(error, ProxyError):
        return f"The HTTP proxy between Ansible and {url} failed ({cause}); check HTTP_PROXY, HTTPS_PROXY and NO_PROXY"
    if isinstance(innermost, socket.gaierror):
        return f"The host name of {url} cannot be resolved; check {url_name}"
    if isinstance(error, NewConnectionError):
        return f"No connection to a LiteLLM proxy at {url} ({cause}); check {url_name} and that the proxy is running"
    if isinstance(error, ConnectTimeoutError):
        return f"No connection to {url} within {seconds}; check {url_name} and the network"
    if isinstance(error, SSLError):
        advice = f"for a private certificate authority, set {connection.name('ca_path')}"
        if "WRONG_VERSION_NUMBER" in cause:
            advice = "the proxy may use http instead of https"
        return f"The TLS connection to {url} failed ({cause}); {advice}"
    if isinstance(error, ReadTimeoutError):
        return f"{url} did not respond to {request} within {seconds}"
    if isinstance(error, ResponseTooLong):
        size = MAX_RESPONSE_BYTES >> 20
        return f"The response of {url} to {request} is larger than {size} MB; check that {url_name} is a LiteLLM proxy"
    if isinstance(error, ProtocolError):
        return f"{url} closed the connection before it responded to {request}"
    return f"{url} sent no usable response to {request} ({cause})"


def os_error_text(error: BaseException) -> str:
    """Return the most specific text that an exception of the operating system or of the TLS library has."""
    return (getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)).strip()


def _innermost(error: BaseException) -> BaseException:
    """Return the original exception, which urllib3 wraps several times."""
    while inner := error.__cause__ or error.__context__ or next(filter(_is_error, error.args), None):
        error = inner
    return error


def _is_error(value: object) -> TypeGuard[BaseException]:
    return isinstance(value, BaseException)


def _field_error(item: Any) -> str:
    if not isinstance(item, dict) or "msg" not in item:
        return str(item)
    location = item.get("loc")
    return f"{'.'.join(map(str, location)) if isinstance(location, list) else location}: {item['msg']}"
