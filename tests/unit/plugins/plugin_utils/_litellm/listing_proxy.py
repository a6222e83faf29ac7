# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A proxy that lists keys as one of several releases of LiteLLM does, behind a real HTTP server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

UTC = timezone(timedelta(0))  # datetime.UTC is not in Python 3.10
Row = dict[str, Any]


def key(alias: str | None, age: int = 0, **fields: Any) -> Row:
    """Return a row of LiteLLM; the age is in days."""
    token = hashlib.sha256(f"{alias} {age}".encode()).hexdigest()
    created_at = (datetime(2026, 11, 23, tzinfo=UTC) - timedelta(days=age)).isoformat()
    return {"token": token, "key_alias": alias, "created_at": created_at, **fields}


class ErrorResponse(Exception):
    """An HTTP status and its message."""


class Proxy:
    """A request handler that lists keys as a release of LiteLLM does."""

    def __init__(self, release: tuple[int, int], rows: Iterable[Row]) -> None:
        self.release = release
        self.rows = list(rows)
        self.requests: list[str] = []
        self.before_page_2: Callable[[list[Row]], object] = len
        self.before_request: Callable[[str], object] = len

    def __call__(self, request: Request) -> Response:
        self.requests.append(f"{request.path}?{request.query_string.decode()}")
        self.before_request(self.requests[-1])
        try:
            response = self._list(request.args) if request.path == "/key/list" else self._info(request.args["key"])
        except ErrorResponse as error:
            status, message = error.args
            return Response(json.dumps({"error": {"message": message}}), status)
        return Response(json.dumps(response))

    def _list(self, query: Any) -> Row:
        matches = self._matches(query)
        size, page = int(query.get("size", 10)), int(query.get("page", 1))
        if size > 100:
            raise ErrorResponse(422, "size")
        if page == 2:
            self.before_page_2(self.rows)
        rows = [row for row in self.rows if matches(row["key_alias"] or "")]
        shown = rows[(page - 1) * size : page * size]
        pages = -(-len(rows) // size)
        full = "return_full_object" in query
        return {
            "keys": shown if full else [row["token"] for row in shown],
            "total_count": len(rows),
            "current_page": page,
            "total_pages": pages,
        }

    def _matches(self, query: Any) -> Callable[[str], bool]:
        alias = query.get("key_alias", "")
        if self.release < (1, 61) and set(query) - {"page", "size", "key_alias", "user_id", "team_id"}:
            raise ErrorResponse(400, "Unsupported parameter(s): return_full_object")
        if self.release >= (1, 90) and query.get("substring_matching", "true") not in ("true", "false"):
            raise ErrorResponse(422, "substring_matching")
        if not alias:
            return lambda _name: True
        if (1, 83) <= self.release < (1, 90):
            return lambda name: alias.lower() in name.lower()
        if self.release >= (1, 90) and query.get("substring_matching") == "true":
            return lambda name: alias.lower() in name.lower()
        return lambda name: name == alias

    def _info(self, key_id: str) -> Row:
        for row in self.rows:
            if row["token"] == key_id:
                return {"key": key_id, "info": {name: value for name, value in row.items() if name != "token"}}
        raise ErrorResponse(404, "Key not found in database")


RELEASES = [(1, 53), (1, 80), (1, 83), (1, 90), (1, 106)]
each_release = pytest.mark.parametrize("release", RELEASES, ids=lambda release: "{}.{}".format(*release))


def client_of(httpserver: HTTPServer, proxy: Proxy) -> Client:
    """Return a client of this proxy."""
    httpserver.clear()
    for path in ("/key/list", "/key/info"):
        httpserver.expect_request(path, method="GET").respond_with_handler(proxy)
    return Client(Connection(httpserver.url_for(""), "sk-1234", retries=0, timeout=30))
