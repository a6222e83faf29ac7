# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One request to a real HTTP server that answers oddly: what is repeated, what is refused, and what users read."""

from __future__ import annotations

import base64
import contextlib
import gzip
import itertools
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO, Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError, OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

UTC = timezone(timedelta(0))  # datetime.UTC is not in Python 3.10
MASTER_KEY = "sk-the.master/key"
URL = "https://litellm.example.com"
DOWN = "http://127.0.0.1:9"  # nothing listens there


@pytest.fixture(autouse=True)
def _no_proxy_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def client(url: str, retries: int = 0, **options: Any) -> Client:
    return Client(Connection(url, MASTER_KEY, retries=retries, **{"timeout": 5.0, **options}))


def one_request(method: str, asking: Client, path: str = "/key/list") -> Any:
    return asking.get(path) if method == "GET" else asking.post(path, {"key_alias": "virtkey-a"})


def failure(asking: Client, method: str = "GET", path: str = "/key/list") -> LiteLLMError:
    with pytest.raises(LiteLLMError) as failed:
        one_request(method, asking, path)
    assert MASTER_KEY not in str(failed.value)
    # ansible-core 2.19 would print these, and they may hold anything.
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__ or failed.value.__context__ is None
    return failed.value


class Answers:
    """A server's handler that gives one answer after the other, and remembers what it was asked."""

    def __init__(self, *answers: Response) -> None:
        self._answers = iter(answers)
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        return next(self._answers)


def ok(**body: Any) -> Response:
    return Response(json.dumps(body), content_type="application/json")


@pytest.fixture(scope="module")
def _another_server() -> Iterator[HTTPServer]:
    with HTTPServer(host="127.0.0.1") as server:
        yield server


@pytest.fixture
def elsewhere(_another_server: HTTPServer) -> HTTPServer:
    """Another server, which answers for every host and path, as an HTTP proxy does."""
    _another_server.clear()
    _another_server.expect_request(re.compile(".*")).respond_with_json({"by": "another"})
    return _another_server


# The options.


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://litellm.example.com", "https://litellm.example.com"),
        ("https://litellm.example.com/", "https://litellm.example.com"),
        ("https://litellm.example.com/v1", "https://litellm.example.com"),
        ("https://litellm.example.com/v1/", "https://litellm.example.com"),
        ("https://litellm.example.com//v1//", "https://litellm.example.com"),
        ("HTTPS://litellm.example.com", "https://litellm.example.com"),
        (" https://litellm.example.com\n", "https://litellm.example.com"),
        ("http://127.0.0.1:4000", "http://127.0.0.1:4000"),
        ("http://[::1]:4000/v1", "http://[::1]:4000"),
        ("https://example.com/litellm/v1", "https://example.com/litellm"),
        ("https://example.com/notv1", "https://example.com/notv1"),
        ("https://example.com/v1/litellm", "https://example.com/v1/litellm"),
    ],
)
def test_the_endpoint_has_neither_slash_nor_v1_at_its_end(url: str, endpoint: str) -> None:
    assert Connection(url, MASTER_KEY).url == endpoint


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"url": ""}, "url is not set: give the option, the variable litellm_url or the environment"),
        ({"url": None}, "url is not set"),
        ({"url": "litellm.example.com"}, "url 'litellm.example.com' is not usable; it must look like https://"),
        ({"url": "litellm.example.com:4000"}, "url 'litellm.example.com:4000' is not usable"),
        ({"url": "ftp://litellm.example.com"}, "url 'ftp://litellm.example.com' is not usable"),
        ({"url": "https://"}, "url 'https://' is not usable"),
        ({"url": "https:///v1"}, "url 'https:///v1' is not usable"),
        ({"url": "https://example.com:99999"}, "cannot be read: Port out of range"),
        ({"url": "https://[::1"}, "url 'https://[::1' cannot be read"),
        ({"url": f"{URL}?a=b"}, "must end with the host or a path"),
        ({"url": f"{URL}/#/ui"}, "must end with the host or a path"),
        ({"master_key": ""}, "master_key is not set: give the option, the variable litellm_master_key or the env"),
        ({"master_key": None}, "master_key is not set"),
        ({"master_key": "hidden"}, "master_key must start with 'sk-': it is the key itself, not its hash"),
        ({"master_key": "sk-hidden key"}, "master_key must be printable ASCII without blanks"),
        ({"master_key": "sk-hidden\n"}, "master_key must be printable ASCII without blanks"),
        ({"master_key": "sk-hidden\u2026"}, "master_key must be printable ASCII without blanks"),
        ({"timeout": 0.0}, "timeout is 0; it must be more than 0 and at most"),
        ({"timeout": -1.5}, "timeout is -1.5; it must be more than 0"),
        ({"timeout": float("nan")}, "timeout is nan; it must be more than 0"),
        ({"timeout": float("inf")}, "timeout is inf; it must be more than 0 and at most"),
        ({"retries": -1}, "retries is -1; it must be 0 or more"),
        ({"concurrency": 0}, "concurrency is 0; it must be 1 to 64"),
        ({"concurrency": 65}, "concurrency is 65; it must be 1 to 64"),
        ({"ca_path": "/nowhere/ca.pem"}, "ca_path is '/nowhere/ca.pem', which is not a file"),
        ({"ca_path": "/"}, "ca_path is '/', which is not a file"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(options: dict[str, Any], why: str) -> None:
    with pytest.raises(OptionError, match=re.escape(why)) as refused:
        Connection(**{"url": URL, "master_key": MASTER_KEY, **options})
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://admin:hidden@litellm.example.com",
        "https://hidden@litellm.example.com",
        "https://admin:hid/hidden@litellm.example.com",
        "admin:hidden@litellm.example.com",
        "ftp://admin:hidden@litellm.example.com",
    ],
)
def test_credentials_in_the_url_are_refused_and_not_shown(url: str) -> None:
    with pytest.raises(OptionError, match=r"^url must not contain credentials; the master key goes into master_key$"):
        Connection(url, MASTER_KEY)


def test_a_repr_does_not_show_the_master_key() -> None:
    assert MASTER_KEY not in repr(Connection(URL, MASTER_KEY))


@pytest.mark.parametrize("timeout", [0.001, 30.0, 2_000_000.0])
def test_every_timeout_that_is_accepted_can_be_waited_for(httpserver: HTTPServer, timeout: float) -> None:
    httpserver.expect_request("/key/list").respond_with_json({})
    with contextlib.suppress(LiteLLMError):  # a millisecond may be too short
        client(httpserver.url_for(""), timeout=timeout).get("/key/list")


# What is sent.


def test_a_question_carries_the_master_key_and_its_query(httpserver: HTTPServer) -> None:
    httpserver.expect_oneshot_request(
        "/key/list",
        method="GET",
        query_string={"key_alias": "a&b=ü", "size": "100"},
        headers={"Authorization": f"Bearer {MASTER_KEY}", "Accept": "application/json"},
    ).respond_with_json({"keys": []})
    asking = client(httpserver.url_for("/v1/"))
    assert asking.get("/key/list", {"key_alias": "a&b=ü", "size": "100"}) == {"keys": []}
    assert asking.api_calls == 1


def test_a_command_carries_the_master_key_and_its_body_as_json(httpserver: HTTPServer) -> None:
    httpserver.expect_oneshot_request(
        "/litellm/key/generate",
        method="POST",
        json={"key_alias": "ü", "models": []},
        headers={"Authorization": f"Bearer {MASTER_KEY}", "Content-Type": "application/json"},
    ).respond_with_json({"key": "sk-x"})
    answer = client(httpserver.url_for("/litellm")).post("/key/generate", {"key_alias": "ü", "models": []})
    assert answer == {"key": "sk-x"}


def test_threads_share_a_client(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/key/info").respond_with_handler(lambda request: ok(asked=request.args["key"]))
    asking = client(httpserver.url_for(""), concurrency=8)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: asking.get("/key/info", {"key": str(number)}), range(40)))
    assert answers == [{"asked": str(number)} for number in range(40)]
    assert asking.api_calls == 40


# What is repeated.


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_question_is_repeated_when_the_proxy_is_busy(httpserver: HTTPServer, status: int) -> None:
    answers = Answers(Response("busy", status), ok(keys=[]))
    httpserver.expect_request("/key/list").respond_with_handler(answers)
    asking = client(httpserver.url_for(""), retries=1)
    assert asking.get("/key/list") == {"keys": []}
    assert asking.api_calls == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 422, 500, 501])
def test_an_answer_that_is_final_is_not_asked_for_again(httpserver: HTTPServer, status: int, method: str) -> None:
    answers = Answers(Response("no", status))
    httpserver.expect_request("/key/list").respond_with_handler(answers)
    failed = failure(client(httpserver.url_for(""), retries=3), method)
    assert (failed.status, failed.transient, len(answers.requests)) == (status, False, 1)


def test_a_command_is_repeated_when_there_were_too_many(httpserver: HTTPServer) -> None:
    answers = Answers(Response("busy", 429), ok(key="sk-x"))
    httpserver.expect_request("/key/generate", method="POST").respond_with_handler(answers)
    asking = client(httpserver.url_for(""), retries=1)
    assert asking.post("/key/generate", {"key_alias": "a"}) == {"key": "sk-x"}
    assert [request.json for request in answers.requests] == [{"key_alias": "a"}] * 2
    assert asking.api_calls == 2


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "0"}], ids=["plain", "with Retry-After"])
@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_command_is_not_repeated_behind_a_gateway(
    httpserver: HTTPServer, status: int, headers: dict[str, str]
) -> None:
    # It may have been carried out all the same.
    answers = Answers(Response("busy", status, headers))
    httpserver.expect_request("/key/generate").respond_with_handler(answers)
    failed = failure(client(httpserver.url_for(""), retries=3), "POST", "/key/generate")
    assert (failed.status, failed.transient, len(answers.requests)) == (status, True, 1)


@pytest.mark.parametrize("status", [429, 503])
def test_the_last_answer_counts_when_all_are_busy(httpserver: HTTPServer, status: int) -> None:
    answers = Answers(Response("busy", status), Response("busy", status))
    httpserver.expect_request("/key/list").respond_with_handler(answers)
    asking = client(httpserver.url_for(""), retries=1)
    failed = failure(asking)
    assert (failed.status, failed.transient, asking.api_calls) == (status, True, 2)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_connection_is_tried_again(httpserver: HTTPServer, method: str) -> None:
    asking = client(DOWN, retries=1)
    failed = failure(asking, method)
    assert str(failed) == (
        f"No LiteLLM proxy answers at {DOWN} (Connection refused); check url, and that the proxy runs"
    )
    assert (failed.transient, failed.status, asking.api_calls) == (True, None, 2)


# What a gateway asks for.


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that urllib3 would have made."""
    made: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", made.append)
    return made


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("told", "paused"), [("2", [2]), ("86400", [30]), ("soon", [])])
def test_a_pause_is_as_long_as_told_within_reason(
    httpserver: HTTPServer, pauses: list[float], method: str, told: str, paused: list[float]
) -> None:
    answers = Answers(Response("busy", 429, {"Retry-After": told}), ok())
    httpserver.expect_request("/key/list").respond_with_handler(answers)
    assert one_request(method, client(httpserver.url_for(""), retries=1)) == {}
    assert pauses == paused


def test_pauses_grow(httpserver: HTTPServer, pauses: list[float]) -> None:
    httpserver.expect_request("/key/list").respond_with_data("busy", 503)
    failure(client(httpserver.url_for(""), retries=4))
    assert len(pauses) == 3  # the first repetition is at once
    for pause, shortest in zip(pauses, (0.5, 1, 2), strict=True):
        assert shortest <= pause <= shortest + 0.25


# What goes wrong on the elsewhere.


class Odd:
    """A server below HTTP: it does one thing with each connection, after it has read the request."""

    def __init__(self, behave: Callable[[socket.socket], object]) -> None:
        self._behave = behave
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Odd:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # until it is shut down
            while True:
                connection, _address = self._socket.accept()
                with connection, connection.makefile("rb") as file, contextlib.suppress(OSError):
                    self.requests.append(self._read(file))
                    self._behave(connection)

    @staticmethod
    def _read(file: IO[bytes]) -> bytes:
        head = b"".join(iter(file.readline, b"\r\n"))
        length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
        return head + file.read(int(length[1]) if length else 0)


def nothing(_connection: socket.socket) -> None:
    """Closes without a word."""


def silence(connection: socket.socket) -> None:
    connection.recv(1)  # until the other side gives up


def half_an_answer(connection: socket.socket) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"keys": [')


def half_an_answer_and_silence(connection: socket.socket) -> None:
    half_an_answer(connection)
    silence(connection)


def dripping_headers(connection: socket.socket) -> None:
    drip(connection, b"HTTP/1.1 200 OK\r\nX-Long: ")


def dripping_body(connection: socket.socket) -> None:
    drip(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")


def dripping_chunks(connection: socket.socket) -> None:
    drip(connection, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n")


def drip(connection: socket.socket, beginning: bytes, piece: bytes = b" ") -> None:
    """So slowly that no wait for a piece is long, and all of them together would be."""
    connection.sendall(beginning)
    for _piece in range(1000):
        time.sleep(0.02)
        connection.sendall(piece)


def not_http(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        (nothing, "{url} closed the connection before it answered {method} /key/list"),
        (silence, "{url} did not answer {method} /key/list within 0.1 s"),
        (not_http, "{url} closed the connection before it answered {method} /key/list"),
        (half_an_answer_and_silence, "{url} did not answer {method} /key/list within 0.1 s"),
        (dripping_headers, "{url} did not answer {method} /key/list within 0.1 s"),
        (dripping_body, "{url} did not answer {method} /key/list within 0.1 s"),
        (dripping_chunks, "{url} did not answer {method} /key/list within 0.1 s"),
        # urllib3 1.26 does not notice that it was half.
        (
            half_an_answer,
            "{url} (closed the connection before it answered {method} /key/list"
            "|answered {method} /key/list with something that is not JSON; is it a LiteLLM proxy\\?)",
        ),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_lost_answer_is_asked_for_again_but_a_command_is_not_given_again(
    behave: Callable[[socket.socket], None], why: str, method: str
) -> None:
    with Odd(behave) as server:
        failed = failure(client(server.url, retries=1, timeout=0.1), method)
    assert re.fullmatch(why.format(url=re.escape(server.url), method=method), str(failed))
    assert failed.transient
    if "not JSON" not in str(failed):
        assert len(server.requests) == (2 if method == "GET" else 1)


@pytest.mark.parametrize("head", ["Content-Length: 52428800", "Content-Length: 1" + "0" * 15, "X-Length: unknown"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_of_an_answer_that_is_too_long_the_rest_is_not_read(head: str, method: str) -> None:
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
        for _megabyte in range(50):
            connection.sendall(b" " * (1 << 20))
            sent += 1

    with Odd(flood) as server:
        failed = failure(client(server.url, retries=1), method)
    assert str(failed) == f"{server.url} answered {method} /key/list with more than 32 MB; is it a LiteLLM proxy?"
    assert (failed.transient, len(server.requests)) == (True, 1)
    assert sent < 45


@pytest.mark.parametrize("size", ["2000001", "ffffffffffff", "ffffffffffffffffffffffff", "-5"])
def test_a_chunk_of_a_size_that_cannot_be_is_not_read(size: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n".encode()
    with Odd(lambda connection: connection.sendall(head + 100 * b"a")) as server:
        failed = failure(client(server.url, retries=0))
    assert str(failed) == f"{server.url} answered GET /key/list with more than 32 MB; is it a LiteLLM proxy?"
    assert failed.transient


def test_a_page_of_a_hundred_keys_with_much_metadata_is_read() -> None:
    body = json.dumps({"keys": [{"metadata": {"text": "x" * 200_000}}] * 100}).encode()
    assert len(body) > 20_000_000
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with Odd(lambda connection: connection.sendall(head + body)) as server:
        assert len(client(server.url).get("/key/list")["keys"]) == 100


def test_a_connection_that_was_slow_once_has_all_the_time_for_the_next_answer(httpserver: HTTPServer) -> None:
    def slow(_request: Request) -> Response:
        time.sleep(0.6)
        return ok()

    httpserver.expect_request("/key/list").respond_with_handler(slow)
    asking = client(httpserver.url_for(""), timeout=1.0)
    assert [asking.get("/key/list") for _unused in range(3)] == [{}] * 3


@pytest.mark.parametrize("status", [200, 500])
def test_json_that_goes_very_deep_is_no_accident(httpserver: HTTPServer, status: int) -> None:
    httpserver.expect_request("/key/list").respond_with_data("[" * 1_000_000, status)
    failed = failure(client(httpserver.url_for("")))
    assert ("something that is not JSON" if status == 200 else "no reason given") in str(failed)


def test_what_is_packed_unasked_is_not_unpacked() -> None:
    packed = gzip.compress(b"[" + b" " * (64 << 20) + b"]")
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    with Odd(lambda connection: connection.sendall(head + packed)) as server:
        assert "something that is not JSON" in str(failure(client(server.url)))


def test_an_answer_after_a_lost_one_is_taken() -> None:
    rest = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    steps = itertools.chain([nothing], itertools.repeat(lambda connection: connection.sendall(rest)))

    def answer(connection: socket.socket) -> None:
        next(steps)(connection)

    with Odd(answer) as server:
        assert client(server.url, retries=1).get("/key/list") == {}


def test_a_host_that_does_not_exist_is_said_to_be_missing() -> None:
    url = "http://nowhere.invalid"
    real = socket.getaddrinfo

    def unknown(host: str, *arguments: Any, **options: Any) -> Any:
        if host == "nowhere.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", unknown)
        failed = failure(client(url))
    assert (str(failed), failed.transient) == (f"The host of {url} cannot be found; check url", True)


def test_a_host_name_that_cannot_be_is_a_sentence_too() -> None:
    failed = failure(client(f"http://{'x' * 64}.example"))
    assert "gave no usable answer" in str(failed)


# What LiteLLM, and what stands in front of it, answers.


PREFIX = "LiteLLM answered GET /key/list with "


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            400,
            {"error": {"message": "Key with alias 'a1' already exists.", "type": "bad_request_error", "code": "400"}},
            f"{PREFIX}400: Key with alias 'a1' already exists.",
        ),
        (500, {"error": {"message": "{'error': 'Internal Server Error.'}"}}, f"{PREFIX}500: Internal Server Error."),
        (
            404,
            {"error": {"message": "{'error': \"Team doesn't exist in db. Team=tm9\"}"}},
            f"{PREFIX}404: Team doesn't exist in db. Team=tm9",
        ),
        (400, {"message": "No connected db.", "type": "no_db_connection"}, f"{PREFIX}400: No connected db."),
        (403, {"detail": "Virtual key is not allowed"}, f"{PREFIX}403: Virtual key is not allowed"),
        (404, {"detail": {"error": "Key not found"}}, f"{PREFIX}404: Key not found"),
        (404, {"detail": "Not Found"}, f"{PREFIX}404: Not Found"),
        (
            422,
            {
                "detail": [
                    {"type": "string_type", "loc": ["body", "duration"], "msg": "Input should be a valid string"},
                    {"type": "less_than_equal", "loc": ["query", "size"], "msg": "Input should be at most 100"},
                ]
            },
            f"{PREFIX}422: body.duration: Input should be a valid string; query.size: Input should be at most 100",
        ),
        (422, {"detail": ["one thing", {"loc": ["body"]}]}, f"{PREFIX}422: one thing; {{'loc': ['body']}}"),
        (
            400,
            {"error": {"message": "Authentication Error, Invalid duration format"}},
            f"{PREFIX}400: Invalid duration format",
        ),
        (
            500,
            {"error": {"message": "Tags are an Enterprise feature. You must be a LiteLLM Enterprise user to use it."}},
            f"{PREFIX}500: Tags are an Enterprise feature.",
        ),
        (500, {"error": {"message": "on\n  two lines"}}, f"{PREFIX}500: on two lines"),
        (500, {"error": "just text"}, f"{PREFIX}500: just text"),
        (500, {"error": {"message": "{not a dict"}}, f"{PREFIX}500: {{not a dict"),
        (500, {"error": {"message": "{[]: 1}"}}, f"{PREFIX}500: {{[]: 1}}"),
        (500, {"error": {"message": None}}, f"{PREFIX}500: no reason given"),
        (500, {"error": {"message": ""}}, f"{PREFIX}500: no reason given"),
        (500, None, f"{PREFIX}500: no reason given"),
        (500, [], f"{PREFIX}500: no reason given"),
        (500, "text", f"{PREFIX}500: text"),
        (
            401,
            {
                "error": {
                    "message": "Authentication Error, Invalid proxy server token passed. Received API Key = sk-...y"
                }
            },
            "{url} does not accept the master key (401); check master_key",
        ),
        (
            401,
            {"error": {"message": "Authentication Error, Only proxy admin can be used to generate keys. Route=/key"}},
            "{url} takes the key given as master_key for a user's, not for the master key",
        ),
    ],
)
def test_litellms_reason_is_found_in_each_of_its_shapes(
    httpserver: HTTPServer, status: int, body: Any, message: str
) -> None:
    httpserver.expect_request("/key/list").respond_with_json(body, status)
    failed = failure(client(httpserver.url_for("")))
    assert str(failed) == message.replace("{url}", httpserver.url_for("").rstrip("/"))
    assert (failed.status, failed.transient) == (status, False)


HTML = "<html><head><title>Application is not available</title></head></html>"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "{url} has no GET /key/list (404); is it a LiteLLM proxy?"),
        (405, "{url} has no GET /key/list (405); is it a LiteLLM proxy?"),
        (502, "A gateway at {url} answered GET /key/list with 502; LiteLLM behind it may be down"),
        (503, "A gateway at {url} answered GET /key/list with 503; LiteLLM behind it may be down"),
        (504, "A gateway at {url} answered GET /key/list with 504; LiteLLM behind it may be down"),
        (500, f"{PREFIX}500: no reason given"),
        (401, "{url} does not accept the master key (401); check master_key"),
        (200, "{url} answered GET /key/list with something that is not JSON; is it a LiteLLM proxy?"),
        (204, "{url} answered GET /key/list with something that is not JSON; is it a LiteLLM proxy?"),
    ],
)
def test_a_page_in_html_is_not_quoted(httpserver: HTTPServer, status: int, message: str) -> None:
    httpserver.expect_request("/key/list").respond_with_data(HTML, status, content_type="text/html")
    failed = failure(client(httpserver.url_for("")))
    assert str(failed) == message.replace("{url}", httpserver.url_for("").rstrip("/"))


def test_half_json_is_passing_trouble(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/key/list").respond_with_data('{"keys": [', content_type="application/json")
    failed = failure(client(httpserver.url_for("")))
    assert "something that is not JSON" in str(failed)
    assert failed.transient


def test_a_reason_that_repeats_a_secret_does_not_tell_it(httpserver: HTTPServer) -> None:
    said = f"bad keys: {MASTER_KEY}, sk-AbCdEfGhIjKl and {MASTER_KEY}"
    httpserver.expect_request("/key/list").respond_with_json({"error": {"message": said}}, 400)
    failed = failure(client(httpserver.url_for("")))
    assert str(failed) == f"{PREFIX}400: bad keys: ********, sk-******** and ********"


@pytest.mark.parametrize("length", range(480, 500))
def test_a_long_reason_is_cut_after_its_secrets_are_hidden(httpserver: HTTPServer, length: int) -> None:
    said = "x" * (length - 1) + " " + MASTER_KEY + "x" * 1000
    httpserver.expect_request("/key/list").respond_with_json({"error": {"message": said}}, 400)
    failed = failure(client(httpserver.url_for("")))
    assert len(str(failed)) == len(f"{PREFIX}400: ") + 500
    assert "sk-" not in str(failed)


# Redirects.


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(httpserver: HTTPServer, elsewhere: HTTPServer, status: int, method: str) -> None:
    location = {"Location": elsewhere.url_for("/key/list")}
    httpserver.expect_request("/key/list").respond_with_data("moved", status, location)
    failed = failure(client(httpserver.url_for(""), retries=3), method)
    assert (len(httpserver.log), len(elsewhere.log)) == (1, 0)
    assert not failed.transient
    assert str(failed) == (
        f"{httpserver.url_for('').rstrip('/')} answers {method} /key/list with a redirect ({status}), which is not "
        "followed with the master key; set url to the address of the proxy itself"
    )


# The proxy's clock.


def answering(date: str, status: int = 200) -> Odd:
    answer = f"HTTP/1.1 {status} Whatever\r\nDate: {date}\r\nContent-Length: 2\r\n\r\n{{}}"
    return Odd(lambda connection: connection.sendall(answer.encode()))


@pytest.mark.parametrize("offset", [timedelta(0), timedelta(hours=5), timedelta(days=-400)], ids=str)
def test_the_time_is_the_proxys(offset: timedelta) -> None:
    date = (datetime.now(UTC) + offset).strftime("%a, %d %b %Y %H:%M:%S GMT")
    with answering(date) as server:
        asking = client(server.url)
        asking.get("/key/list")
    assert abs(asking.now() - datetime.now(UTC) - offset) < timedelta(seconds=3)
    assert asking.now().utcoffset() == timedelta(0)


def test_the_time_comes_from_an_error_too() -> None:
    with answering("Mon, 01 Jan 2035 00:00:00 GMT", 404) as server:
        asking = client(server.url)
        failure(asking)
    assert asking.now().year == 2035


@pytest.mark.parametrize(
    "date",
    [
        "",
        "yesterday",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Tue, 01 Jan 2999 00:00:00 GMT",  # no clock is so wrong: ends of keys would be of that millennium
        "Mon, 01 Jan 1900 00:00:00 GMT",
    ],
)
def test_without_a_usable_date_it_is_the_controllers(date: str) -> None:
    with answering(date) as server:
        asking = client(server.url)
        asking.get("/key/list")
    assert abs(asking.now() - datetime.now(UTC)) < timedelta(seconds=1)


# HTTP proxies.


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY"])
@pytest.mark.parametrize("scheme", ["http://", ""], ids=["with scheme", "without scheme"])
def test_an_http_proxy_is_used(elsewhere: HTTPServer, monkeypatch: pytest.MonkeyPatch, name: str, scheme: str) -> None:
    monkeypatch.setenv(name, f"{scheme}{elsewhere.host}:{elsewhere.port}")
    assert client("http://litellm.invalid").get("/key/list") == {"by": "another"}
    assert elsewhere.log[0][0].host == "litellm.invalid"
    assert "Proxy-Authorization" not in elsewhere.log[0][0].headers


def test_an_http_proxys_password_is_sent_as_it_was_meant(
    elsewhere: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:p%40ss@{elsewhere.host}:{elsewhere.port}")
    client("http://litellm.invalid").get("/key/list")
    expected = "Basic " + base64.b64encode(b"user:p@ss").decode()
    assert elsewhere.log[0][0].headers["Proxy-Authorization"] == expected


@pytest.mark.parametrize("hosts", ["127.0.0.1", "*", "elsewhere.example,127.0.0.1"])
def test_no_proxy_is_honoured(
    httpserver: HTTPServer, elsewhere: HTTPServer, monkeypatch: pytest.MonkeyPatch, hosts: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", elsewhere.url_for(""))
    monkeypatch.setenv("NO_PROXY", hosts)
    httpserver.expect_request("/key/list").respond_with_json({"by": "LiteLLM"})
    assert client(f"http://127.0.0.1:{httpserver.port}").get("/key/list") == {"by": "LiteLLM"}
    assert elsewhere.log == []


def test_the_proxy_for_https_is_another_one(
    httpserver: HTTPServer, elsewhere: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", elsewhere.url_for(""))
    httpserver.expect_request("/key/list").respond_with_json({"by": "LiteLLM"})
    assert client(httpserver.url_for("")).get("/key/list") == {"by": "LiteLLM"}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_master_key_is_not_shown_to_a_proxy_that_opens_a_tunnel(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    with Odd(lambda connection: connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        failed = failure(client(URL), method)
    assert server.requests[0].startswith(b"CONNECT litellm.example.com:443")
    assert MASTER_KEY.encode() not in b"".join(server.requests)
    assert str(failed) == (
        f"The HTTP proxy on the way to {URL} failed (Tunnel connection failed: 407 Proxy Authentication Required)"
    )


def test_an_http_proxy_that_is_down_is_told_from_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", DOWN)
    assert str(failure(client(URL))) == f"The HTTP proxy on the way to {URL} failed (Connection refused)"


@pytest.mark.parametrize("value", ["socks5://user:hidden@127.0.0.1:1", "http://user:hidden@[", "://hidden"])
def test_an_http_proxy_that_cannot_be_used_is_a_sentence_without_its_password(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(OptionError) as refused:
        client(URL)
    assert str(refused.value) == "HTTPS_PROXY in the environment cannot be used; it must look like http://host:port"


# TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that only its own file vouches for, with its private key."""
    pytest.importorskip("cryptography")  # ansible-core brings it
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(private + made.public_bytes(encoding))
    return path


@pytest.fixture(scope="module")
def _secure_server(certificate: Path) -> Iterator[HTTPServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with HTTPServer(host="127.0.0.1", ssl_context=context) as server:
        yield server


@pytest.fixture
def secure(_secure_server: HTTPServer) -> HTTPServer:
    _secure_server.clear()
    _secure_server.expect_request("/key/list").respond_with_json({"keys": []})
    return _secure_server


def test_a_certificate_of_a_private_authority_needs_ca_path(secure: HTTPServer, certificate: Path) -> None:
    url = secure.url_for("").rstrip("/")
    failed = failure(client(url))
    assert re.fullmatch(
        rf"The TLS connection to {url} failed \(self[- ]signed certificate\); "
        "for a private certificate authority set ca_path",
        str(failed),
    )
    assert secure.log == []
    assert client(url, ca_path=str(certificate)).get("/key/list") == {"keys": []}


@pytest.mark.filterwarnings("error")
def test_without_validation_any_certificate_will_do_and_nothing_is_warned_about(secure: HTTPServer) -> None:
    asking = client(secure.url_for(""), validate_certs=False, ca_path="/nowhere/ca.pem")
    assert asking.get("/key/list") == {"keys": []}


def test_https_goes_through_the_tunnel_of_an_http_proxy(
    secure: HTTPServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tunnel(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection((secure.host, secure.port)) as onward:
            back = threading.Thread(target=hand_on, args=(onward, connection))
            back.start()
            hand_on(connection, onward)
            back.join()

    with Odd(tunnel) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        asking = client(secure.url_for(""), ca_path=str(certificate))
        answers = [asking.get("/key/list") for _unused in range(2)]
        asking._pool.clear()  # the tunnel ends when its connection is closed
    assert answers == [{"keys": []}] * 2
    assert [request.split(b" ")[0] for request in server.requests] == [b"CONNECT"] * len(server.requests)


def hand_on(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := one.recv(65536):
            other.sendall(piece)
        other.shutdown(socket.SHUT_RDWR)


def test_a_certificate_for_another_host_is_refused(secure: HTTPServer, certificate: Path) -> None:
    failed = failure(client(f"https://localhost:{secure.port}", ca_path=str(certificate)))
    assert "The TLS connection to https://localhost" in str(failed)
    assert secure.log == []


def test_https_to_a_proxy_that_speaks_http_says_so(httpserver: HTTPServer) -> None:
    failed = failure(client(f"https://127.0.0.1:{httpserver.port}"))
    assert str(failed).endswith("the proxy may speak http and not https")


def test_a_slow_proxy_is_given_up_in_time(httpserver: HTTPServer) -> None:
    done = threading.Event()
    httpserver.expect_request("/key/list").respond_with_handler(lambda _request: ok(waited=done.wait(5)))
    started = time.monotonic()
    try:
        failed = failure(client(httpserver.url_for(""), timeout=0.1))
    finally:
        done.set()
    assert time.monotonic() - started < 2
    assert str(failed).endswith("did not answer GET /key/list within 0.1 s")
