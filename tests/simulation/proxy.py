# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A model of LiteLLM's keys and teams that processes each request in the steps in which LiteLLM uses its database.

Creation and update first check that the alias is free and write later, so that two requests can interleave between the
two. An update without metadata writes back the metadata that it read when it checked. If the proxies of a database have
different clocks, the key that appears last can have the earlier `created_at`. These facts follow the source code of
LiteLLM 1.106; `tests/end_to_end/test_model_of_the_proxy.py` compares the responses of the model with a real proxy.

The model is immutable: a step returns a new world. Equal worlds are equal values, which lets the explorer merge them.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

Json = dict[str, Any]

# The time of the proxy's clock. It does not advance: histories take less than the tolerance of an expiry.
START = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)

_COLUMNS: Json = {
    **dict.fromkeys(("budget_duration", "budget_id", "max_budget", "max_parallel_requests", "rpm_limit", "tpm_limit")),
    **dict.fromkeys(("blocked", "expires", "org_id", "project_id", "team_id", "user_id")),
    "aliases": {},
    "allowed_routes": [],
    "metadata": {},
    "model_max_budget": {},
    "models": [],
    "permissions": {},
    "spend": 0.0,
}
_WRITABLE = {*_COLUMNS, "key_alias"} - {"expires", "org_id"}


class Request(NamedTuple):
    """One request. `params` is the query or the body as JSON."""

    method: str
    path: str
    params: str

    @property
    def changes(self) -> bool:
        """Whether the request is meant to change something."""
        return self.path in ("/key/generate", "/key/update", "/key/delete", "/team/new", "/team/update", "/team/delete")


class Response(NamedTuple):
    """The response to a request: a status, or None if there is none, and a body as JSON."""

    status: int | None
    body: str = "null"


class Pending(NamedTuple):
    """A request that the proxy has checked and not written yet. `data` is what it will write, as JSON."""

    path: str
    data: str


class World(NamedTuple):
    """Everything on the proxy, and what the laws need to know about the past.

    :ivar rows: the keys as JSON, sorted.
    :ivar created: how many creations were started, which is their order.
    :ivar removed: the id of each key that was deleted, and the name of the controller that deleted it.
    :ivar teams: the teams as JSON, sorted.
    """

    rows: tuple[str, ...] = ()
    created: int = 0
    removed: tuple[tuple[str, str], ...] = ()
    teams: tuple[str, ...] = ()

    def all_teams(self) -> dict[str, Json]:
        """Return the teams by their ids."""
        return {team["team_id"]: team for team in map(parsed, self.teams)}

    def with_teams(self, teams: dict[str, Json]) -> World:
        """Return the world with these teams instead."""
        return self._replace(teams=tuple(sorted(_text(team) for team in teams.values())))

    def all_keys(self) -> list[Json]:
        """Return the rows of all keys."""
        return [parsed(row) for row in self.rows]

    def with_key(self, alias: str, secret: str, **columns: Any) -> World:
        """Return the world with one more key, which is older than those that the controllers create."""
        created_at = START - timedelta(hours=1) + timedelta(microseconds=self.created)
        row = {**_new_row(alias, secret, columns), "created_at": created_at.isoformat()}
        return _with_one_more(self._replace(rows=tuple(sorted([*self.rows, _text(row)]))))


def begin(
    world: World, request: Request, *, skewed: bool = False, exact: bool = False
) -> tuple[World, Response | Pending]:
    """Process a request up to its response, or up to the moment before it writes.

    :param skewed: clocks differ: a key gets its time of creation long before it appears.
    :param exact: the release lists only whole aliases, as LiteLLM did before 1.83.3.
    """
    params = json.loads(request.params)
    if exact:
        params.pop("substring_matching", None)
    if request.path == "/key/generate":
        return _begin_generate(world, params, skewed=skewed)
    if request.path == "/key/update":
        return world, _begin_update(world, params)
    if request.path == "/key/delete":
        return world, _begin_delete(world, params)
    if request.path == "/key/list":
        return world, _list(world, params)
    if request.path == "/key/info":
        return world, _info(world, params["key"])
    if request.path == "/v2/team/list":
        found = [team for team_id, team in world.all_teams().items() if team_id == params["team_id"]]
        return world, Response(200, _text({"teams": found, "total_pages": len(found)}))
    if request.path.startswith("/team/"):
        return world, _begin_team(world, request.path, params)
    raise NotImplementedError(f"the model of the proxy has no {request.method} {request.path}")


def commit(world: World, pending: Pending, who: str) -> tuple[World, Response | Pending]:
    """Write what a request has checked. Some requests write more than once."""
    data = json.loads(pending.data)
    if pending.path.startswith("/team/"):
        return _commit_team(world, pending.path, data, who)
    if pending.path == "/key/generate":
        if _find(world, data["token"]) is None:  # for an existing secret LiteLLM reports success and writes nothing
            if "created_at" not in data:
                data["created_at"], world = _created_at(world), _with_one_more(world)
            world = world._replace(rows=tuple(sorted([*world.rows, _text(data)])))
        return world, Response(200, _text({"token": data["token"], "key_alias": data["key_alias"]}))
    if pending.path == "/key/update":
        row = _find(world, data["token"])
        if row is not None:  # for a key that was deleted meanwhile LiteLLM reports success as well
            rows = [one for one in world.rows if parsed(one)["token"] != data["token"]]
            world = world._replace(rows=tuple(sorted([*rows, _text({**row, **data})])))
        return world, Response(200, _text({"key": data["token"]}))
    deleted = [token for token in data if _find(world, token) is not None]
    rows = [one for one in world.rows if parsed(one)["token"] not in deleted]
    removed = tuple(sorted({*world.removed, *((token, who) for token in deleted)}))
    return world._replace(rows=tuple(rows), removed=removed), Response(200, _text({"deleted_keys": data}))


def _begin_team(world: World, path: str, params: Json) -> Response | Pending:
    team_ids = params["team_ids"] if path == "/team/delete" else [params["team_id"]]
    is_missing = not set(team_ids) <= world.all_teams().keys()
    if path == "/team/new" and not is_missing:
        return _error(400, f"{{'error': 'Team id = {params['team_id']} already exists.'}}")
    if path != "/team/new" and is_missing:
        return _error(404, f"{{'error': 'Team not found, passed team_id={team_ids[0]}'}}")
    return Pending(path, _text(params))


def _commit_team(world: World, path: str, data: Json, who: str) -> tuple[World, Response | Pending]:
    teams = world.all_teams()
    if path == "/team/new":
        if data["team_id"] in teams:
            return world, _error(500, "Unique constraint failed on the fields: (`team_id`)")
        teams[data["team_id"]] = {"spend": 0.0, "budget_duration": None, **data}
    elif path == "/team/update":
        if data["team_id"] not in teams:
            return world, _error(500, "Record to update not found.")
        teams[data["team_id"]] = {**teams[data["team_id"]], **data}
    elif path == "/team/delete":  # first the keys, and then the teams
        deleted = [row["token"] for row in world.all_keys() if row["team_id"] in data["team_ids"]]
        rows = tuple(row for row in world.rows if parsed(row)["token"] not in deleted)
        removed = tuple(sorted({*world.removed, *((token, who) for token in deleted)}))
        return world._replace(rows=rows, removed=removed), Pending("/team/delete the teams", _text(data))
    else:
        teams = {team_id: team for team_id, team in teams.items() if team_id not in data["team_ids"]}
    return world.with_teams(teams), Response(200, _text({}))


def hashed(key: str) -> str:
    """Return the id of a key, given its secret or its id."""
    return hashlib.sha256(key.encode()).hexdigest() if key.startswith("sk-") else key


@cache
def parsed(row: str) -> Json:
    """Return a row. It must not be changed."""
    return dict(json.loads(row))


def _begin_generate(world: World, params: Json, *, skewed: bool) -> tuple[World, Response | Pending]:
    if _others(world, params.get("key_alias"), None):
        return world, _alias_exists(params["key_alias"])
    columns = _columns(params, {"key", "duration"})
    if "duration" in params:
        columns["expires"] = _after(params["duration"])
    row = _new_row(params.get("key_alias"), params["key"], columns)
    if not skewed:
        return world, Pending("/key/generate", _text(row))
    return _with_one_more(world), Pending("/key/generate", _text({**row, "created_at": _created_at(world)}))


def _begin_update(world: World, params: Json) -> Response | Pending:
    token = hashed(params["key"])
    row = _find(world, token)
    if row is None:
        return _error(404, "Key not found.")
    if _others(world, params.get("key_alias"), token):
        return _alias_exists(params["key_alias"])
    columns = _columns(params, {"key", "duration"})
    if "duration" in params:
        columns["expires"] = _after(params["duration"])
    columns.setdefault("metadata", row["metadata"])
    return Pending("/key/update", _text({**columns, "token": token}))


def _begin_delete(world: World, params: Json) -> Response | Pending:
    tokens = [hashed(key) for key in params["keys"]]
    if not any(_find(world, token) for token in tokens):
        return _error(404, "{'error': 'No keys found'}")
    return Pending("/key/delete", _text(tokens))


def _list(world: World, params: Json) -> Response:
    matching = params.get("substring_matching", "false")
    if matching not in ("true", "false"):
        return Response(422, _text({"detail": [{"loc": ["query"], "msg": "Input should be a valid boolean"}]}))
    rows = world.all_keys()
    if alias := params.get("key_alias"):
        rows = [row for row in rows if _matches(row["key_alias"], alias, by_substring=matching == "true")]
    for name in ("user_id", "team_id"):
        if params.get(name):
            rows = [row for row in rows if row[name] == params[name]]
    rows.sort(key=lambda row: (row["created_at"], row["token"]), reverse=True)
    size, page = int(params.get("size", 10)), int(params.get("page", 1))
    shown = rows[(page - 1) * size : page * size]
    return Response(
        200,
        _text(
            {
                "keys": shown if params.get("return_full_object") == "true" else [row["token"] for row in shown],
                "total_count": len(rows),
                "current_page": page,
                "total_pages": -(-len(rows) // size),
            }
        ),
    )


def _created_at(world: World) -> str:
    return (START + timedelta(microseconds=world.created)).isoformat()


def _with_one_more(world: World) -> World:
    return world._replace(created=world.created + 1)


def _info(world: World, key: str) -> Response:
    if row := _find(world, key):
        info = {name: value for name, value in row.items() if name not in ("token", "org_id")}
        status = "revoked" if row["blocked"] else "active"
        return Response(200, _text({"key": key, "info": {**info, "organization_id": row["org_id"], "status": status}}))
    if hashed(key) in dict(world.removed):
        return Response(200, _text({"key": key, "info": {"status": "deleted"}}))
    return _error(404, "Key not found in database")


def _new_row(alias: str | None, secret: str, columns: Json) -> Json:
    return {
        **_COLUMNS,
        **columns,
        "token": hashed(secret),
        "key_alias": alias,
        "key_name": f"sk-...{secret[-4:]}",
    }


def _columns(params: Json, others: set[str]) -> Json:
    # The type `default` stands for no routes, which is what a row has at first.
    if unknown := set(params) - _WRITABLE - others - ({"key_type"} if params.get("key_type") == "default" else set()):
        raise NotImplementedError(f"the model of the proxy does not know the fields {', '.join(sorted(unknown))}")
    return {name: value for name, value in params.items() if name in _WRITABLE}


def _after(duration: str | None) -> str | None:
    if duration in (None, "-1"):
        return None
    return (START + timedelta(seconds=int(str(duration).removesuffix("s")))).isoformat()


def _find(world: World, key: str) -> Json | None:
    token = hashed(key)
    return next((row for row in world.all_keys() if row["token"] == token), None)


def _others(world: World, alias: str | None, token: str | None) -> bool:
    return alias is not None and any(row["key_alias"] == alias and row["token"] != token for row in world.all_keys())


def _matches(actual: str | None, expected: str, *, by_substring: bool) -> bool:
    return expected.lower() in (actual or "").lower() if by_substring else actual == expected


def _alias_exists(alias: str) -> Response:
    return _error(400, f"Key with alias '{alias}' already exists. Unique key aliases across all keys are required.")


def _error(status: int, message: str) -> Response:
    return Response(status, _text({"error": {"message": message, "code": str(status)}}))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
