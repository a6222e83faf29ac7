# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests to a real HTTP server: what is sent, how a response is read, and whose clock counts."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._litellm.servers import (
    MASTER_KEY,
    RawServer,
    client,
    failure,
    ok,
)
from pytest_httpserver import HTTPServer

UTC = timezone(timedelta(0))  # datetime.UTC is not in Python 3.10
FOR = " for GET /key/list: "


# What is sent


def test_get_sends_the_master_key_and_the_query(httpserver: HTTPServer) -> None:
    httpserver.expect_oneshot_request(
        "/key/list",
        method="GET",
        query_string={"key_alias": "a&b=ü", "size": "100"},
        headers={"Authorization": f"Bearer {MASTER_KEY}", "Accept": "application/json"},
    ).respond_with_json({"keys": []})
    proxy = client(httpserver.url_for("/v1/"))
    assert proxy.get("/key/list", {"key_alias": "a&b=ü", "size": "100"}) == {"keys": []}
    assert proxy.api_calls == 1


def test_post_sends_the_master_key_and_the_body_as_json(httpserver: HTTPServer) -> None:
    httpserver.expect_oneshot_request(
        "/litellm/key/generate",
        method="POST",
        json={"key_alias": "ü", "models": []},
        headers={"Authorization": f"Bearer {MASTER_KEY}", "Content-Type": "application/json"},
    ).respond_with_json({"key": "sk-x"})
    response = client(httpserver.url_for("/litellm")).post("/key/generate", {"key_alias": "ü", "models": []})
    assert response == {"key": "sk-x"}


def test_threads_can_share_a_client(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/key/info").respond_with_handler(lambda request: ok(key=request.args["key"]))
    proxy = client(httpserver.url_for(""), concurrency=8)
    with ThreadPoolExecutor(8) as threads:
        responses = list(threads.map(lambda number: proxy.get("/key/info", {"key": str(number)}), range(40)))
    assert responses == [{"key": str(number)} for number in range(40)]
    assert proxy.api_calls == 40


# How a response is read


@pytest.mark.parametrize("status", [200, 500])
def test_deeply_nested_json_is_an_error(httpserver: HTTPServer, status: int) -> None:
    httpserver.expect_request("/key/list").respond_with_data("[" * 1_000_000, status)
    error = failure(client(httpserver.url_for("")))
    assert ("is not valid JSON" if status == 200 else "no reason given") in str(error)


@pytest.mark.parametrize("levels", [101, 500, 3000])
def test_json_with_more_levels_than_can_be_copied_and_written_is_read_without_them(
    httpserver: HTTPServer, levels: int
) -> None:
    httpserver.expect_request("/key/list").respond_with_data("[" * levels + "]" * levels)
    assert json.dumps(client(httpserver.url_for("")).get("/key/list")) == "[" * 100 + "null" + "]" * 100


def test_incomplete_json_is_a_transient_error(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/key/list").respond_with_data('{"keys": [', content_type="application/json")
    error = failure(client(httpserver.url_for("")))
    assert "is not valid JSON" in str(error)
    assert error.transient


def test_a_compressed_response_is_not_expanded() -> None:
    packed = gzip.compress(b"[" + b" " * (64 << 20) + b"]")
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    with RawServer(lambda connection: connection.sendall(head + packed)) as server:
        assert "is not valid JSON" in str(failure(client(server.url)))


def test_secrets_in_the_reason_are_masked(httpserver: HTTPServer) -> None:
    message = f"bad keys: {MASTER_KEY}, sk-AbCdEfGhIjKl and {MASTER_KEY}"
    httpserver.expect_request("/key/list").respond_with_json({"error": {"message": message}}, 400)
    error = failure(client(httpserver.url_for("")))
    assert str(error) == f"LiteLLM returned 400{FOR}bad keys: ********, sk-******** and ********"


@pytest.mark.parametrize("length", range(480, 500))
def test_a_long_reason_is_cut_after_its_secrets_are_masked(httpserver: HTTPServer, length: int) -> None:
    message = "x" * (length - 1) + " " + MASTER_KEY + " " + "x" * 1000
    httpserver.expect_request("/key/list").respond_with_json({"error": {"message": message}}, 400)
    error = failure(client(httpserver.url_for("")))
    assert len(str(error)) == len(f"LiteLLM returned 400{FOR}") + 500
    assert "sk-" not in str(error)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(httpserver: HTTPServer, other_server: HTTPServer, status: int, method: str) -> None:
    location = {"Location": other_server.url_for("/key/list")}
    httpserver.expect_request("/key/list").respond_with_data("moved", status, location)
    error = failure(client(httpserver.url_for(""), retries=3), method)
    assert (len(httpserver.log), len(other_server.log)) == (1, 0)
    assert not error.transient
    assert str(error) == (
        f"{httpserver.url_for('').rstrip('/')} redirects {method} /key/list ({status}), and redirects are not followed "
        "with the master key; set url to the address of the proxy itself"
    )


# The clock of the proxy


def server_with_date(date: str, status: int = 200) -> RawServer:
    response = f"HTTP/1.1 {status} Whatever\r\nDate: {date}\r\nContent-Length: 2\r\n\r\n{{}}"
    return RawServer(lambda connection: connection.sendall(response.encode()))


@pytest.mark.parametrize("offset", [timedelta(0), timedelta(hours=5), timedelta(days=-400)], ids=str)
def test_now_is_the_time_of_the_proxys_clock(offset: timedelta) -> None:
    date = (datetime.now(UTC) + offset).strftime("%a, %d %b %Y %H:%M:%S GMT")
    with server_with_date(date) as server:
        proxy = client(server.url)
        proxy.get("/key/list")
    assert abs(proxy.now() - datetime.now(UTC) - offset) < timedelta(minutes=5)
    assert proxy.now().utcoffset() == timedelta(0)


def test_the_date_of_an_error_response_counts() -> None:
    with server_with_date("Mon, 01 Jan 2035 00:00:00 GMT", 404) as server:
        proxy = client(server.url)
        failure(proxy)
    assert proxy.now().year == 2035


@pytest.mark.parametrize(
    "date",
    [
        "",
        "yesterday",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Tue, 01 Jan 2999 00:00:00 GMT",  # not a wrong clock: keys would expire in that millennium
        "Mon, 01 Jan 1900 00:00:00 GMT",
    ],
)
def test_without_a_usable_date_the_local_clock_counts(date: str) -> None:
    with server_with_date(date) as server:
        proxy = client(server.url)
        proxy.get("/key/list")
    assert abs(proxy.now() - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.fixture(params=["Asia/Tokyo", "America/New_York"])
def _local_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A controller whose local time is not UTC."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    "form",
    [
        "%a, %d %b %Y %H:%M:%S GMT",
        "%a, %d %b %Y %H:%M:%S",  # without a zone
        "%a, %d %b %Y %H:%M:%S -0000",  # RFC 5322: the zone is not known
        "%a, %d %b %Y %H:%M:%S CEST",  # the abbreviation of a zone is ambiguous, and HTTP only has GMT
        "%a, %d %b %Y %H:%M:%S gmt",
        "%a, %d %b %Y %H:%M:%S UTC",
        "%a, %d %b %Y %H:%M:%S Z",
        "%a %b %e %H:%M:%S %Y",  # asctime(), which HTTP/1.0 allowed
        "%A, %d-%b-%y %H:%M:%S GMT",  # RFC 850
        "%d %b %Y %H:%M:%S",
    ],
)
@pytest.mark.usefixtures("_local_zone")
def test_a_date_without_a_zone_is_utc(form: str) -> None:
    with server_with_date((datetime.now(UTC) + timedelta(days=2)).strftime(form)) as server:
        proxy = client(server.url)
        proxy.get("/key/list")
    assert abs(proxy.now() - datetime.now(UTC) - timedelta(days=2)) < timedelta(minutes=5)


@pytest.mark.usefixtures("_local_zone")
def test_the_zone_of_a_date_counts() -> None:
    with server_with_date("Mon, 01 Jan 2035 00:00:00 +0200") as server:
        proxy = client(server.url)
        proxy.get("/key/list")
    assert abs(proxy.now() - datetime(2034, 12, 31, 22, tzinfo=UTC)) < timedelta(minutes=5)
