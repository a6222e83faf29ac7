# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is done in these tests: some operations, each on one key or on many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import parse
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import Lifetime, Wanted
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import derive

Json = dict[str, Any]

GRANITE = "openai/granite-3-2-8b-instruct"
SETTINGS = {"models": [GRANITE], "max_budget": 5.0, "metadata": {"purpose": "faults"}}
TEAM_ID, BUDGET_ID = "team-of-the-fault-tests", "budget-of-the-fault-tests"
REFERENCES = {"team_id": TEAM_ID, "budget_id": BUDGET_ID}
SEED = "the seed of the fault tests, of 32 characters or more"


@dataclass(frozen=True)
class Operation:
    """What is asked for, and what there is before.

    :ivar prepared: keys are there already, of this duration.
    :ivar key: what is asked of each key, besides its alias.
    :ivar by_id: the keys are named by their ids.
    :ivar struck: the only endpoints at which things go wrong, where the others are those of another operation.
    """

    name: str
    prepared: str | None
    key: Json
    by_id: bool = False
    struck: tuple[str, ...] = ()

    @property
    def settings(self) -> Json:
        """What the keys have in the end."""
        return {**SETTINGS, **self.key.get("settings", {})}

    @property
    def present(self) -> bool:
        return bool(self.key.get("present", True))

    @property
    def days(self) -> int:
        """How long the keys are to live in the end."""
        return 7 if self.key.get("lifetime") else 1


WEEK = Lifetime(parse("7d"), shorten=False)
OPERATIONS = {
    one.name: one
    for one in (
        Operation("provision", None, {"settings": SETTINGS, "lifetime": WEEK}),
        Operation("re-run", "7d", {"settings": SETTINGS, "lifetime": WEEK}),
        Operation("extend", "1d", {"lifetime": WEEK}),
        Operation("regenerate", "1d", {"regenerate": "always"}),
        Operation("destroy", "1d", {"present": False}),
        Operation(
            "in a team",
            None,
            {"settings": {**SETTINGS, **REFERENCES}, "lifetime": WEEK},
            struck=("GET /team/info", "POST /budget/info"),
        ),
        Operation("extend by id", "1d", {"lifetime": WEEK}, by_id=True, struck=("GET /key/info",)),
        Operation("destroy by id", "1d", {"present": False}, by_id=True, struck=("GET /key/info",)),
    )
}


def wanted(alias: str, operation: str, *, seeded: bool = False, **further: Any) -> Wanted:
    """What the operation asks of one key, and what is asked further."""
    secret = derive(SEED, alias) if seeded else None
    return Wanted(alias, **{**OPERATIONS[operation].key, "secret": secret, **further})
