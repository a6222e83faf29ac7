# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each kind of key may do instead of the master key. The results are the table of the page `delegated_keys`.

To write the table, for example for a new release of LiteLLM, run this test with the environment variable
WRITE_DELEGATED_KEYS=1.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.in_process import Controller, controller
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import COLLECTION, Json, Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.run_action import run_action

__all__ = ["controller"]

PAGE = Path(__file__).parents[2] / "docs" / "docsite" / "rst" / "delegated_keys.rst"
BEGIN = "..\n  Begin of the delegated keys, written by test_delegated_keys.py.\n"
END = "..\n  End of the delegated keys.\n"

ROUTES = ["/key/list", "/key/info", "/key/generate", "/key/update", "/key/delete", "/key/block", "/key/unblock"]
ADMIN, VIEWER, INTERNAL, READER, MEMBER = "admin", "viewer", "internal", "reader", "member"
# What each key is called, and the settings of the key. A value of `user_id` is the kind of its user.
KINDS: dict[str, Json] = {
    "the master key": {},
    "of a user with the role ``proxy_admin``": {"user_id": ADMIN},
    "… with ``key_type: management``": {"user_id": ADMIN, "key_type": "management"},
    "… with ``key_type: read_only``": {"user_id": ADMIN, "key_type": "read_only"},
    "… with ``key_type: llm_api``": {"user_id": ADMIN, "key_type": "llm_api"},
    "… with ``allowed_routes`` as above": {"user_id": ADMIN, "allowed_routes": [*ROUTES, "/v1/models"]},
    "of a user with the role ``proxy_admin_viewer``": {"user_id": VIEWER},
    "of the administrator of a team": {"user_id": MEMBER},
    "… with ``key_type: management``, for this team": {"user_id": MEMBER, "team_id": True, "key_type": "management"},
    "of a user with the role ``internal_user``": {"user_id": INTERNAL},
    "of a user with the role ``internal_user_viewer``": {"user_id": READER},
    "of a team, without a user": {"team_id": True},
    "of nobody, with ``key_type: management``": {"key_type": "management"},
}
ROLES = {
    ADMIN: "proxy_admin",
    VIEWER: "proxy_admin_viewer",
    INTERNAL: "internal_user",
    READER: "internal_user_viewer",
    MEMBER: "internal_user",  # and the administrator of a team
}
CHANGES = ("create", "again", "extend", "stop", "start", "replace", "destroy")
ARGUMENTS: dict[str, Json] = {
    "extend": {"runtime": 300},
    "stop": {"block_on_stop": True},
    "start": {"block_on_stop": True},
    "replace": {"regenerate": "always"},
}
REASONS = {"limited to other routes": "routes", "it does not see all keys": "not all keys"}


def cell_of(result: Json, warnings: list[str], reasons: set[str]) -> str:
    """Return the cell for one operation, and add the reason if it was refused."""
    if result.get("failed"):
        (reason,) = (reason for text, reason in REASONS.items() if text in result["msg"])
        reasons.add(reason)
        return "no"
    if unlisted := [text for text in [*warnings, *result.get("summary", ())] if "listed" in text]:
        assert len(unlisted) == 1
        assert "limited to other routes" in unlisted[0]
        return r"yes\*"
    assert warnings == []
    return "yes"


@pytest.fixture
def issue(proxy: Proxy, guid: str) -> Iterator[Callable[[Json], str]]:
    """Return a function that creates a key with these settings; users, team and keys are deleted after the test."""
    team, users = f"{guid}-delegated", {role: f"{guid}-{role}" for role in ROLES}

    def post(path: str, body: Json) -> Any:
        status, response = proxy.request("POST", path, body)
        assert status == 200, response
        return response

    for kind, role in ROLES.items():
        post("/user/new", {"user_id": users[kind], "user_role": role, "auto_create_key": False})
    post("/team/new", {"team_id": team, "members_with_roles": [{"role": "admin", "user_id": users[MEMBER]}]})
    created: list[str] = []

    def issue_key(settings: Json) -> str:
        body = {name: users[value] if name == "user_id" else value for name, value in settings.items()}
        response = post("/key/generate", body | ({"team_id": team} if body.get("team_id") else {}))
        created.append(response["token"])
        return str(response["key"])

    yield issue_key
    post("/key/delete", {"keys": created})
    post("/team/delete", {"team_ids": [team]})
    post("/user/delete", {"user_ids": list(users.values())})


class Trial:
    """Try each operation with one key, on an environment of its own, which the master key creates if the key cannot."""

    def __init__(self, controller: Controller, secret: str, guid: str) -> None:
        self.administrator, self.guid = controller, guid
        self.delegate = replace(controller, proxy=Proxy(controller.proxy.url, secret))
        self.reasons: set[str] = set()
        self.last: dict[str, Json] = {}

    def cells(self) -> list[str]:
        return [
            *(self.change(name) for name in CHANGES),
            *(self.read(look) for look in (self.status, self.list, self.report, self.check_connection)),
            ", ".join(sorted(self.reasons)),
        ]

    def change(self, name: str) -> str:
        arguments = ARGUMENTS.get(name, {})
        operation = {"create": "provision", "again": "provision", "replace": "provision"}.get(name, name)
        result = self.delegate.run(self.guid, operation, **arguments)
        cell = cell_of(result, self.delegate.warnings, self.reasons)
        rows = self.rows()
        assert (rows == self.last) is (cell == "no" or name == "again"), (name, result)
        assert result["changed"] is (rows != self.last)
        self.last = rows
        if name in ("create", "stop") and cell == "no":  # the next operations need a key, and one that is blocked
            assert self.administrator.run(self.guid, operation, **arguments)["changed"]
            self.last = self.rows()
        return cell

    def rows(self) -> dict[str, Json]:
        volatile = {"last_active", "updated_at"}
        return {
            alias: {name: value for name, value in row.items() if name not in volatile}
            for alias, row in self.administrator.rows(self.guid).items()
        }

    def read(self, look: Callable[[], Json]) -> str:
        self.delegate.warnings.clear()
        return cell_of(look(), self.delegate.warnings, self.reasons)

    def status(self) -> Json:
        return self.delegate.run(self.guid, "status")

    def list(self) -> Json:
        return self.task("litellm_key_info", guid=self.guid)

    def report(self) -> Json:
        """Do what the playbook report_keys does."""
        keys, models = self.task("litellm_key_info", alias_prefix=f"virtkey-{self.guid}"), self.check_connection()
        return keys if keys.get("failed") else models

    def check_connection(self) -> Json:
        return self.task("litellm_proxy_info")

    def task(self, name: str, **arguments: Any) -> Json:
        proxy = self.delegate.proxy
        variables = {"litellm_url": proxy.url, "litellm_master_key": proxy.master_key, "litellm_retries": 0}
        return run_action(f"{COLLECTION}.{name}", arguments, variables)


def listed(rows: list[list[str]]) -> str:
    """Return a table as reStructuredText."""
    lines = [line for row in rows for line in (f"   * - {row[0]}", *(f"     - {cell}".rstrip() for cell in row[1:]))]
    return "\n".join([".. list-table::", "   :header-rows: 1", "", *lines])


def test_the_table_of_the_page_is_true(proxy: Proxy, controller: Controller, issue: Callable[[Json], str]) -> None:
    head = ["key", *CHANGES, "status", "list", "report", "check", "why not"]
    rows = [head]
    for number, (name, settings) in enumerate(KINDS.items()):
        secret = issue(settings) if settings else proxy.master_key
        rows.append([name, *Trial(controller, secret, f"{controller.prefix}-{number}").cells()])
        controller.facts.clear()
    release = proxy.request("GET", "/openapi.json")[1]["info"]["version"]
    written = f"{BEGIN}\n{listed(rows)}\n\nTried with LiteLLM {release}.\n\n{END}"
    text = PAGE.read_text()
    if os.environ.get("WRITE_DELEGATED_KEYS"):
        text = re.sub(re.escape(BEGIN) + ".*" + re.escape(END), lambda _match: written, text, flags=re.DOTALL)
        PAGE.write_text(text)
    _before, begin, rest = text.partition(BEGIN)
    table, end, _after = rest.partition(END)
    assert f"{begin}{table}{end}".splitlines() == written.splitlines()


def test_a_restricted_key_of_an_administrator_can_lift_its_restriction(
    proxy: Proxy, issue: Callable[[Json], str]
) -> None:
    """The page warns of this. If LiteLLM prevents it one day, the page can recommend such keys without the warning."""
    secret = issue({"user_id": ADMIN, "allowed_routes": ROUTES})
    owner = proxy.request("GET", "/key/info", key=secret)[1]["info"]["user_id"]
    status, created = proxy.request("POST", "/key/generate", {"user_id": owner}, secret)
    assert (status, created["allowed_routes"]) == (200, [])
    assert proxy.request("GET", f"/user/info?user_id={owner}", key=secret)[0] == 403
    assert proxy.request("GET", f"/user/info?user_id={owner}", key=created["key"])[0] == 200
    proxy.request("POST", "/key/delete", {"keys": [created["token"]]})


def test_the_routes_of_the_guide_suffice_for_a_shared_budget(
    proxy: Proxy, controller: Controller, issue: Callable[[Json], str]
) -> None:
    (sentence,) = re.findall(r"share_a_budget>`, add(.*?)Pass the key", PAGE.read_text(), re.DOTALL)
    secret = issue({"user_id": ADMIN, "allowed_routes": [*ROUTES, "/v1/models", *re.findall(r"``(\S+)``", sentence)]})
    delegate = replace(controller, proxy=Proxy(proxy.url, secret))
    for arguments in ({"shared_budget": 5}, {"shared_budget": 7}, {"operation": "destroy"}):
        result = delegate.run(controller.prefix, **arguments)
        assert (result.get("msg"), result["changed"], delegate.warnings) == (None, True, [])


def test_the_guide_lists_the_routes_of_the_table() -> None:
    (routes,) = re.findall(r"allowed_routes: \[(.*?)\]", PAGE.read_text(), re.DOTALL)
    assert [route.strip() for route in routes.split(",")] == [*ROUTES, "/v1/models"]
