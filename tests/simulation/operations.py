# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the controllers do, and what they find: operations and start states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey, Lifetime
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.rotation import Rotation
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import (
    SecretVersions,
    derive,
    given,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import (
    LIFETIME_START,
    PREVIOUS,
    REPLACED_BY,
    REPLACES,
    SECRET_VERSION,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.proxy import START, Json, World, hashed

GUID = "abc"
SEED = "a seed that is long enough for the tests"
WEEK, FORTNIGHT = (Lifetime(parse(duration), shorten=False) for duration in ("7d", "14d"))
ROTATION = Rotation(parse("30m"), parse("10m"))
# The end of an overlap that a run before has started, and of one that starts now.
OVERLAP_END, LAST_OVERLAP_END = START + timedelta(minutes=5), START + timedelta(minutes=10)
FIRST_END = (START - timedelta(hours=1) + timedelta(days=7)).isoformat()
MODELS = ["model-of-the-environment"]
BUDGET, NEW_BUDGET = 1.0, 5.0


def alias_of(number: int, keys: int) -> str:
    """Return the alias of one of the environment's keys."""
    return f"virtkey-{GUID}" if keys == 1 else f"virtkey-{GUID}-user{number}"


def successor_alias(alias: str) -> str:
    return f"{alias}.replacement"


def previous_alias(alias: str) -> str:
    return f"{alias}.previous"


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
    def rotates(self) -> bool:
        """Whether it replaces a key because of its age, and the old secret works until an overlap ends."""
        return "rotate" in self.options

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
            looked_for = 51 if key.rotate else 1
            versions = SecretVersions(SEED, alias, self.seed_version, looked_for)
            key = replace(key, secret=derive(SEED, alias, self.seed_version), versions=versions)
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
    # Replace the key because of its age. Those of the start states are old enough.
    "rotate": Operation({**_PROVISION, "rotate": ROTATION}),
    "rotate-saved": Operation({**_PROVISION, "rotate": ROTATION, "secret_required": True}, knows_old_secret=True),
    "rotate-seed": Operation({**_PROVISION, "rotate": ROTATION, "secret_required": True}, seed_version=1),
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
    columns = {"models": MODELS, "max_budget": BUDGET, "expires": FIRST_END, **columns}
    columns["metadata"] = {"guid": GUID, **columns.get("metadata", {})}
    return world.with_key(alias, secret, **columns)


def _successor(
    world: World,
    alias: str,
    replaced: str,
    secret: str,
    *,
    renamed: bool = False,
    marks: Mapping[str, Any] = MappingProxyType({}),
) -> World:
    """Add the key with which a controller that was killed has replaced another one, or was about to."""
    metadata = {LIFETIME_START: "2026-11-01T11:00:00Z", REPLACES: hashed(replaced), **marks}
    return _add(world, alias if renamed else successor_alias(alias), secret, metadata=metadata)


def _lost(alias: str, number: int = 1) -> str:
    """Return a secret that a killed controller has taken with it."""
    return f"sk-lost-secret-{number}-of-{alias}"


def _replacing(world: World, alias: str, *, deleted: bool = False, times: int = 1) -> World:
    """Add a key, unless it was deleted, and those that are to replace it."""
    world = world if deleted else _old(world, alias)
    for number in range(1, times + 1):
        world = _successor(world, alias, old_secret(alias), _lost(alias, number))
    return world


def _rotated(
    world: World,
    alias: str,
    *,
    version: int | None = None,
    retired: bool = True,
    renamed: bool = True,
    end: datetime = OVERLAP_END,
) -> World:
    """Add a key that was replaced because of its age, and the one that replaces it."""
    old, new = old_secret(alias), _lost(alias)
    marks: Json = {}
    if version:
        old, new = (derive(SEED, alias, one).value for one in (version - 1, version))
        marks[SECRET_VERSION] = version
    marks[PREVIOUS] = {"key_id": hashed(old), "overlap": "10m"}
    if retired:
        metadata = {REPLACED_BY: hashed(new)}
        world = _add(world, previous_alias(alias), old, metadata=metadata, expires=end.isoformat())
    else:
        world = _add(world, alias, old)
    return _successor(world, alias, old, new, renamed=renamed, marks=marks)


# What a controller may find: nothing, a key, and every state that killed controllers leave. `make simulate` reports any
# other that a scenario can leave.
STATES = {
    "nothing": lambda world, alias: world,
    "a key": _old,
    "a key with a lost secret": lambda world, alias: _add(world, alias, _lost(alias)),
    "a key with the seed's secret": lambda world, alias: _add(world, alias, derive(SEED, alias, 1).value),
    # A replacement was killed after its first step, and after its second.
    "successor created": _replacing,
    "old key deleted": lambda world, alias: _replacing(world, alias, deleted=True),
    # ... and so was another one, which was about to delete its own successor.
    "two successors created": lambda world, alias: _replacing(world, alias, times=2),
    "old key deleted, two successors": lambda world, alias: _replacing(world, alias, deleted=True, times=2),
    "replaced, and a surplus successor": lambda world, alias: _successor(
        _successor(world, alias, old_secret(alias), _lost(alias), renamed=True),
        alias,
        old_secret(alias),
        _lost(alias, 2),
    ),
    # A creation was killed while another one created the same key, or while a successor was to get its alias.
    "two keys": lambda world, alias: _add(_old(world, alias), alias, _lost(alias)),
    "two lost keys": lambda world, alias: _add(_add(world, alias, _lost(alias)), alias, _lost(alias, 2)),
    "a key in the way of a successor": lambda world, alias: _add(
        _replacing(world, alias, deleted=True), alias, _lost(alias, 2)
    ),
    # A rotation has ended, or was killed after its first step, or after its second.
    "rotated": _rotated,
    "rotated, and the overlap has ended": lambda world, alias: _rotated(world, alias, end=START - timedelta(minutes=1)),
    "rotated with the seed": lambda world, alias: _rotated(world, alias, version=2),
    "rotation: successor created": lambda world, alias: _rotated(world, alias, retired=False, renamed=False),
    "rotation with the seed: successor created": lambda world, alias: _rotated(
        world, alias, version=2, retired=False, renamed=False
    ),
    "rotation: old key retired": lambda world, alias: _rotated(world, alias, renamed=False),
    "rotation with the seed: old key retired": lambda world, alias: _rotated(world, alias, version=3, renamed=False),
    # A deletion of both keys was killed, or an administrator has deleted one.
    "only a previous key": lambda world, alias: _add(
        world,
        previous_alias(alias),
        old_secret(alias),
        metadata={REPLACED_BY: hashed(_lost(alias))},
        expires=OVERLAP_END.isoformat(),
    ),
    "two keys, successor created": lambda world, alias: _successor(
        _add(_old(world, alias), alias, _lost(alias, 2)), alias, old_secret(alias), _lost(alias)
    ),
}


def start(state: str, aliases: Sequence[str]) -> World:
    """Return the world in which each alias is in a state. There are keys of other environments as well."""
    world = World()
    for foreign in (f"virtkey-{GUID}-other", f"virtkey-{GUID}2", f"virtkey-{GUID}2.replacement"):
        world = _add(world, foreign, f"sk-secret-of-{foreign}", metadata={"guid": "another"})
    for alias in aliases:
        world = STATES[state](world, alias)
    return world


def shape(world: World, alias: str) -> tuple[str, ...]:
    """Return what kind of keys there are, oldest first: the states differ in that, and in whose secrets are known."""
    names = {alias: "key", successor_alias(alias): "successor", previous_alias(alias): "previous"}
    rows = sorted(
        (row for row in world.all_keys() if row["key_alias"] in names), key=lambda row: str(row["created_at"])
    )
    ids = {row["token"] for row in rows}
    return tuple(
        names[row["key_alias"]] + (" of a key" if row["metadata"].get(REPLACES) in ids else "") for row in rows
    )
