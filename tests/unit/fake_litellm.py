# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""LiteLLM's key API in memory, behind real HTTP, for what a real proxy does not do when asked.

That is: lose an answer, be another release, be a week later, or let another run in between two requests. It answers
as LiteLLM's source does. What a real proxy can show is tested with a real one, in tests/end_to_end.
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

_NEVER_NULL = ("models", "allowed_routes")  # columns that are lists
_JSON_COLUMNS = ("aliases", "permissions", "metadata", "model_max_budget")
_IN_METADATA = ("model_tpm_limit", "model_rpm_limit", "tags", "guardrails", "enforced_params")
_COLUMNS: Json = {
    **dict.fromkeys(("key_alias", "max_budget", "budget_duration", "budget_id", "tpm_limit", "rpm_limit")),
    **dict.fromkeys(("max_parallel_requests", "user_id", "team_id", "organization_id", "project_id", "blocked")),
    **dict.fromkeys(("object_permission", "agent_id")),
    "models": [],
    "allowed_routes": [],
    "aliases": {},
    "permissions": {},
    "metadata": {},
    "model_max_budget": {},
    "spend": 0.0,
}
_ROUTES = {"llm_api": "llm_api_routes", "management": "management_routes", "read_only": "info_routes"}
_LISTED_BY = ("key_alias", "user_id", "team_id")


@dataclass
class Fault:
    """What is to go wrong with one request.

    :ivar commit: it is carried out all the same.
    :ivar how: `answer` with this status, `close` the connection without one, send `half` of the answer, or `stall`.
    :ivar before: called before the request is handled: another run's work, perhaps.
    """

    how: Literal["nothing", "answer", "close", "half", "stall"] = "answer"
    status: int = 200
    commit: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[], object] = lambda: None


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def body(self) -> Json:
        error = {"message": str(self), "type": "bad_request_error", "param": "None", "code": str(self.status)}
        return {"detail": [{"loc": ["query"], "msg": str(self)}]} if self.status == 422 else {"error": error}


class FakeLiteLLM:
    """One proxy. Its keys, its settings and what goes wrong are there to be read and changed.

    :ivar release: what it behaves like.
    :ivar clock: how far its clock is ahead of ours.
    :ivar requests: of each, its method with its path, and its query or body.
    """

    def __init__(self, release: str = "1.106.2") -> None:
        self.release = tuple(map(int, release.split(".")))
        self.clock = timedelta(0)
        self.rows: dict[str, Json] = {}
        self.deleted: dict[str, Json] = {}
        self.models = ["gpt-4o", "openai/granite"]
        self.teams: set[str] = set()
        self.budgets: set[str] = set()
        self.custom_keys = True  # general_settings.disable_custom_api_keys
        self.unique_aliases = True  # False: as if all requests came at the same moment
        self.defaults: Json = {}  # litellm_settings.default_key_generate_params
        self.ignored_fields: set[str] = set()  # what this release does not know
        self.undeletable: set[str] = set()
        self.requests: list[tuple[str, Json]] = []
        self.patience = 0.3  # seconds
        self._faults: dict[str, list[Fault]] = {}
        self._lock = threading.RLock()
        self.url = ""

    # What tests say

    def fault(self, request: str, *faults: Fault) -> None:
        """Let these befall the next requests of a kind, such as `POST /key/generate`, in this order."""
        self._faults.setdefault(request, []).extend(faults)

    def add(self, alias: str | None, secret: str | None = None, *, age: timedelta = timedelta(0), **row: Any) -> str:
        """A key that is there already, with its id."""
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

    def aliases(self) -> list[str]:
        return sorted(str(row["key_alias"]) for row in self.rows.values())

    def row(self, alias: str) -> Json:
        """The only key with this alias."""
        (row,) = (row for row in self.rows.values() if row["key_alias"] == alias)
        return row

    def counts(self) -> Counter[str]:
        return Counter(request for request, _unused in self.requests)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.clock

    # What LiteLLM does

    def handle(self, method: str, path: str, given: Json) -> Any:
        return getattr(self, f"_{method}_{path.strip('/').replace('/', '_')}".lower())(given)

    def _get_v1_models(self, query: Json) -> Json:
        return {"data": [{"id": name, "object": "model"} for name in self.models], "object": "list"}

    def _get_team_info(self, query: Json) -> Json:
        if query["team_id"] not in self.teams:
            raise Refusal(404, f"{{'error': 'Team not found, passed team id: {query['team_id']}.'}}")
        return {"team_id": query["team_id"], "team_info": {}, "keys": []}

    def _post_budget_info(self, body: Json) -> list[Json]:
        return [{"budget_id": budget} for budget in body["budgets"] if budget in self.budgets]

    def _get_key_list(self, query: Json) -> Json:
        if self.release < (1, 61, 8) and (unknown := set(query) - {"page", "size", *_LISTED_BY}):
            raise Refusal(400, f"Unsupported parameter(s): {', '.join(sorted(unknown))}")
        size, page = int(query.get("size", 10)), int(query.get("page", 1))
        if size > 100:
            raise Refusal(422, "Input should be less than or equal to 100")
        in_parts = (1, 83, 3) <= self.release < (1, 90)
        if self.release >= (1, 90) and "substring_matching" in query:
            if query["substring_matching"] not in ("true", "false"):
                raise Refusal(422, "Input should be a valid boolean")
            in_parts = query["substring_matching"] == "true"
        rows = list(self.rows.values())
        for name in _LISTED_BY:
            if wanted := query.get(name):
                rows = [row for row in rows if _matches(row[name], wanted, in_parts and name != "team_id")]
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
            raise Refusal(404, "Key not found in database")
        return {"key": query["key"], "info": {name: value for name, value in row.items() if name != "token"}}

    def _post_key_generate(self, body: Json) -> Json:
        if "key" in body and not self.custom_keys:
            raise Refusal(403, "Custom API key values are disabled by your administrator. Keys must be auto-generated.")
        alias, secret = body.get("key_alias"), body.get("key") or f"sk-{secrets.token_urlsafe(16)}"
        if self.unique_aliases and alias is not None:
            self._refuse_taken(alias)
        given = {**body, **{name: value for name, value in self.defaults.items() if not body.get(name)}}
        columns = self._columns({}, given)
        columns["expires"] = self._first_expiry(given["duration"]) if given.get("duration") else None
        if given.get("key_type"):
            columns["allowed_routes"] = [_ROUTES[given["key_type"]]] if given["key_type"] in _ROUTES else []
        if given.get("soft_budget") is not None:
            columns |= {"litellm_budget_table": {"soft_budget": given["soft_budget"]}, "budget_id": secrets.token_hex()}
        token = _hashed(secret)
        if token not in self.rows:  # else LiteLLM says yes and writes nothing
            self.add(secret=secret, **{"alias": alias, **columns})
        return {**given, **columns, "key": secret, "token": token, "token_id": token, "duration": None}

    def _post_key_update(self, body: Json) -> Json:
        row = self.rows.get(_hashed(body["key"]))
        if row is None:
            if self.release < (1, 82, 6):
                raise Refusal(401, "Authentication Error, invalid user key - user key does not exist in db")
            raise Refusal(404, "Key not found.")
        if row["team_id"] and row["team_id"] not in self.teams:
            raise Refusal(404, f"{{'error': \"Team doesn't exist in db. Team={row['team_id']}\"}}")
        if "key_alias" in body and body["key_alias"] != row["key_alias"]:
            self._refuse_taken(body["key_alias"])
        for name in _NEVER_NULL:
            if name in body and body[name] is None:
                raise Refusal(400, f"`data.{name}`: A value is required but not set")
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
        """What a request writes: merged field by field, but the metadata as a whole."""
        body = {name: value for name, value in body.items() if name not in self.ignored_fields}
        for name in _JSON_COLUMNS:
            if name in body and body[name] is None:
                raise Refusal(400, f"`data.{name}`: A value is required but not set")
        if isinstance(body.get("max_budget"), float) and body["max_budget"] < 0:
            raise Refusal(400, "max_budget cannot be negative")
        written = {name: value for name, value in body.items() if name in _COLUMNS}
        inside = {name: body[name] for name in _IN_METADATA if body.get(name) is not None}
        if inside or "metadata" in body:
            present: Json = body["metadata"] if "metadata" in body else row.get("metadata", {})
            written["metadata"] = {**present, **inside}
        return written

    def _post_key_delete(self, body: Json) -> Json:
        tokens = [_hashed(key) for key in body["keys"]]
        there = [token for token in tokens if token in self.rows]
        if not there and self.release >= (1, 70):
            raise Refusal(404, "{'error': 'No keys found'}")
        for token in there:
            if token not in self.undeletable:
                self.deleted[token] = self.rows.pop(token)
        return {"deleted_keys": body["keys"]}

    def _refuse_taken(self, alias: str) -> None:
        if any(row["key_alias"] == alias for row in self.rows.values()):
            raise Refusal(
                400, f"Key with alias '{alias}' already exists. Unique key aliases across all keys are required."
            )

    def _first_expiry(self, duration: str) -> str:
        now = self.now()
        if (1, 76, 3) <= self.release < (1, 80, 12) and (match := re.match(r"(\d+)s", duration)):
            # It takes the next moment to count a budget anew for the expiry, which is tomorrow at the latest.
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
            raise Refusal(status, "Invalid duration format")
        amount = int(match[1])
        if match[2] != "mo":
            return now + amount * timedelta(seconds={"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[match[2]])
        year, month = divmod(now.year * 12 + now.month - 1 + amount, 12)
        return now.replace(year=year, month=month + 1, day=min(now.day, calendar.monthrange(year, month + 1)[1]))

    # How it is reached

    def serve(self, method: str, path: str, given: Json, authorization: str | None) -> tuple[int, Any, Fault]:
        request = f"{method} {path}"
        with self._lock:
            self.requests.append((request, given))
            fault = (self._faults.get(request) or [Fault("nothing")]).pop(0)
            fault.before()
            if fault.how != "nothing" and not fault.commit and fault.how != "half":
                return fault.status, Refusal(fault.status, "Internal Server Error.").body, fault
            try:
                if authorization != f"Bearer {MASTER_KEY}":
                    raise Refusal(401, "Authentication Error, Invalid proxy server token passed")
                answer, status = self.handle(method, path, given), 200
            except Refusal as refusal:
                answer, status = refusal.body, refusal.status
        if fault.how == "answer":
            return fault.status, Refusal(fault.status, "Internal Server Error.").body, fault
        return status, answer, fault

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
        """Who gives up waiting for an answer is no error here."""


def _handler(fake: FakeLiteLLM) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # headers and body in one piece

        def do_GET(self) -> None:
            self._answer(dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True)))

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, given: Json) -> None:
            path = urlsplit(self.path).path
            status, answer, fault = fake.serve(self.command, path, given, self.headers["Authorization"])
            data = json.dumps(answer).encode()
            if fault.how == "stall":
                time.sleep(fake.patience)
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
            """Nobody reads it."""

    return Handler


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest() if key.startswith("sk-") else key


def _matches(value: str | None, wanted: str, in_parts: bool) -> bool:
    return wanted.lower() in (value or "").lower() if in_parts else value == wanted


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, list | dict) else value


def _iso(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
