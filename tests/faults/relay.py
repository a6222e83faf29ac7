# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A relay between the collection and a real proxy, in which one request, or all of a kind, can go wrong."""

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
BITS = 5  # seconds between two bytes of a dripping answer are a fifth of the client's time-out


@dataclass(frozen=True)
class Asked:
    """One request: its method with its path, and how many of the kind there were before it."""

    request: str
    before: int

    def __str__(self) -> str:
        return f"{self.request} #{self.before + 1}"


@dataclass
class Exchange:
    """A request on its way: what a fault may do with it.

    :ivar hand_on: has the proxy carry it out; its answer as it came over the wire.
    """

    connection: socket.socket
    relay: Relay
    hand_on: Callable[[], bytes]


Fault = Callable[[Exchange], None]


@dataclass
class Trouble:
    """What goes wrong, and when.

    :ivar point: the request that it befalls.
    :ivar lasting: it befalls all later ones of the kind, too.
    """

    fault: Fault
    point: Asked
    lasting: bool = False

    def befalls(self, asked: Asked) -> bool:
        later = self.lasting and asked.before > self.point.before
        return asked.request == self.point.request and (later or asked.before == self.point.before)


@dataclass
class BadLine:
    """What goes wrong with the connections themselves, before a request is read.

    :ivar first: how many connections come to pass before.
    :ivar how_many: None stands for all that come until the relay is healed.
    :ivar context: how TLS is spoken on them; None resets them.
    :ivar refused: seconds for which none comes about at all, unless how_many is None.
    """

    first: int
    how_many: int | None = 1
    context: ssl.SSLContext | None = None
    refused: float | None = None

    def spoils(self, number: int) -> bool:
        in_time = self.how_many is None or number < self.first + self.how_many
        return self.refused is None and number >= self.first and in_time


@dataclass
class Seen:
    """What the relay has seen, for the verdict.

    :ivar excess: what the client put up with and should not have.
    """

    asked: list[Asked] = field(default_factory=list)
    excess: list[str] = field(default_factory=list)
    struck: int = 0


class Relay:
    """Listens on a port of its own, and hands on what it is not told to spoil.

    Each connection carries one request, so that the n-th connection is the n-th request.
    """

    def __init__(
        self, upstream: str, *, trouble: Trouble | None = None, bad_line: BadLine | None = None,
        context: ssl.SSLContext | None = None, timeout: float = 2.0, each: Callable[[Asked, str], None] | None = None,
    ) -> None:  # fmt: skip
        address = urlsplit(upstream)
        self._upstream = (str(address.hostname), address.port)
        self.trouble, self.bad_line, self.timeout = trouble, bad_line, timeout
        self._context = context
        self._each = each or (lambda _asked, _when: None)
        self.seen = Seen()
        self._counts: Counter[str] = Counter()
        self._connections = 0
        self._lock, self._door = threading.Lock(), threading.RLock()
        self._over = threading.Event()
        self._refused = False
        self._listener: socket.socket | None = None
        # Bound and never listening: it keeps the port ours while connections are refused.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind(("127.0.0.1", 0))
        self._port = self._place.getsockname()[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self._port}"

    def __enter__(self) -> Relay:
        self._refuse_after(0)
        if not self._refused:
            self._open()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        with self._door:
            self._shut()
        self._place.close()

    def _open(self) -> None:
        with self._door:
            if self._listener is None and not self._over.is_set():
                self._listener = socket.create_server(("127.0.0.1", self._port), backlog=64, reuse_port=True)
                self._thread = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
                self._thread.start()
            self._refused = False

    def _shut(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._thread.join()
            self._listener.close()
            self._listener = None

    def _refuse_after(self, answered: int) -> None:
        """Listen no longer where the next connection is to be refused."""
        line = self.bad_line
        if line and line.refused is not None and line.first == answered:
            with self._door:
                self._shut()
                self._refused = True
                self.seen.struck += 1
            if line.how_many is not None:
                threading.Timer(line.refused, self._open).start()

    def heal(self) -> None:
        """From now on all is well."""
        self.trouble = self.bad_line = None
        self._open()

    @property
    def counts(self) -> Counter[str]:
        return Counter(asked.request for asked in self.seen.asked)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _address = listener.accept()
            except OSError:
                return
            number, self._connections = self._connections, self._connections + 1
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        line = self.bad_line
        spoilt = line is not None and line.spoils(number)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            context = self._context
            if line and spoilt:
                self.seen.struck += 1
                if line.context is None:
                    reset(connection)
                    return
                context = line.context
            if context:
                connection = context.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as file:
                self._exchange(connection, file, spoilt)

    def _exchange(self, connection: socket.socket, file: IO[bytes], spoilt: bool) -> None:
        head = b"".join(iter(file.readline, b"\r\n"))
        if not head:
            return
        if spoilt:
            self.seen.excess.append("the master key was sent over a connection that should not be trusted")
        length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
        body = file.read(int(length[1]) if length else 0)
        method, target, _version = head.split(b"\r\n", 1)[0].decode().split()
        request = f"{method} {urlsplit(target).path}"
        with self._lock:
            asked = Asked(request, self._counts[request])
            self._counts[request] += 1
            self.seen.asked.append(asked)

        def hand_on() -> bytes:
            self._each(asked, "before")
            answer = self._ask(method, target, head, body)
            self._each(asked, "after")
            return answer

        trouble = self.trouble
        if trouble and trouble.befalls(asked):
            self.seen.struck += 1
            trouble.fault(Exchange(connection, self, hand_on))
        else:
            answer = hand_on()
            self._refuse_after(len(self.seen.asked))
            connection.sendall(answer)

    def _ask(self, method: str, target: str, head: bytes, body: bytes) -> bytes:
        headers = dict(line.split(": ", 1) for line in head.decode("latin-1").splitlines()[1:] if line)
        headers.pop("Connection", None)
        onward = http.client.HTTPConnection(*self._upstream, timeout=60)
        with contextlib.closing(onward):
            onward.request(method, target, body or None, headers)
            answer = onward.getresponse()
            content = answer.read()
        return whole(answer.status, content, answer.headers.get("Date", ""))


def whole(status: int, content: bytes, date: str = "", **headers: str) -> bytes:
    """An answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status} Whatever", "Content-Type: application/json", f"Content-Length: {len(content)}"]
    lines += [f"Date: {date}"] if date else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + content


def reset(connection: socket.socket) -> None:
    """As a firewall or a dying process does: no goodbye."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# Faults. Which of them let the proxy carry the request out says `hand_on`.


def lost(exchange: Exchange) -> None:
    exchange.hand_on()
    reset(exchange.connection)


def silent(exchange: Exchange) -> None:
    """Carried out; and then no word, until the client gives up."""
    exchange.hand_on()
    exchange.connection.settimeout(10 * exchange.relay.timeout)
    try:
        exchange.connection.recv(1)
    except TimeoutError:
        exchange.relay.seen.excess.append("the client waited ten times as long as its time-out allows")


def refusal(status: int, text: str = "", content_type: bool = True, **headers: str) -> Fault:
    """Not carried out, and said so."""
    content = json.dumps({"error": {"message": text}}).encode() if content_type else text.encode()

    def refuse(exchange: Exchange) -> None:
        exchange.connection.sendall(whole(status, content, **headers))

    return refuse


def answered(content: bytes) -> Fault:
    """Carried out; and then a 200 that says something else."""

    def answer(exchange: Exchange) -> None:
        exchange.hand_on()
        exchange.connection.sendall(whole(200, content))

    return answer


def half(exchange: Exchange) -> None:
    """Carried out; half of the answer comes, as if it were all of it."""
    _head, _blank, content = exchange.hand_on().partition(b"\r\n\r\n")
    exchange.connection.sendall(whole(200, content[: len(content) // 2]))


def flood(exchange: Exchange) -> None:
    """Carried out; and then more than anybody wants to read."""
    exchange.hand_on()
    exchange.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
    for _megabyte in range(FLOOD):
        exchange.connection.sendall(b" " * MEGABYTE)
    exchange.relay.seen.excess.append(f"the client read all {FLOOD} MB")


def drip(exchange: Exchange) -> None:
    """Carried out; and the answer comes a byte at a time, each well before the time-out."""
    answer = exchange.hand_on()
    for number in range(10 * BITS):
        exchange.connection.sendall(answer[number : number + 1])
        time.sleep(exchange.relay.timeout / BITS)
    exchange.relay.seen.excess.append("the client waited ten times as long as its time-out allows")


@contextlib.contextmanager
def elsewhere() -> Iterator[tuple[str, list[bytes]]]:
    """Another host, which notes what is sent to it and answers as if nothing had happened."""
    listener = socket.create_server(("127.0.0.1", 0))
    heard: list[bytes] = []

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = listener.accept()
                with connection:
                    heard.append(connection.recv(65536))
                    connection.sendall(whole(200, b"{}"))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", heard
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()
