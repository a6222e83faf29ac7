# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The error messages for responses with an error status, and for requests without a response."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._litellm.servers import (
    DOWN,
    URL,
    client,
    failure,
)
from pytest_httpserver import HTTPServer

FOR = " for GET /key/list: "
NO_ROUTE = (
    "{url} does not allow master_key to send GET /key/list (403), because the key, or the role of its user, is limited "
    "to other routes; pass the master key, or a key that may call this route"
)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            400,
            {"error": {"message": "Key with alias 'a1' already exists.", "type": "bad_request_error", "code": "400"}},
            f"LiteLLM returned 400{FOR}Key with alias 'a1' already exists.",
        ),
        (
            500,
            {"error": {"message": "{'error': 'Internal Server Error.'}"}},
            f"LiteLLM returned 500{FOR}Internal Server Error.",
        ),
        (
            404,
            {"error": {"message": "{'error': \"Team doesn't exist in db. Team=tm9\"}"}},
            f"LiteLLM returned 404{FOR}Team doesn't exist in db. Team=tm9",
        ),
        (
            400,
            {"message": "No connected db.", "type": "no_db_connection"},
            f"LiteLLM returned 400{FOR}No connected db.",
        ),
        (403, {"detail": "Virtual key is not allowed"}, f"LiteLLM returned 403{FOR}Virtual key is not allowed"),
        (404, {"detail": {"error": "Key not found"}}, f"LiteLLM returned 404{FOR}Key not found"),
        (404, {"detail": "Not Found"}, f"LiteLLM returned 404{FOR}Not Found"),
        (
            422,
            {
                "detail": [
                    {"type": "string_type", "loc": ["body", "duration"], "msg": "Input should be a valid string"},
                    {"type": "less_than_equal", "loc": ["query", "size"], "msg": "Input should be at most 100"},
                ]
            },
            f"LiteLLM returned 422{FOR}body.duration: Input should be a valid string; "
            "query.size: Input should be at most 100",
        ),
        (422, {"detail": ["one thing", {"loc": ["body"]}]}, f"LiteLLM returned 422{FOR}one thing; {{'loc': ['body']}}"),
        (
            400,
            {"error": {"message": "Authentication Error, Invalid duration format"}},
            f"LiteLLM returned 400{FOR}Invalid duration format",
        ),
        (
            500,
            {"error": {"message": "Tags are an Enterprise feature. You must be a LiteLLM Enterprise user to use it."}},
            f"LiteLLM returned 500{FOR}Tags are an Enterprise feature.",
        ),
        (500, {"error": {"message": "on\n  two lines"}}, f"LiteLLM returned 500{FOR}on two lines"),
        (500, {"error": "just text"}, f"LiteLLM returned 500{FOR}just text"),
        (500, {"error": {"message": "{not a dict"}}, f"LiteLLM returned 500{FOR}{{not a dict"),
        (500, {"error": {"message": "{[]: 1}"}}, f"LiteLLM returned 500{FOR}{{[]: 1}}"),
        (500, {"error": {"message": None}}, f"LiteLLM returned 500{FOR}no reason given"),
        (500, {"error": {"message": ""}}, f"LiteLLM returned 500{FOR}no reason given"),
        (500, None, f"LiteLLM returned 500{FOR}no reason given"),
        (500, [], f"LiteLLM returned 500{FOR}no reason given"),
        (500, "text", f"LiteLLM returned 500{FOR}text"),
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
            "{url} does not accept master_key as an administrator's key (401): it does not see all keys; "
            "pass the master key of the proxy, or a key of a user with the role proxy_admin",
        ),
        (
            403,
            {"detail": "Virtual key is not allowed to call this route. Only allowed to call routes: ['a']"},
            NO_ROUTE,
        ),
        (403, {"error": {"message": "user not allowed to access this route, role= proxy_admin_viewer"}}, NO_ROUTE),
    ],
)
def test_the_reason_is_found_in_every_shape_of_error_response(
    httpserver: HTTPServer, status: int, body: Any, message: str
) -> None:
    httpserver.expect_request("/key/list").respond_with_json(body, status)
    error = failure(client(httpserver.url_for("")))
    assert str(error) == message.replace("{url}", httpserver.url_for("").rstrip("/"))
    assert (error.status, error.transient) == (status, status == 500)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"error": {"message": "x" * (64 << 10)}}, "no reason given"),
        ({"error": {"message": "{" + "1+" * 200_000 + "1}"}}, "no reason given"),
        ({"error": {"message": "{" + "1," * 3_000_000 + "}"}}, "no reason given"),
        ({"error": {"message": "{'error': '" + "x" * 2000 + "'}"}}, "{'error': '" + "x" * 489),
        ({"error": {"message": json.loads("[" * 500 + "]" * 500)}}, "no reason given"),
        (
            {"detail": [{"msg": "no", "loc": 5}, {"msg": "no", "loc": None}, {"msg": ["no"]}]},
            "5: no; None: no; None: ['no']",
        ),
    ],
    ids=["long", "nested literal", "long literal", "literal", "nested", "locations"],
)
def test_a_malicious_reason_is_not_read(httpserver: HTTPServer, body: Any, reason: str) -> None:
    httpserver.expect_request("/key/list").respond_with_json(body, 400)
    assert str(failure(client(httpserver.url_for("")))) == f"LiteLLM returned 400{FOR}{reason}"


HTML = "<html><head><title>Application is not available</title></head></html>"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "{url} has no GET /key/list (404); check that url is a LiteLLM proxy"),
        (405, "{url} has no GET /key/list (405); check that url is a LiteLLM proxy"),
        (502, "A gateway at {url} returned 502 for GET /key/list; check that LiteLLM is running behind it"),
        (503, "A gateway at {url} returned 503 for GET /key/list; check that LiteLLM is running behind it"),
        (504, "A gateway at {url} returned 504 for GET /key/list; check that LiteLLM is running behind it"),
        (500, f"LiteLLM returned 500{FOR}no reason given"),
        (401, "{url} does not accept the master key (401); check master_key"),
        (200, "The response of {url} to GET /key/list is not valid JSON; check that url is a LiteLLM proxy"),
        (204, "The response of {url} to GET /key/list is not valid JSON; check that url is a LiteLLM proxy"),
    ],
)
def test_an_html_page_is_not_quoted(httpserver: HTTPServer, status: int, message: str) -> None:
    httpserver.expect_request("/key/list").respond_with_data(HTML, status, content_type="text/html")
    error = failure(client(httpserver.url_for("")))
    assert str(error) == message.replace("{url}", httpserver.url_for("").rstrip("/"))


def test_an_unknown_host_is_reported_as_such() -> None:
    url = "http://nowhere.invalid"
    real = socket.getaddrinfo

    def unknown(host: str, *arguments: Any, **options: Any) -> Any:
        if host == "nowhere.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", unknown)
        error = failure(client(url))
    assert (str(error), error.transient) == (f"The host name of {url} cannot be resolved; check url", True)


def test_an_invalid_host_name_is_an_error_message() -> None:
    error = failure(client(f"http://{'x' * 64}.example"))
    assert "sent no usable response" in str(error)


def test_a_failure_of_the_http_proxy_is_reported_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", DOWN)
    assert str(failure(client(URL))) == (
        f"The HTTP proxy between Ansible and {URL} failed (Connection refused); "
        "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY"
    )


def test_https_to_a_server_without_tls_is_reported_as_such(httpserver: HTTPServer) -> None:
    error = failure(client(f"https://127.0.0.1:{httpserver.port}"))
    assert str(error).endswith("the proxy may use http instead of https")
