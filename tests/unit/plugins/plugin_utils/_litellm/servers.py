# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients, and servers that misbehave, for the tests of this package."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import IO, Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from werkzeug import Request, Response

MASTER_KEY = "sk-the.master/key"
URL = "https://litellm.example.com"
DOWN = "http://127.0.0.1:9"  # no server listens on this port


def client(url: str, retries: int = 0, **options: Any) -> Client:
    return Client(Connection(url, MASTER_KEY, retries=retries, **{"timeout": 30.0, **options}))


def send(method: str, proxy: Client, path: str = "/key/list") -> Any:
    return proxy.get(path) if method == "GET" else proxy.post(path, {"key_alias": "virtkey-a"})


def failure(proxy: Client, method: str = "GET", path: str = "/key/list") -> LiteLLMError:
    """Return the error of a request, after some checks that apply to every error."""
    with pytest.raises(LiteLLMError) as error:
        send(method, proxy, path)
    assert MASTER_KEY not in str(error.value)
    # ansible-core 2.19 would print these, and they may contain anything.
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__ or error.value.__context__ is None
    return error.value


class Responses:
    """A request handler that returns these responses in order, and records the requests."""

    def __init__(self, *responses: Response) -> None:
        self._responses = iter(responses)
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        return next(self._responses)


def ok(**body: Any) -> Response:
    return Response(json.dumps(body), content_type="application/json")


class RawServer:
    """A server that reads each request and then does anything with the connection, below the level of HTTP."""

    def __init__(self, behavior: Callable[[socket.socket], object]) -> None:
        self._behavior = behavior
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> RawServer:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def wait_for_requests(self, count: int) -> None:
        """Wait until the server has read this number of requests, but not forever."""
        for _hundredth in range(3000):
            if len(self.requests) >= count:
                return
            time.sleep(0.01)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # until the socket is shut down
            while True:
                connection, _address = self._socket.accept()
                with connection, connection.makefile("rb") as file, contextlib.suppress(OSError):
                    self.requests.append(self._read(file))
                    self._behavior(connection)

    @staticmethod
    def _read(file: IO[bytes]) -> bytes:
        head = b"".join(iter(file.readline, b"\r\n"))
        length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
        return head + file.read(int(length[1]) if length else 0)


def close_at_once(_connection: socket.socket) -> None:
    """Close the connection without a response."""


def do_not_respond(connection: socket.socket) -> None:
    connection.recv(1)  # until the client closes the connection


def send_half_a_response(connection: socket.socket) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"keys": [')


def send_half_a_response_and_wait(connection: socket.socket) -> None:
    send_half_a_response(connection)
    do_not_respond(connection)


def send_headers_slowly(connection: socket.socket) -> None:
    send_slowly(connection, b"HTTP/1.1 200 OK\r\nX-Long: ")


def send_body_slowly(connection: socket.socket) -> None:
    send_slowly(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")


def send_chunks_slowly(connection: socket.socket) -> None:
    send_slowly(connection, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n")


def send_slowly(connection: socket.socket, head: bytes, piece: bytes = b" ") -> None:
    """Send pieces so slowly that each one is in time, and the whole response is not."""
    connection.sendall(head)
    for _piece in range(1000):
        time.sleep(0.02)
        connection.sendall(piece)


def do_not_speak_http(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
