# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A relay between the collection and a real proxy that injects faults into one request or into all of a kind."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO
from urllib.parse import urlsplit

MEGABYTE = 1 << 20
FLOOD = 50  # megabytes
BYTES_PER_TIMEOUT = 5  # a slow response sends this many bytes during the client's timeout


@dataclass(frozen=True)
class Request:
    """One request, identified by its method and path and by the number of earlier requests of the same kind."""

    endpoint: str
    index: int

    def __str__(self) -> str:
        return f"{self.endpoint} #{self.index + 1}"


@dataclass
class Exchange:
    """A request in progress, passed to a fault.

    :ivar forward: sends the request to the proxy and returns the raw response.
    """

    connection: socket.socket
    relay: Relay
    forward: Callable[[], bytes]


Fault = Callable[[Exchange], None]


@dataclass
class RequestFault:
    """A fault, and the requests that it affects.

    :ivar point: the first request to affect.
    :ivar persistent: also affect all later requests of the same kind.
    """

    fault: Fault
    point: Request
    persistent: bool = False

    def applies_to(self, request: Request) -> bool:
        later = self.persistent and request.index > self.point.index
        return request.endpoint == self.point.endpoint and (later or request.index == self.point.index)


@dataclass
class ConnectionFault:
    """A fault of the connections themselves, before a request is read.

    :ivar first: the number of connections that succeed before.
    :ivar count: the number of connections to affect; None affects all connections until the faults are cleared.
    :ivar context: the TLS context of these connections; None resets them.
    :ivar refuse_seconds: refuse connections for this long, or until the faults are cleared if `count` is None.
    """

    first: int
    count: int | None = 1
    context: ssl.SSLContext | None = None
    refuse_seconds: float | None = None

    def applies_to(self, number: int) -> bool:
        in_range = self.count is None or number < self.first + self.count
        return self.refuse_seconds is None and number >= self.first and in_range


@dataclass
class RelayLog:
    """What the relay observed.

    :ivar violations: what the client tolerated although it must not.
    :ivar injected: the number of injected faults.
    """

    requests: list[Request] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    injected: int = 0


class Relay:
    """Listen on a separate port, and forward every request that is not affected by a fault.

    Each connection carries one request, so the n-th connection is the n-th request.
    """

    def __init__(
        self, upstream: str, *, request_fault: RequestFault | None = None,
        connection_fault: ConnectionFault | None = None, context: ssl.SSLContext | None = None, timeout: float = 2.0,
        callback: Callable[[Request, str], None] | None = None,
    ) -> None:  # fmt: skip
        address = urlsplit(upstream)
        self._upstream = (str(address.hostname), address.port)
        self.request_fault, self.connection_fault, self.timeout = request_fault, connection_fault, timeout
        self._context = context
        self._callback = callback or (lambda _request, _when: None)
        self.log = RelayLog()
        self._counts: Counter[str] = Counter()
        self._connections = 0
        self._lock, self._listener_lock = threading.Lock(), threading.RLock()
        self._closed = threading.Event()
        self._refusing = False
        self._listener: socket.socket | None = None
        # This socket is bound but never listens. It reserves the port while connections are refused.
        self._reservation = socket.socket()
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reservation.bind(("127.0.0.1", 0))
        self._port = self._reservation.getsockname()[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self._port}"

    def __enter__(self) -> Relay:
        self._refuse_after(0)
        if not self._refusing:
            self._listen()
        return self

    def __exit__(self, *_error: object) -> None:
        self._closed.set()
        with self._listener_lock:
            self._stop_listening()
        self._reservation.close()

    def _listen(self) -> None:
        with self._listener_lock:
            if self._listener is None and not self._closed.is_set():
                self._listener = socket.create_server(("127.0.0.1", self._port), backlog=64, reuse_port=True)
                self._thread = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
                self._thread.start()
            self._refusing = False

    def _stop_listening(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._thread.join()
            self._listener.close()
            self._listener = None

    def _refuse_after(self, completed: int) -> None:
        """Stop listening if the next connection is to be refused."""
        fault = self.connection_fault
        if fault and fault.refuse_seconds is not None and fault.first == completed:
            with self._listener_lock:
                self._stop_listening()
                self._refusing = True
                self.log.injected += 1
            if fault.count is not None:
                threading.Timer(fault.refuse_seconds, self._listen).start()

    def clear_faults(self) -> None:
        """Inject no faults from now on."""
        self.request_fault = self.connection_fault = None
        self._listen()

    @property
    def counts(self) -> Counter[str]:
        return Counter(request.endpoint for request in self.log.requests)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _address = listener.accept()
            except OSError:
                return
            number, self._connections = self._connections, self._connections + 1
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        fault = self.connection_fault
        faulty = fault is not None and fault.applies_to(number)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            context = self._context
            if fault and faulty:
                self.log.injected += 1
                if fault.context is None:
                    reset(connection)
                    return
                context = fault.context
            if context:
                connection = context.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as file:
                self._exchange(connection, file, faulty)

    def _exchange(self, connection: socket.socket, file: IO[bytes], faulty: bool) -> None:
        head = b"".join(iter(file.readline, b"\r\n"))
        if not head:
            return
        if faulty:
            self.log.violations.append("the client sent the master key over an untrusted connection")
        length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
        body = file.read(int(length[1]) if length else 0)
        method, target, _version = head.split(b"\r\n", 1)[0].decode().split()
        endpoint = f"{method} {urlsplit(target).path}"
        with self._lock:
            request = Request(endpoint, self._counts[endpoint])
            self._counts[endpoint] += 1
            self.log.requests.append(request)

        def forward() -> bytes:
            self._callback(request, "before")
            response = self._forward(method, target, head, body)
            self._callback(request, "after")
            return response

        fault = self.request_fault
        if fault and fault.applies_to(request):
            self.log.injected += 1
            fault.fault(Exchange(connection, self, forward))
        else:
            response = forward()
            self._refuse_after(len(self.log.requests))
            connection.sendall(response)

    def _forward(self, method: str, target: str, head: bytes, body: bytes) -> bytes:
        headers = dict(line.split(": ", 1) for line in head.decode("latin-1").splitlines()[1:] if line)
        headers.pop("Connection", None)
        upstream = http.client.HTTPConnection(*self._upstream, timeout=60)
        with contextlib.closing(upstream):
            upstream.request(method, target, body or None, headers)
            response = upstream.getresponse()
            content = response.read()
        return response_bytes(response.status, content, response.headers.get("Date", ""))


def response_bytes(status: int, content: bytes, date: str = "", **headers: str) -> bytes:
    """Return a complete HTTP response."""
    lines = [f"HTTP/1.1 {status} Whatever", "Content-Type: application/json", f"Content-Length: {len(content)}"]
    lines += [f"Date: {date}"] if date else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + content


def reset(connection: socket.socket) -> None:
    """Reset the connection, as a firewall or a dying process does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# Faults. Those that call `forward` let the proxy process the request first.


def drop_response(exchange: Exchange) -> None:
    """Process the request, then reset the connection."""
    exchange.forward()
    reset(exchange.connection)


def never_respond(exchange: Exchange) -> None:
    """Process the request, then send nothing until the client closes the connection."""
    exchange.forward()
    exchange.connection.settimeout(10 * exchange.relay.timeout)
    try:
        exchange.connection.recv(1)
    except TimeoutError:
        exchange.relay.log.violations.append("the client waited ten times as long as its timeout")


def error_response(status: int, text: str = "", content_type: bool = True, **headers: str) -> Fault:
    """Do not process the request, and respond with an error."""
    content = json.dumps({"error": {"message": text}}).encode() if content_type else text.encode()

    def refuse(exchange: Exchange) -> None:
        exchange.connection.sendall(response_bytes(status, content, **headers))

    return refuse


def replace_response(content: bytes) -> Fault:
    """Process the request, then send status 200 with other content."""

    def replace(exchange: Exchange) -> None:
        exchange.forward()
        exchange.connection.sendall(response_bytes(200, content))

    return replace


def truncate_response(exchange: Exchange) -> None:
    """Process the request, then send half of the response with a matching Content-Length."""
    _head, _blank, content = exchange.forward().partition(b"\r\n\r\n")
    exchange.connection.sendall(response_bytes(200, content[: len(content) // 2]))


def flood_response(exchange: Exchange) -> None:
    """Process the request, then send a response of 50 MB."""
    exchange.forward()
    exchange.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
    for _megabyte in range(FLOOD):
        exchange.connection.sendall(b" " * MEGABYTE)
    exchange.relay.log.violations.append(f"the client read all {FLOOD} MB")


def trickle_response(exchange: Exchange) -> None:
    """Process the request, then send the response byte by byte, each well before the client's timeout."""
    response = exchange.forward()
    for number in range(10 * BYTES_PER_TIMEOUT):
        exchange.connection.sendall(response[number : number + 1])
        time.sleep(exchange.relay.timeout / BYTES_PER_TIMEOUT)
    exchange.relay.log.violations.append("the client waited ten times as long as its timeout")


@contextlib.contextmanager
def other_host() -> Iterator[tuple[str, list[bytes]]]:
    """Start another host that records what it receives and responds with success."""
    listener = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = listener.accept()
                with connection:
                    received.append(connection.recv(65536))
                    connection.sendall(response_bytes(200, b"{}"))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", received
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()
