# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An in-memory LiteLLM behind a real HTTP server, for situations that a real proxy cannot produce on demand.

Examples are a lost response, another release, a clock that is a week ahead, or another run between two requests. The
responses follow LiteLLM's source code. Behaviour that a real proxy can show is tested in tests/end_to_end.
"""

from __future__ import annotations

import calendar
import hashlib
import json
import random
import re
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

Json = dict[str, Any]
UTC = timezone(timedelta(0))  # datetime.UTC is not in Python 3.10
MASTER_KEY = "sk-the-master-key-of-the-fake"

_NEVER_NULL = ("models", "allowed_routes", "access_group_ids")  # list columns
_JSON_COLUMNS = ("aliases", "permissions", "metadata", "model_max_budget")
_IN_METADATA = (
    *("model_tpm_limit", "model_rpm_limit", "tags", "guardrails", "enforced_params"),
    *("temp_budget_increase", "temp_budget_expiry"),
)
_ROTATION = ("auto_rotate", "rotation_interval")
_COLUMNS: Json = {
    **dict.fromkeys(("key_alias", "max_budget", "budget_duration", "budget_id", "tpm_limit", "rpm_limit")),
    **dict.fromkeys(("max_parallel_requests", "user_id", "team_id", "organization_id", "project_id", "blocked")),
    **dict.fromkeys(("object_permission", "agent_id", "tpd_limit", "budget_limits", "rotation_interval")),
    "auto_rotate": False,
    "router_settings": {},
    "access_group_ids": [],
    "models": [],
    "allowed_routes": [],
    "aliases": {},
    "permissions": {},
    "metadata": {},
    "model_max_budget": {},
    "spend": 0.0,
}
_ROUTER_NUMBERS = ("allowed_fails", "cooldown_time", "max_retries", "num_retries", "retry_after", "timeout")
_ROUTER_FLAGS = ("enable_tag_filtering", "fallback_on_unsupported_params")
_RETRY_POLICY = ("DefaultRetries", "RateLimitErrorRetries", "TimeoutErrorRetries")
_ROUTES = {"llm_api": "llm_api_routes", "management": "management_routes", "read_only": "info_routes"}
_LISTED_BY = ("key_alias", "user_id", "team_id")


@dataclass
class Fault:
    """A fault to inject into one request.

    :ivar how: respond with this `status`, `close` the connection without a response, send `half` of the response,
        `stall` before closing the connection, or `nothing` for no fault.
    :ivar message: the reason in the response with the status.
    :ivar commit: process the request despite the fault.
    :ivar before: called before the request is processed, for example to act as another run.
    """

    how: Literal["nothing", "status", "close", "half", "stall"] = "status"
    status: int = 200
    message: str = "Internal Server Error."
    commit: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[], object] = lambda: None


class ErrorResponse(Exception):
    """An HTTP error response of the proxy."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def body(self) -> Json:
        error = {"message": str(self), "type": "bad_request_error", "param": "None", "code": str(self.status)}
        return {"detail": [{"loc": ["query"], "msg": str(self)}]} if self.status == 422 else {"error": error}


class FakeLiteLLM:
    """A fake proxy. Tests can read and change its keys, settings and faults.

    :ivar release: the LiteLLM release to imitate.
    :ivar clock: how far the proxy's clock is ahead of the local clock.
    :ivar caller: the internal user whose personal key is used as the master key; None for the real master key.
    :ivar allowed_routes: the paths that the key that is used as the master key may call; empty for all.
    :ivar requests: the method and path, and the query or body, of each request.
    """

    def __init__(self, release: str = "1.106.2") -> None:
        self.release = tuple(map(int, release.split(".")))
        self.clock = timedelta(0)
        self.caller: str | None = None
        self.allowed_routes: tuple[str, ...] = ()
        self.rows: dict[str, Json] = {}
        self.deleted: dict[str, Json] = {}
        self.models = ["gpt-4o", "openai/granite"]
        self.teams: dict[str, Json] = {}
        self.budgets: set[str] = set()
        self.custom_keys = True  # general_settings.disable_custom_api_keys
        self.unique_aliases = True  # False: as if all requests arrived at the same time
        self.defaults: Json = {}  # litellm_settings.default_key_generate_params
        self.ignored_fields: set[str] = set()  # fields that this release does not know
        self.undeletable: set[str] = set()
        self.requests: list[tuple[str, Json]] = []
        self.stall_seconds = 5.0
        self._faults: dict[str, list[Fault]] = {}
        self._lock = threading.RLock()
        self.url = ""

    # The interface for tests

    def fault(self, request: str, *faults: Fault) -> None:
        """Inject these faults, in this order, into the next requests of a kind such as `POST /key/generate`."""
        self._faults.setdefault(request, []).extend(faults)

    def forget_faults(self) -> None:
        """Inject no more faults."""
        self._faults.clear()

    def add(self, alias: str | None, secret: str | None = None, *, age: timedelta = timedelta(0), **row: Any) -> str:
        """Add an existing key and return its id."""
        token = _hashed(secret or f"sk-{secrets.token_urlsafe(16)}")
        created = self.now() - age
        self.rows[token] = {
            **{name: _copy(value) for name, value in _COLUMNS.items()},
            "token": token,
            "key_name": f"sk-...{(secret or token)[-4:]}",
            "created_at": _iso(created),
            "expires": None,
            "litellm_budget_table": None,
            **row,
            "key_alias": alias,
        }
        return token

    def add_team(self, team_id: str, **row: Any) -> Json:
        """Add an existing team and return its row."""
        columns: Json = dict.fromkeys(("max_budget", "budget_duration", "budget_reset_at", "team_alias"))
        self.teams[team_id] = {**columns, "metadata": {}, "spend": 0.0, **row, "team_id": team_id}
        return self.teams[team_id]

    def aliases(self) -> list[str]:
        return sorted(str(row["key_alias"]) for row in self.rows.values())

    def row(self, alias: str) -> Json:
        """Return the only key with this alias."""
        (row,) = (row for row in self.rows.values() if row["key_alias"] == alias)
        return row

    def counts(self) -> Counter[str]:
        return Counter(request for request, _unused in self.requests)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.clock

    # The behaviour of LiteLLM

    def handle(self, method: str, path: str, params: Json) -> Any:
        if self.allowed_routes and path not in self.allowed_routes:
            raise ErrorResponse(403, f"Virtual key is not allowed to call this route. Tried to call route: {path}")
        return getattr(self, f"_{method}_{path.strip('/').replace('/', '_')}".lower())(params)

    def _get_v1_models(self, query: Json) -> Json:
        return {"data": [{"id": name, "object": "model"} for name in self.models], "object": "list"}

    def _get_team_info(self, query: Json) -> Json:
        if query["team_id"] not in self.teams:
            raise ErrorResponse(404, f"{{'error': 'Team not found, passed team id: {query['team_id']}.'}}")
        return {"team_id": query["team_id"], "team_info": self.teams[query["team_id"]], "keys": []}

    def _get_v2_team_list(self, query: Json) -> Json:
        size, page = int(query["page_size"]), int(query["page"])
        rows = [row for team_id, row in sorted(self.teams.items()) if query.get("team_id", team_id) == team_id]
        shown = rows[(page - 1) * size : page * size]
        return {"teams": shown, "total": len(rows), "page": page, "total_pages": -(-len(rows) // size)}

    def _post_team_new(self, body: Json) -> Json:
        if body["team_id"] in self.teams:
            raise ErrorResponse(400, f"{{'error': 'Team id = {body['team_id']} already exists.'}}")
        return self.add_team(**body)

    def _post_team_update(self, body: Json) -> Json:
        if body["team_id"] not in self.teams:
            raise ErrorResponse(404, f"{{'error': 'Team not found, passed team_id={body['team_id']}'}}")
        self.teams[body["team_id"]].update(body)
        return {"team_id": body["team_id"], "data": self.teams[body["team_id"]]}

    def _post_team_delete(self, body: Json) -> Json:
        for team_id in body["team_ids"]:
            if team_id not in self.teams:
                raise ErrorResponse(404, f"{{'error': 'Team not found, passed team_id={team_id}'}}")
        for team_id in body["team_ids"]:
            for token in [token for token, row in self.rows.items() if row["team_id"] == team_id]:
                self.deleted[token] = self.rows.pop(token)
            del self.teams[team_id]
        return {"deleted_teams": body["team_ids"]}

    def _post_budget_info(self, body: Json) -> list[Json]:
        return [{"budget_id": budget} for budget in body["budgets"] if budget in self.budgets]

    def _get_key_list(self, query: Json) -> Json:
        if self.release < (1, 61, 8) and (unknown := set(query) - {"page", "size", *_LISTED_BY}):
            raise ErrorResponse(400, f"Unsupported parameter(s): {', '.join(sorted(unknown))}")
        size, page = int(query.get("size", 10)), int(query.get("page", 1))
        if size > 100:
            raise ErrorResponse(422, "Input should be less than or equal to 100")
        by_substring = (1, 83, 3) <= self.release < (1, 90)
        if self.release >= (1, 90) and "substring_matching" in query:
            if query["substring_matching"] not in ("true", "false"):
                raise ErrorResponse(422, "Input should be a valid boolean")
            by_substring = query["substring_matching"] == "true"
        rows = list(self.rows.values())
        if self.caller is not None:
            if query.get("user_id", self.caller) != self.caller:
                raise ErrorResponse(403, "You are not authorized to check another user's keys")
            rows = [row for row in rows if row["user_id"] == self.caller]
        for name in _LISTED_BY:
            if value := query.get(name):
                rows = [row for row in rows if _matches(row[name], value, by_substring and name != "team_id")]
        rows.sort(key=lambda row: (row["created_at"], row["token"]), reverse=True)
        if self.release < (1, 61, 20):
            random.shuffle(rows)
        shown = rows[(page - 1) * size : page * size]
        return {
            "keys": [self._listed(row) if query.get("return_full_object") == "true" else row["token"] for row in shown],
            "total_count": len(rows),
            "current_page": page,
            "total_pages": -(-len(rows) // size),
        }

    def _listed(self, row: Json) -> Json:
        rest = {name: value for name, value in row.items() if name != "organization_id"}
        return {**rest, "org_id": row["organization_id"], "soft_budget": None, "user_role": None}

    def _get_key_info(self, query: Json) -> Json:
        token = _hashed(query["key"])
        if token in self.rows:
            status: Json = {"status": "active"} if self.release >= (1, 103) else {}
            row: Json = {**self.rows[token], **status}
        elif token in self.deleted and self.release >= (1, 103):
            row = {**self.deleted[token], "status": "deleted"}
        else:
            raise ErrorResponse(404, "Key not found in database")
        return {"key": query["key"], "info": {name: value for name, value in row.items() if name != "token"}}

    def _post_key_generate(self, body: Json) -> Json:
        if "key" in body and not self.custom_keys:
            raise ErrorResponse(
                403, "Custom API key values are disabled by your administrator. Keys must be auto-generated."
            )
        alias, secret = body.get("key_alias"), body.get("key") or f"sk-{secrets.token_urlsafe(16)}"
        if self.unique_aliases and alias is not None:
            self._check_alias_is_free(alias)
        effective = {**body, **{name: value for name, value in self.defaults.items() if not body.get(name)}}
        only_for_updates = ("temp_budget_increase", "temp_budget_expiry")
        columns = self._columns({}, {name: value for name, value in effective.items() if name not in only_for_updates})
        if not all(map(columns.get, _ROTATION)):
            columns |= {"auto_rotate": False, "rotation_interval": None}
        columns["expires"] = self._first_expiry(effective["duration"]) if effective.get("duration") else None
        if effective.get("key_type"):
            columns["allowed_routes"] = [_ROUTES[effective["key_type"]]] if effective["key_type"] in _ROUTES else []
        if effective.get("soft_budget") is not None:
            columns |= {
                "litellm_budget_table": {"soft_budget": effective["soft_budget"]},
                "budget_id": secrets.token_hex(),
            }
        token = _hashed(secret)
        if token not in self.rows:  # for an existing key, LiteLLM reports success and writes nothing
            self.add(secret=secret, **{"alias": alias, **columns})
        return {**effective, **columns, "key": secret, "token": token, "token_id": token, "duration": None}

    def _post_key_update(self, body: Json) -> Json:
        row = self.rows.get(_hashed(body["key"]))
        if row is None:
            if self.release < (1, 82, 6):
                raise ErrorResponse(401, "Authentication Error, invalid user key - user key does not exist in db")
            raise ErrorResponse(404, "Key not found.")
        if row["team_id"] and row["team_id"] not in self.teams:
            raise ErrorResponse(404, f"{{'error': \"Team doesn't exist in db. Team={row['team_id']}\"}}")
        team_id = body.get("team_id")
        if team_id and team_id != row["team_id"] and row["user_id"]:
            raise ErrorResponse(403, f"User={row['user_id']} is not a member of the team={team_id}.")
        if "key_alias" in body and body["key_alias"] != row["key_alias"]:
            self._check_alias_is_free(body["key_alias"])
        for name in _NEVER_NULL:
            if name in body and body[name] is None:
                raise ErrorResponse(400, f"`data.{name}`: A value is required but not set")
        if (body.get("temp_budget_increase") is None) != (body.get("temp_budget_expiry") is None):
            raise ErrorResponse(422, "temp_budget_increase and temp_budget_expiry must be set together")
        columns = self._columns(row, body)
        if "duration" in body:
            columns["expires"] = self._later_expiry(body["duration"], row["expires"])
        columns.pop("project_id", None)
        if "soft_budget" in body and self.release >= (1, 102):
            columns["litellm_budget_table"] = {"soft_budget": body["soft_budget"]}
        if self.release < (1, 90) and columns.get("budget_duration", "") is None:
            del columns["budget_duration"]
        row.update(columns)
        return {**row, "key": body["key"]}

    def _columns(self, row: Json, body: Json) -> Json:
        """Return the columns that a request writes. Metadata is replaced as a whole, not merged."""
        body = {name: value for name, value in body.items() if name not in self.ignored_fields}
        for name in _JSON_COLUMNS:
            if name in body and body[name] is None:
                raise ErrorResponse(400, f"`data.{name}`: A value is required but not set")
        if isinstance(body.get("max_budget"), float) and body["max_budget"] < 0:
            raise ErrorResponse(400, "max_budget cannot be negative")
        written = {name: value for name, value in body.items() if name in _COLUMNS}
        if written.get("router_settings"):
            written["router_settings"] = _router_settings(written["router_settings"])
        if limits := written.get("budget_limits"):
            written["budget_limits"] = [{**one, "reset_at": _iso(self.now())} for one in limits]
        inside = {name: body[name] for name in _IN_METADATA if body.get(name) is not None}
        if inside or "metadata" in body:
            present: Json = body["metadata"] if "metadata" in body else row.get("metadata", {})
            written["metadata"] = {**present, **inside}
        return written

    def _post_key_delete(self, body: Json) -> Json:
        tokens = [_hashed(key) for key in body["keys"]]
        existing = [token for token in tokens if token in self.rows]
        if not existing and self.release >= (1, 70):
            raise ErrorResponse(404, "{'error': 'No keys found'}")
        for token in existing:
            if token not in self.undeletable:
                self.deleted[token] = self.rows.pop(token)
        return {"deleted_keys": body["keys"]}

    def _check_alias_is_free(self, alias: str) -> None:
        if any(row["key_alias"] == alias for row in self.rows.values()):
            raise ErrorResponse(
                400, f"Key with alias '{alias}' already exists. Unique key aliases across all keys are required."
            )

    def _first_expiry(self, duration: str) -> str:
        now = self.now()
        if (1, 76, 3) <= self.release < (1, 80, 12) and (match := re.match(r"(\d+)s", duration)):
            # These releases use the next budget reset as the expiry, which is at most one day ahead.
            end = now.replace(second=0, microsecond=0) + timedelta(seconds=int(match[1]))
            tomorrow = now + timedelta(days=1)
            return _iso(end if end.date() == now.date() else datetime.combine(tomorrow, end.time(), UTC))
        return _iso(self._after(duration, now, 500))

    def _later_expiry(self, duration: str | None, present: str | None) -> str | None:
        if duration is None:
            return None if self.release >= (1, 82, 2) else present
        if duration == "-1" and self.release >= (1, 80, 12):
            return None
        return _iso(self._after(duration, self.now(), 400))

    def _after(self, duration: str, now: datetime, status: int) -> datetime:
        match = re.match(r"(\d+)(mo|[smhdw]?)", duration)
        if not match or not match[2] or (match[2] == "w" and self.release < (1, 61, 8)):
            raise ErrorResponse(status, "Invalid duration format")
        amount = int(match[1])
        if match[2] != "mo":
            return now + amount * timedelta(seconds={"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[match[2]])
        year, month = divmod(now.year * 12 + now.month - 1 + amount, 12)
        return now.replace(year=year, month=month + 1, day=min(now.day, calendar.monthrange(year, month + 1)[1]))

    # The HTTP server

    def serve(self, method: str, path: str, params: Json, authorization: str | None) -> tuple[int, Any, Fault]:
        request = f"{method} {path}"
        with self._lock:
            self.requests.append((request, params))
            fault = (self._faults.get(request) or [Fault("nothing")]).pop(0)
            fault.before()
            if fault.how != "nothing" and not fault.commit and fault.how != "half":
                return fault.status, ErrorResponse(fault.status, fault.message).body, fault
            try:
                if authorization != f"Bearer {MASTER_KEY}":
                    raise ErrorResponse(401, "Authentication Error, Invalid proxy server token passed")
                response, status = self.handle(method, path, params), 200
            except ErrorResponse as error:
                response, status = error.body, error.status
        if fault.how == "status":
            return fault.status, ErrorResponse(fault.status, fault.message).body, fault
        return status, response, fault

    @contextmanager
    def running(self) -> Iterator[FakeLiteLLM]:
        server = _Server(("127.0.0.1", 0), _handler(self))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that close the connection before the response."""


def _handler(fake: FakeLiteLLM) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # send headers and body in one piece

        def do_GET(self) -> None:
            self._respond(dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True)))

        def do_POST(self) -> None:
            self._respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _respond(self, params: Json) -> None:
            path = urlsplit(self.path).path
            status, response, fault = fake.serve(self.command, path, params, self.headers["Authorization"])
            data = json.dumps(response).encode()
            if fault.how == "stall":
                time.sleep(fake.stall_seconds)
            if fault.how in ("close", "stall"):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if fault.how == "half":
                data = data[: len(data) // 2]
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **fault.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(fake.now(), usegmt=True)

        def log_message(self, format: str, *args: object) -> None:
            """Do not log requests."""

    return Handler


def _router_settings(value: Json) -> Json:
    """Return router settings as LiteLLM stores them: all of its own, with text as numbers, and no others."""
    stored: Json = {name: _as_number(value.get(name)) for name in _ROUTER_NUMBERS}
    stored |= {name: str(value[name]) in ("True", "true", "1") if name in value else None for name in _ROUTER_FLAGS}
    policy = value.get("retry_policy")
    stored["retry_policy"] = policy and {name: _as_number(policy.get(name)) for name in _RETRY_POLICY}
    stored |= {name: value.get(name) for name in ("routing_strategy", "routing_strategy_args", "fallbacks")}
    return {**stored, "model_group_alias": value.get("model_group_alias") or {}}


def _as_number(value: Any) -> float | None:
    return None if value is None else float(value)


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest() if key.startswith("sk-") else key


def _matches(actual: str | None, expected: str, by_substring: bool) -> bool:
    return expected.lower() in (actual or "").lower() if by_substring else actual == expected


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, list | dict) else value


def _iso(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
