# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run `litellm_environment` in this process against a real proxy, which takes a fraction of a second, and check it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.action import ControllerAction
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import key_id
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import COLLECTION, GRANITE, Json, Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.run_action import run_action

ACTION = f"{COLLECTION}.litellm_environment"
DATA = "provision-user-data.yaml"

_NUMBERS = itertools.count()


@dataclass
class Controller:
    """A controller that runs the action, and the folder of its user data.

    :ivar facts: the facts of the play, if it sets those that the action returns.
    :ivar warnings: the warnings of the last run.
    """

    proxy: Proxy
    prefix: str
    folder: Path
    facts: Json = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    sets_facts: bool = True

    def run(self, guid: str, operation: str = "provision", *, url: str = "", **arguments: Any) -> Json:
        """Run an operation. Requests are sent one at a time, so that they have an order."""
        variables = {
            "litellm_url": url or self.proxy.url,
            "litellm_master_key": self.proxy.master_key,
            "litellm_retries": 1,
            "litellm_concurrency": 1,
            "output_dir": str(self.folder),
            **self.facts,
        }
        common = {"operation": operation, "guid": guid}
        defaults = {"models": [GRANITE], "duration": "7d"} if operation == "provision" else {}
        self.warnings.clear()
        result = run_action(ACTION, {**common, **defaults, **arguments}, variables)
        if self.sets_facts and not result.get("failed"):
            self.facts.update(result["facts"])
        return result

    @property
    def data(self) -> Json:
        return yaml.safe_load((self.folder / DATA).read_text()) if (self.folder / DATA).exists() else {}

    def saved_ids(self) -> set[str]:
        """Return the ids of all secrets in the user data, wherever they are."""
        return {key_id(text) for text in texts(self.data) if text.startswith("sk-")}

    def rows(self, guid: str) -> dict[str, Json]:
        """Return the keys on the proxy whose alias starts with that of an environment, by alias."""
        path = f"/key/list?return_full_object=true&size=100&substring_matching=true&key_alias=virtkey-{guid}"
        status, listing = self.proxy.request("GET", path)
        assert status == 200, listing
        rows = {row["key_alias"]: row for row in listing["keys"]}
        assert len(rows) == len(listing["keys"]), "duplicate alias"
        return rows

    def tokens(self, guid: str) -> dict[str, str]:
        return {alias: row["token"] for alias, row in self.rows(guid).items()}


def texts(value: Any) -> Iterator[str]:
    """Return every text in a value."""
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(part)


@pytest.fixture
def controller(proxy: Proxy, guid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    """Return a controller; the keys whose guids start with its prefix are deleted after the test."""
    one = Controller(proxy, f"{guid}-in{next(_NUMBERS):03}", tmp_path / "output")
    monkeypatch.setattr(ControllerAction, "warn", lambda _self, text: one.warnings.append(text))
    monkeypatch.setattr(reconcile, "_pause", lambda attempt: None)
    yield one
    if tokens := list(one.tokens(one.prefix).values()):
        proxy.request("POST", "/key/delete", {"keys": tokens})
