# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Retries, timeouts, limits on responses, HTTP proxies and TLS, on a real HTTP server."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError, OptionError
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._litellm.servers import (
    DOWN,
    MASTER_KEY,
    URL,
    RawServer,
    Responses,
    client,
    close_at_once,
    do_not_respond,
    do_not_speak_http,
    failure,
    ok,
    send,
    send_body_slowly,
    send_chunks_slowly,
    send_half_a_response,
    send_half_a_response_and_wait,
    send_headers_slowly,
)
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

UTC = timezone(timedelta(0))  # datetime.UTC is not in Python 3.10


@pytest.mark.parametrize("timeout", [0.001, 30.0, 2_000_000.0])
def test_every_valid_timeout_works(httpserver: HTTPServer, timeout: float) -> None:
    httpserver.expect_request("/key/list").respond_with_json({})
    with contextlib.suppress(LiteLLMError):  # a millisecond may be too short
        client(httpserver.url_for(""), timeout=timeout).get("/key/list")


# Retries


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_get_is_retried_after_a_transient_status(httpserver: HTTPServer, status: int) -> None:
    responses = Responses(Response("busy", status), ok(keys=[]))
    httpserver.expect_request("/key/list").respond_with_handler(responses)
    proxy = client(httpserver.url_for(""), retries=1)
    assert proxy.get("/key/list") == {"keys": []}
    assert proxy.api_calls == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 422, 501])
def test_other_error_statuses_are_not_retried(httpserver: HTTPServer, status: int, method: str) -> None:
    responses = Responses(Response("no", status))
    httpserver.expect_request("/key/list").respond_with_handler(responses)
    error = failure(client(httpserver.url_for(""), retries=3), method)
    assert (error.status, error.transient, len(responses.requests)) == (status, False, 1)


def test_post_is_not_retried_after_500(httpserver: HTTPServer) -> None:
    """LiteLLM returns 500 for invalid input, too."""
    responses = Responses(Response("no", 500))
    httpserver.expect_request("/key/generate").respond_with_handler(responses)
    error = failure(client(httpserver.url_for(""), retries=3), "POST", "/key/generate")
    assert (error.status, error.transient, len(responses.requests)) == (500, False, 1)


def test_get_is_retried_after_500(httpserver: HTTPServer) -> None:
    responses = Responses(Response("no", 500), Response("no", 500), ok(keys=[]))
    httpserver.expect_request("/key/list").respond_with_handler(responses)
    assert client(httpserver.url_for(""), retries=2).get("/key/list") == {"keys": []}
    assert len(responses.requests) == 3


def test_post_is_retried_after_429(httpserver: HTTPServer) -> None:
    responses = Responses(Response("busy", 429), ok(key="sk-x"))
    httpserver.expect_request("/key/generate", method="POST").respond_with_handler(responses)
    proxy = client(httpserver.url_for(""), retries=1)
    assert proxy.post("/key/generate", {"key_alias": "a"}) == {"key": "sk-x"}
    assert [request.json for request in responses.requests] == [{"key_alias": "a"}] * 2
    assert proxy.api_calls == 2


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "0"}], ids=["plain", "with Retry-After"])
@pytest.mark.parametrize("status", [502, 503, 504])
def test_post_is_not_retried_after_a_gateway_error(
    httpserver: HTTPServer, status: int, headers: dict[str, str]
) -> None:
    # It may have been processed all the same.
    responses = Responses(Response("busy", status, headers))
    httpserver.expect_request("/key/generate").respond_with_handler(responses)
    error = failure(client(httpserver.url_for(""), retries=3), "POST", "/key/generate")
    assert (error.status, error.transient, len(responses.requests)) == (status, True, 1)


@pytest.mark.parametrize("status", [429, 503])
def test_the_last_error_is_raised_when_all_retries_fail(httpserver: HTTPServer, status: int) -> None:
    responses = Responses(Response("busy", status), Response("busy", status))
    httpserver.expect_request("/key/list").respond_with_handler(responses)
    proxy = client(httpserver.url_for(""), retries=1)
    error = failure(proxy)
    assert (error.status, error.transient, proxy.api_calls) == (status, True, 2)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_connection_is_retried(httpserver: HTTPServer, method: str) -> None:
    proxy = client(DOWN, retries=1)
    error = failure(proxy, method)
    assert str(error) == (
        f"No connection to a LiteLLM proxy at {DOWN} (Connection refused); check url and that the proxy is running"
    )
    assert (error.transient, error.status, proxy.api_calls) == (True, None, 2)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the pauses of urllib3 instead of waiting."""
    recorded: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", recorded.append)
    return recorded


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [
        ("2", [2]),
        ("86400", [30]),
        ("9" * 4000, [30]),
        ("9" * 5000, []),
        ("soon", []),
        ("Fri, 31 Dec 99999 23:59:59 GMT", []),
        ("Fri, 99 Dec 2030 99:99:99 +99999999999", []),
    ],
    ids=lambda value: str(value)[:12],
)
def test_retry_after_is_honoured_up_to_a_maximum(
    httpserver: HTTPServer, pauses: list[float], method: str, retry_after: str, expected: list[float]
) -> None:
    responses = Responses(Response("busy", 429, {"Retry-After": retry_after}), ok())
    httpserver.expect_request("/key/list").respond_with_handler(responses)
    assert send(method, client(httpserver.url_for(""), retries=1)) == {}
    assert pauses == expected


def test_pauses_between_retries_grow(httpserver: HTTPServer, pauses: list[float]) -> None:
    httpserver.expect_request("/key/list").respond_with_data("busy", 503)
    failure(client(httpserver.url_for(""), retries=4))
    assert len(pauses) == 3  # the first retry is immediate
    for pause, shortest in zip(pauses, (0.5, 1, 2), strict=True):
        assert shortest <= pause <= shortest + 0.25


@pytest.mark.parametrize(
    ("behavior", "why"),
    [
        (close_at_once, "{url} closed the connection before it responded to {method} /key/list"),
        (do_not_respond, "{url} did not respond to {method} /key/list within 0.1 s"),
        (do_not_speak_http, "{url} closed the connection before it responded to {method} /key/list"),
        (send_half_a_response_and_wait, "{url} did not respond to {method} /key/list within 0.1 s"),
        (send_headers_slowly, "{url} did not respond to {method} /key/list within 0.1 s"),
        (send_body_slowly, "{url} did not respond to {method} /key/list within 0.1 s"),
        (send_chunks_slowly, "{url} did not respond to {method} /key/list within 0.1 s"),
        # urllib3 1.26 does not notice that the response is incomplete.
        (
            send_half_a_response,
            "{url} closed the connection before it responded to {method} /key/list"
            "|The response of {url} to {method} /key/list is not valid JSON; check that url is a LiteLLM proxy",
        ),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_get_is_retried_without_a_response_but_post_is_not(
    behavior: Callable[[socket.socket], None], why: str, method: str
) -> None:
    closes = "within" not in why  # without waiting, so the time does not matter
    with RawServer(behavior) as server:
        error = failure(client(server.url, retries=1, timeout=30.0 if closes else 0.1), method)
        # On a busy machine, the server may read a request only after the client has stopped waiting.
        count = 2 if method == "GET" and "not valid JSON" not in str(error) else 1
        server.wait_for_requests(count)
    assert re.fullmatch(why.format(url=re.escape(server.url), method=method), str(error))
    assert error.transient
    if "not valid JSON" not in str(error):
        assert len(server.requests) == count


def test_the_response_to_a_retry_is_returned() -> None:
    rest = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    steps = itertools.chain([close_at_once], itertools.repeat(lambda connection: connection.sendall(rest)))

    def response(connection: socket.socket) -> None:
        next(steps)(connection)

    with RawServer(response) as server:
        assert client(server.url, retries=1).get("/key/list") == {}


# Limits


@pytest.mark.parametrize("head", ["Content-Length: 52428800", "Content-Length: 1" + "0" * 15, "X-Length: unknown"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_rest_of_a_response_that_is_too_long_is_not_read(head: str, method: str) -> None:
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
        for _megabyte in range(50):
            connection.sendall(b" " * (1 << 20))
            sent += 1

    with RawServer(flood) as server:
        error = failure(client(server.url, retries=1), method)
    assert str(error) == (
        f"The response of {server.url} to {method} /key/list is larger than 32 MB; check that url is a LiteLLM proxy"
    )
    assert (error.transient, len(server.requests)) == (True, 1)
    assert sent < 45


@pytest.mark.parametrize("size", ["2000001", "ffffffffffff", "ffffffffffffffffffffffff", "-5"])
def test_a_chunk_with_an_invalid_size_is_not_read(size: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n".encode()
    with RawServer(lambda connection: connection.sendall(head + 100 * b"a")) as server:
        error = failure(client(server.url, retries=0))
    assert str(error) == (
        f"The response of {server.url} to GET /key/list is larger than 32 MB; check that url is a LiteLLM proxy"
    )
    assert error.transient


def test_a_page_of_a_hundred_keys_with_much_metadata_is_read() -> None:
    body = json.dumps({"keys": [{"metadata": {"text": "x" * 200_000}}] * 100}).encode()
    assert len(body) > 20_000_000
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with RawServer(lambda connection: connection.sendall(head + body)) as server:
        assert len(client(server.url).get("/key/list")["keys"]) == 100


def test_the_deadline_of_a_response_does_not_affect_the_next_one(httpserver: HTTPServer) -> None:
    def slow(_request: Request) -> Response:
        time.sleep(1.5)
        return ok()

    httpserver.expect_request("/key/list").respond_with_handler(slow)
    proxy = client(httpserver.url_for(""), timeout=4.0)
    assert [proxy.get("/key/list") for _unused in range(3)] == [{}] * 3


def test_a_slow_proxy_times_out(httpserver: HTTPServer) -> None:
    done = threading.Event()
    httpserver.expect_request("/key/list").respond_with_handler(lambda _request: ok(waited=done.wait(60)))
    started = time.monotonic()
    try:
        error = failure(client(httpserver.url_for(""), timeout=0.1))
    finally:
        done.set()
    assert time.monotonic() - started < 30
    assert str(error).endswith("did not respond to GET /key/list within 0.1 s")


# HTTP proxies


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY"])
@pytest.mark.parametrize("scheme", ["http://", ""], ids=["with scheme", "without scheme"])
def test_an_http_proxy_is_used(
    other_server: HTTPServer, monkeypatch: pytest.MonkeyPatch, name: str, scheme: str
) -> None:
    monkeypatch.setenv(name, f"{scheme}{other_server.host}:{other_server.port}")
    assert client("http://litellm.invalid").get("/key/list") == {"by": "another"}
    assert other_server.log[0][0].host == "litellm.invalid"
    assert "Proxy-Authorization" not in other_server.log[0][0].headers


def test_the_password_of_an_http_proxy_is_unquoted(other_server: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:p%40ss@{other_server.host}:{other_server.port}")
    client("http://litellm.invalid").get("/key/list")
    expected = "Basic " + base64.b64encode(b"user:p@ss").decode()
    assert other_server.log[0][0].headers["Proxy-Authorization"] == expected


@pytest.mark.parametrize("hosts", ["127.0.0.1", "*", "elsewhere.example,127.0.0.1"])
def test_no_proxy_is_honoured(
    httpserver: HTTPServer, other_server: HTTPServer, monkeypatch: pytest.MonkeyPatch, hosts: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", other_server.url_for(""))
    monkeypatch.setenv("NO_PROXY", hosts)
    httpserver.expect_request("/key/list").respond_with_json({"by": "LiteLLM"})
    assert client(f"http://127.0.0.1:{httpserver.port}").get("/key/list") == {"by": "LiteLLM"}
    assert other_server.log == []


def test_http_does_not_use_the_https_proxy(
    httpserver: HTTPServer, other_server: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", other_server.url_for(""))
    httpserver.expect_request("/key/list").respond_with_json({"by": "LiteLLM"})
    assert client(httpserver.url_for("")).get("/key/list") == {"by": "LiteLLM"}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_master_key_is_not_sent_to_the_http_proxy_of_a_tunnel(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    with RawServer(
        lambda connection: connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
    ) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        error = failure(client(URL), method)
    assert server.requests[0].startswith(b"CONNECT litellm.example.com:443")
    assert MASTER_KEY.encode() not in b"".join(server.requests)
    assert str(error) == (
        f"The HTTP proxy between Ansible and {URL} failed (Tunnel connection failed: 407 Proxy Authentication Required)"
        "; check HTTP_PROXY, HTTPS_PROXY and NO_PROXY"
    )


@pytest.mark.parametrize("value", ["socks5://user:hidden@127.0.0.1:1", "http://user:hidden@[", "://hidden"])
def test_an_invalid_http_proxy_is_an_error_without_its_password(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(OptionError) as error:
        client(URL)
    assert str(error.value) == "HTTPS_PROXY in the environment is invalid; it must look like http://host:port"


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its private key."""
    pytest.importorskip("cryptography")  # installed with ansible-core
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
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
    path.write_bytes(private + signed.public_bytes(encoding))
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
    error = failure(client(url))
    assert re.fullmatch(
        rf"The TLS connection to {url} failed \(self[- ]signed certificate\); "
        "for a private certificate authority, set ca_path",
        str(error),
    )
    assert secure.log == []
    assert client(url, ca_path=str(certificate)).get("/key/list") == {"keys": []}


@pytest.mark.filterwarnings("error")
def test_without_validation_any_certificate_is_accepted_without_a_warning(secure: HTTPServer) -> None:
    proxy = client(secure.url_for(""), validate_certs=False, ca_path="/nowhere/ca.pem")
    assert proxy.get("/key/list") == {"keys": []}


def test_https_uses_the_tunnel_of_an_http_proxy(
    secure: HTTPServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tunnel(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection((secure.host, secure.port)) as onward:
            back = threading.Thread(target=forward, args=(onward, connection))
            back.start()
            forward(connection, onward)
            back.join()

    with RawServer(tunnel) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        proxy = client(secure.url_for(""), ca_path=str(certificate))
        responses = [proxy.get("/key/list") for _unused in range(2)]
        proxy._pool.clear()  # closes the tunnel
    assert responses == [{"keys": []}] * 2
    assert [request.split(b" ")[0] for request in server.requests] == [b"CONNECT"] * len(server.requests)


def forward(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := one.recv(65536):
            other.sendall(piece)
        other.shutdown(socket.SHUT_RDWR)


def test_a_certificate_for_another_host_is_refused(secure: HTTPServer, certificate: Path) -> None:
    error = failure(client(f"https://localhost:{secure.port}", ca_path=str(certificate)))
    assert "The TLS connection to https://localhost" in str(error)
    assert secure.log == []
