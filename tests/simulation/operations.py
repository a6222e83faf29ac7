# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the controllers do, and what they find: operations and start states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey, Lifetime
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import derive, given
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import LIFETIME_START, REPLACED
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.proxy import START, World

GUID = "abc"
SEED = "a seed that is long enough for the tests"
WEEK, FORTNIGHT = (Lifetime(parse(duration), shorten=False) for duration in ("7d", "14d"))
FIRST_END = (START - timedelta(hours=1) + timedelta(days=7)).isoformat()
MODELS = ["model-of-the-environment"]
BUDGET, NEW_BUDGET = 1.0, 5.0


def alias_of(number: int, keys: int) -> str:
    """Return the alias of one of the environment's keys."""
    return f"virtkey-{GUID}" if keys == 1 else f"virtkey-{GUID}-user{number}"


def predecessor_alias(alias: str) -> str:
    return f"{alias}.replaced"


def old_secret(alias: str) -> str:
    """Return the secret of the key that existed at first, which some operations know."""
    return f"sk-old-secret-of-{alias}"


@dataclass(frozen=True)
class Operation:
    """One operation of the collection.

    :ivar options: fields of the desired key, in addition to alias and guid.
    :ivar knows_old_secret: the controller knows the secret of the old key.
    :ivar seed_version: the controller derives the secret from a seed.
    :ivar replaces: it may replace a key that it finds.
    """

    options: dict[str, Any]
    knows_old_secret: bool = False
    seed_version: int | None = None
    replaces: bool = False

    @property
    def deletes(self) -> bool:
        """Whether it deletes keys that it finds, and creates no successor."""
        return self.options.get("present") is False

    @property
    def restricts(self) -> bool:
        """Whether a key that it creates has the settings of the environment."""
        return "models" in self.options.get("settings", {})

    def desired(self, aliases: Sequence[str]) -> list[DesiredKey]:
        """Return the desired keys."""
        return [self._desired(alias) for alias in aliases]

    def _desired(self, alias: str) -> DesiredKey:
        key = replace(DesiredKey(alias=alias, guid=GUID), **self.options)
        if self.knows_old_secret:
            key = replace(key, known_secrets=(given(old_secret(alias)),))
        if self.seed_version:
            key = replace(key, secret=derive(SEED, alias, self.seed_version))
        return key


_ENVIRONMENT: dict[str, Any] = {"settings": {"models": MODELS, "max_budget": BUDGET}, "lifetime": WEEK}
_PROVISION: dict[str, Any] = {
    "settings": {"models": MODELS},
    "creation_settings": {"max_budget": BUDGET},
    "lifetime": WEEK,
}

OPERATIONS = {
    # Provision a key. Any key will do; its secret is returned if it is new.
    "provision": Operation(_PROVISION),
    # ... and its secret must be known: as the role does, with saved user data.
    "provision-saved": Operation({**_PROVISION, "secret_required": True}, knows_old_secret=True),
    "provision-seed": Operation({**_PROVISION, "secret_required": True}, seed_version=1),
    # Replace the key if its secret is not known.
    "recover": Operation({**_PROVISION, "regenerate": "if_unrecoverable"}, replaces=True),
    "recover-saved": Operation({**_PROVISION, "regenerate": "if_unrecoverable"}, knows_old_secret=True, replaces=True),
    "recover-seed": Operation({**_PROVISION, "regenerate": "if_unrecoverable"}, seed_version=2, replaces=True),
    # Replace the key in any case, with and without settings.
    "regenerate": Operation({**_PROVISION, "regenerate": "always"}, replaces=True),
    "regenerate-bare": Operation({"regenerate": "always"}, replaces=True),
    "regenerate-saved": Operation({**_PROVISION, "regenerate": "always"}, knows_old_secret=True, replaces=True),
    # Change an existing key, or do nothing, or recreate it with its secret.
    "extend": Operation({"lifetime": FORTNIGHT, "on_missing": "ignore"}),
    "extend-saved": Operation(
        {
            "creation_settings": {"models": MODELS, "max_budget": BUDGET},
            "lifetime": FORTNIGHT,
            "on_missing": "recreate",
        },
        knows_old_secret=True,
    ),
    "budget": Operation({"settings": {"max_budget": NEW_BUDGET}, "on_missing": "ignore"}),
    # Delete the key.
    "destroy": Operation({"present": False}),
}


def _old(world: World, alias: str) -> World:
    return _add(world, alias, old_secret(alias))


def _add(world: World, alias: str, secret: str, **columns: Any) -> World:
    columns = {"metadata": {}, **columns}
    return world.with_key(alias, secret, models=MODELS, max_budget=BUDGET, expires=FIRST_END, **columns)


def _predecessor(world: World, alias: str, secret: str) -> World:
    return _add(world, predecessor_alias(alias), secret, metadata={REPLACED: alias})


def _successor(world: World, alias: str, number: int = 1) -> World:
    """Add the key with which a controller that was killed has replaced another one."""
    return _add(world, alias, _lost(alias, number), metadata={LIFETIME_START: "2026-11-01T11:00:00Z"})


def _lost(alias: str, number: int = 1) -> str:
    """Return a secret that a killed controller has taken with it."""
    return f"sk-lost-secret-{number}-of-{alias}"


# What a controller may find: nothing, a key, and every state that killed controllers leave. `make simulate` reports any
# other that a scenario can leave.
STATES = {
    "nothing": lambda world, alias: world,
    "a key": _old,
    "a key with a lost secret": lambda world, alias: _add(world, alias, _lost(alias)),
    "a key with the seed's secret": lambda world, alias: _add(world, alias, derive(SEED, alias, 1).value),
    # A replacement was killed after its first step, and after its second.
    "renamed": lambda world, alias: _predecessor(world, alias, old_secret(alias)),
    "renamed and replaced": lambda world, alias: _successor(_predecessor(world, alias, old_secret(alias)), alias),
    # A creation was killed while another one created the same key.
    "two keys": lambda world, alias: _add(_old(world, alias), alias, _lost(alias)),
    "two keys, the known one younger": lambda world, alias: _old(_add(world, alias, _lost(alias)), alias),
    "two lost keys": lambda world, alias: _add(_add(world, alias, _lost(alias)), alias, _lost(alias, 2)),
    "renamed and replaced twice": lambda world, alias: _successor(
        _successor(_predecessor(world, alias, old_secret(alias)), alias), alias, 2
    ),
    # A successor was renamed back beside its predecessor, or each of two runs has renamed a key.
    "a key beside a renamed one": lambda world, alias: _predecessor(_old(world, alias), alias, _lost(alias)),
    "two renamed": lambda world, alias: _predecessor(
        _predecessor(world, alias, old_secret(alias)), alias, _lost(alias)
    ),
    "two renamed and replaced": lambda world, alias: _successor(
        _predecessor(_predecessor(world, alias, old_secret(alias)), alias, _lost(alias)), alias, 2
    ),
}


def start(state: str, aliases: Sequence[str]) -> World:
    """Return the world in which each alias is in a state. There are keys of other environments as well."""
    world = World()
    for foreign in (f"virtkey-{GUID}-other", f"virtkey-{GUID}2", f"virtkey-{GUID}2.replaced"):
        world = _add(world, foreign, f"sk-secret-of-{foreign}", metadata={"guid": "another"})
    for alias in aliases:
        world = STATES[state](world, alias)
    return world


def shape(world: World, alias: str) -> tuple[str, ...]:
    """Return what kind of keys there are, oldest first: the states differ in that, and in whose secrets are known."""
    names = (alias, predecessor_alias(alias))
    rows = sorted(
        (row for row in world.all_keys() if row["key_alias"] in names), key=lambda row: str(row["created_at"])
    )
    kinds = {names[0]: "key", names[1]: "renamed"}
    return tuple(kinds[row["key_alias"]] + (", marked" if REPLACED in row["metadata"] else "") for row in rows)
