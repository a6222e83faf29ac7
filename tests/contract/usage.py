# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find out what this collection sends to LiteLLM, and what it reads, by running it.

The engine manages keys on the in-memory proxy of the unit tests, with every setting, and every access to its requests
and responses is recorded. `names_in_source` finds the same in the source code, for a test that nothing is left out.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.shared_budget import (
    ObservedBudget,
    SharedBudget,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.shared_budget import (
    changes as budget_changes,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import Duration
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey, Lifetime
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.observer import Observer
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.request import SENT_TOGETHER
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.setting_types import (
    KEY_TYPES,
    ROUTER_KINDS,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import (
    INHERITED_FIELDS,
    ROW_KINDS,
    SETTINGS,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.values import Kind
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm import client as client_module
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm import teams
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.listing import KeyListing
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.permission import (
    require_administrator,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.release import litellm_version
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY, FakeLiteLLM

PLUGINS = Path(__file__).parents[2] / "plugins"
LISTING, INFO = "GET /key/list", "GET /key/info"
# A value for a setting of each kind.
_VALUES: Mapping[str, Any] = {
    "str": "text",
    "int": 1,
    "float": 1.5,
    "bool": True,
    "list of str": ["text"],
    "list": [{"budget_duration": "1d", "max_budget": 1}],
    "dict": {"text": 1},
    "raw": "2030-01-01T00:00:00",
}


_VALUES_BY_NAME: Mapping[str, Any] = {
    "key_type": KEY_TYPES[1],
    "model_aliases": {"text": "text"},
    "model_max_budget": {"text": {"budget_limit": 1.5, "time_period": "1d"}},
    "object_permission": {"mcp_servers": ["text"]},
    "permissions": {"text": True},
    "router_settings": {name: _VALUES[kind] for name, kind in ROUTER_KINDS.items() if kind != "bool"},
}
# A value that each release must refuse: by that, this collection finds out whether it knows the field.
INVALID_ON_PURPOSE = (LISTING, "substring_matching", "neither")
# The type that is accepted for a value of each kind, in the notation of `json_types`.
_TYPES: Mapping[Kind, str] = {
    "str": "str | None",
    "int": "float | None",
    "float": "float | None",
    "bool": "bool | None",
    "list of str": "list[str] | None",
    "list": "list[dict] | None",
    "dict": "dict | None",
    "raw": "datetime | None",
}
# The types that are accepted for other fields of responses.
_OTHER_TYPES = {
    "keys": "list[str | dict]",
    "keys.token": "str",
    "keys.created_at": "datetime | None",
    "keys.expires": "datetime | None",
    "keys.litellm_budget_table.soft_budget": "float | None",
    "total_count": "int | None",
    "total_pages": "int | None",
    "info": "dict",
    "info.created_at": "datetime | None",
    "info.expires": "datetime | None",
    "info.litellm_budget_table.soft_budget": "float | None",
    "info.status": "str | None",
    "data": "list[dict]",
    "data.id": "Any",
    "litellm_version": "str | None",
    "key": "str",
    "teams": "list[dict]",
    "teams.team_id": "str",
    "teams.budget_reset_at": "datetime | None",
}
# Those of requests whose fields have the same name as another one.
_TYPES_BY_REQUEST = {("GET /v2/team/list", "total_pages"): "int"}
# Each row may have them, but only those of a listing do. In `/key/info`, a budget has the soft budget.
_ONLY_IN_LISTING = {"info.token", "info.org_id", "info.soft_budget"}
# Fields of a key whose content is not LiteLLM's.
_CONTENTS = {one.field or name for name, one in SETTINGS.items() if one.kind in ("dict", "list")}


@dataclass(frozen=True)
class Usage:
    """What this collection sends and reads.

    :ivar values: the values that it sends, by method and path, and by field of the query or body.
    :ivar always: the fields that each request has, by method and path.
    :ivar read: the fields of responses, by method and path; the name of a nested one is like `keys.metadata`.
    :ivar in_metadata: settings that it reads from the metadata of a key.
    :ivar routes: the names of groups of routes that it sends.
    """

    values: Mapping[str, Mapping[str, list[Any]]]
    always: Mapping[str, frozenset[str]]
    read: Mapping[str, frozenset[str]]
    in_metadata: frozenset[str]
    routes: frozenset[str]

    @property
    def sent(self) -> Mapping[str, frozenset[str]]:
        """The fields of the query or body, by method and path."""
        return {request: frozenset(fields) for request, fields in self.values.items()}

    @property
    def row(self) -> frozenset[str]:
        """The fields of a key that it reads from a listing."""
        paths = self.read[LISTING]
        return frozenset(path.removeprefix("keys.") for path in paths if path.startswith("keys.")) | {*INHERITED_FIELDS}

    @property
    def responses(self) -> Mapping[str, frozenset[str]]:
        """The fields of responses that it reads, by method and path, without those of `row`."""
        return {
            request: frozenset(path for path in self.read.get(request, ()) if not path.startswith("keys."))
            for request in self.values
        }

    @property
    def names(self) -> frozenset[str]:
        """All names that it sends or reads."""
        read = {name for paths in self.read.values() for path in paths for name in path.split(".")}
        return frozenset().union(*self.sent.values(), read, INHERITED_FIELDS, self.in_metadata)


def accepted_type(path: str, request: str = LISTING) -> str:
    """Return which type of a field of a response is accepted."""
    name = re.sub(r"^(keys|info|teams)\.", "", path)
    if found := _TYPES_BY_REQUEST.get((request, path)) or _OTHER_TYPES.get(path):
        return found
    return _TYPES[ROW_KINDS[name]] if name in ROW_KINDS else "Any"


class _Recorder(dict[str, Any]):
    """A JSON object that records which of its names are read.

    :param path: the names that lead to the object, each with a dot.
    """

    def __init__(self, value: Mapping[str, Any], read: set[str], path: str) -> None:
        super().__init__({name: _recording(member, read, f"{path}{name}.") for name, member in value.items()})
        self._read, self._path = read, path

    def __getitem__(self, name: str) -> Any:
        self._read.add(self._path + name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._read.add(self._path + name)
        return super().get(name, default)


def _recording(value: Any, read: set[str], path: str = "") -> Any:
    if isinstance(value, dict):
        return _Recorder(value, read, path)
    return [_recording(member, read, path) for member in value] if isinstance(value, list) else value


class _Proxy(FakeLiteLLM):
    """A proxy that reports its version, and lists keys whose columns can hold any setting."""

    def _get_health_readiness_details(self, _query: object) -> dict[str, Any]:
        return {}

    def _get_health_readiness(self, _query: object) -> dict[str, Any]:
        return {"litellm_version": "1.0"}


def usage() -> Usage:
    """Return what this collection sends and reads."""
    with _Proxy().running() as proxy, _recorded_responses() as read, _recorded_rows(read):
        proxy.add_team("text")
        proxy.budgets.add("text")
        client = client_module.Client(Connection(proxy.url, MASTER_KEY))
        require_administrator(client)
        litellm_version(client)
        for name in SETTINGS:
            together = {other for pair in SENT_TOGETHER for other in pair if name in pair}
            desired = {other: _VALUES_BY_NAME.get(other, _VALUES[SETTINGS[other].kind]) for other in (name, *together)}
            week, cleared = Lifetime(Duration(7, "d")), {other: SETTINGS[other].cleared_value for other in desired}
            for settings, lifetime in (
                (desired, week),
                ({}, None),
                (desired, Lifetime(Duration(9, "d"))),
                (cleared, Lifetime(None)),
            ):
                key = DesiredKey("virtkey-a", settings=settings, lifetime=lifetime)
                reconcile(client, [key], on_unknown_models="ignore")
                if settings and lifetime == week:
                    proxy.rows.clear()
                    proxy.add("virtkey-a")
            proxy.rows.clear()
        proxy.add("virtkey-a", age=timedelta(days=1), spend=1.0)
        reconcile(client, [DesiredKey("virtkey-a", settings={"models": ["gpt-4o"]}, regenerate="always")])
        proxy.custom_keys = False
        reconcile(client, [DesiredKey("virtkey-b")])
        reconcile(client, [DesiredKey(f"virtkey-{name}", present=False) for name in "abc"])
        observer = Observer(client)
        proxy.add("virtkey-a")
        observer.find_by_prefix("", {"user_id": "text", "team_id": "text"})
        observer.find_by_id(proxy.row("virtkey-a")["token"])
        _manage_team(client)
        requests = list(proxy.requests)
    sent: dict[str, dict[str, dict[str, Any]]] = {}
    for request, body in requests:
        fields = sent.setdefault(request, {})
        for name, value in body.items():
            fields.setdefault(name, {})[json.dumps(value, sort_keys=True)] = value
    always = {
        request: frozenset.intersection(*(frozenset(body) for name, body in requests if name == request))
        for request in sent
    }
    values = {request: {name: list(each.values()) for name, each in fields.items()} for request, fields in sent.items()}
    read = {
        request: {path for path in paths if path not in _ONLY_IN_LISTING and not _is_content(path)}
        for request, paths in read.items()
    }
    key_type = SETTINGS["key_type"]
    routes = [route for name in KEY_TYPES for route in key_type.to_request(name, new=False)["allowed_routes"]]
    in_metadata = frozenset(name for name, one in SETTINGS.items() if one.in_metadata)
    return Usage(values, always, _frozen(read), in_metadata, frozenset(routes))


def _is_content(path: str) -> bool:
    """Return whether a path leads into a value that LiteLLM stores as it is."""
    names = path.split(".")
    return len(names) > 2 and names[1] in _CONTENTS


def _manage_team(client: client_module.Client) -> None:
    """Create, change, read and delete the team of a shared budget."""
    teams.create_team(client, budget_changes(SharedBudget("virtkey-a", "a", 1.0, "7d"), None) or {})
    observed = ObservedBudget.from_row(teams.read_team(client, "virtkey-a") or {})
    teams.update_team(client, budget_changes(SharedBudget("virtkey-a", "a", 2.0, "8d"), observed) or {})
    teams.delete_team(client, "virtkey-a")


@contextmanager
def _recorded_responses() -> Iterator[dict[str, set[str]]]:
    read: dict[str, set[str]] = {}
    request = client_module.Client._request

    def recorded(self: client_module.Client, method: str, path: str, *arguments: Any, **options: Any) -> Any:
        response = request(self, method, path, *arguments, **options)
        return _recording(response, read.setdefault(f"{method} {path}", set()))

    with mock.patch.object(client_module.Client, "_request", recorded):
        yield read


@contextmanager
def _recorded_rows(read: dict[str, set[str]]) -> Iterator[None]:
    """Record what is read from the rows of `/key/info`, which are copied."""
    with_id = KeyListing.with_id

    def recorded(self: KeyListing, key_id: str) -> Any:
        row = with_id(self, key_id)
        return row and _Recorder(row, read.setdefault(INFO, set()), "info.")

    with mock.patch.object(KeyListing, "with_id", recorded):
        yield


def _frozen(sets: Mapping[str, set[str]]) -> dict[str, frozenset[str]]:
    return {name: frozenset(members) for name, members in sets.items()}


@dataclass(frozen=True)
class Names:
    """What a source file sends, as far as it is visible without running it.

    :ivar requests: methods and paths.
    :ivar fields: the keys of all dictionaries of a file that sends requests.
    :ivar unknown: calls whose path is not a constant.
    """

    requests: frozenset[str]
    fields: frozenset[str]
    unknown: tuple[str, ...] = ()


def names_in_source(source: str) -> Names:
    """Return the requests in a source file, and the names of the fields that they may have."""
    tree = ast.parse(source)
    constants = {
        target.id: [str(part.value) for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    loops = {
        node.target.id: constants.get(node.iter.id, [])
        for node in ast.walk(tree)
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name) and isinstance(node.iter, ast.Name)
    }
    requests, unknown = set(), []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
            continue
        if node.func.attr not in ("get", "post") or "client" not in ast.unparse(node.func.value):
            continue
        path = node.args[0]
        paths = [str(path.value)] if isinstance(path, ast.Constant) else loops.get(ast.unparse(path), [])
        if not paths:
            unknown.append(ast.unparse(node))
        requests |= {f"{node.func.attr.upper()} {one}" for one in paths}
    fields = {
        one.value
        for node in ast.walk(tree)
        for one in (node.keys if isinstance(node, ast.Dict) else [_stored_key(node)])
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    }
    return Names(frozenset(requests), frozenset(fields) if requests or unknown else frozenset(), tuple(unknown))


def _stored_key(node: ast.AST) -> ast.expr | None:
    """Return the key of `body["name"] = value`."""
    return node.slice if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) else None
