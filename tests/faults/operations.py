# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operations of the fault tests, each run on one key or on many."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import from_seconds, parse
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey, Lifetime
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.rotation import Rotation
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import derive

Json = dict[str, Any]

GRANITE = "openai/granite-3-2-8b-instruct"
SETTINGS = {"models": [GRANITE], "max_budget": 5.0, "metadata": {"purpose": "faults"}}
TEAM_ID, BUDGET_ID = "team-of-the-fault-tests", "budget-of-the-fault-tests"
REFERENCES = {"team_id": TEAM_ID, "budget_id": BUDGET_ID}
SEED = "the seed of the fault tests, of 32 characters or more"


@dataclass(frozen=True)
class Operation:
    """An operation, and the keys that exist before it.

    :ivar existing_duration: the duration of the existing keys, or None if no keys exist.
    :ivar key: the desired state of each key, without its alias.
    :ivar by_id: specify the keys by their ids.
    :ivar endpoints: inject faults only at these endpoints, because another operation covers the others.
    """

    name: str
    existing_duration: str | None
    key: Json
    by_id: bool = False
    endpoints: tuple[str, ...] = ()

    @property
    def settings(self) -> Json:
        """Return the expected settings after the operation."""
        return {**SETTINGS, **self.key.get("settings", {})}

    @property
    def present(self) -> bool:
        return bool(self.key.get("present", True))

    @property
    def rotates(self) -> bool:
        return "rotate" in self.key

    @property
    def days(self) -> int:
        """Return the expected lifetime after the operation, in days."""
        return 7 if self.key.get("lifetime") else 1


# A key cannot be made older. With an overlap that is longer than the age, the next run has nothing to rotate.
MINIMUM_AGE = 1  # seconds
OVERLAP = timedelta(hours=1)
ROTATION = Rotation(from_seconds(MINIMUM_AGE), parse(OVERLAP))
WEEK = Lifetime(parse("7d"), shorten=False)
OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("provision", None, {"settings": SETTINGS, "lifetime": WEEK}),
        Operation("re-run", "7d", {"settings": SETTINGS, "lifetime": WEEK}),
        Operation("extend", "1d", {"lifetime": WEEK}),
        Operation("regenerate", "1d", {"regenerate": "always"}),
        Operation("rotate", "1d", {"rotate": ROTATION}),
        Operation("destroy", "1d", {"present": False}),
        Operation(
            "in a team",
            None,
            {"settings": {**SETTINGS, **REFERENCES}, "lifetime": WEEK},
            endpoints=("GET /team/info", "POST /budget/info"),
        ),
        Operation("extend by id", "1d", {"lifetime": WEEK}, by_id=True, endpoints=("GET /key/info",)),
        Operation("destroy by id", "1d", {"present": False}, by_id=True, endpoints=("GET /key/info",)),
    )
}


def desired_key(alias: str, operation: str, *, seeded: bool = False, **further: Any) -> DesiredKey:
    """Return the desired key for an operation, with further options of the key."""
    secret = derive(SEED, alias) if seeded else None
    return DesiredKey(alias, **{**OPERATIONS[operation].key, "secret": secret, **further})
