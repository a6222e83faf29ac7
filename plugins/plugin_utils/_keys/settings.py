# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of settings: where LiteLLM stores each, how its values are compared, and how it is cleared.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

# The routes that LiteLLM gives a key of each type. Before 1.94 it does not store the type itself.
_ROUTES_BY_KEY_TYPE = {
    "default": [],
    "llm_api": ["llm_api_routes"],
    "management": ["management_routes"],
    "read_only": ["info_routes"],
}
KEY_TYPES = tuple(_ROUTES_BY_KEY_TYPE)

# Fields that a replacement inherits from the replaced key, in addition to SETTINGS and metadata.
INHERITED_FIELDS = (
    "access_group_ids",
    "agent_id",
    "allowed_cache_controls",
    "auto_rotate",
    "budget_fallbacks",
    "budget_limits",
    "config",
    "rotation_interval",
    "router_settings",
    "tpd_limit",
)

# Entries of the metadata that this collection writes.
# In a key that replaces another: the id of that one.
REPLACES = "replaces_in_litellm_virtual_keys"
# In a key that replaces another: the time that its lifetime counts from, which is when the first one was created.
LIFETIME_START = "lifetime_start_in_litellm_virtual_keys"

Row = Mapping[str, Any]
Kind = Literal["str", "int", "float", "bool", "list of str", "dict"]


@dataclass(frozen=True)
class Setting:
    """One option of a key that LiteLLM stores.

    :ivar name: the name of the option, and of LiteLLM's field unless `field` is given.
    :ivar in_metadata: LiteLLM stores it in the metadata of the key.
    :ivar merged: entries that the desired value does not name are kept.
    :ivar inherited: a replacement gets the value of the replaced key.
    """

    name: str
    kind: Kind = "str"
    field: str = ""
    in_metadata: bool = False
    merged: bool = False
    inherited: bool = True

    @property
    def cleared_value(self) -> Any:
        """The value that clears the setting. LiteLLM refuses null for lists; null in a JSON column breaks the key."""
        return None if self.merged else {"list of str": [], "dict": {}}.get(self.kind)

    def read(self, row: Row) -> Any:
        """Return the value in a row of LiteLLM."""
        if self.in_metadata:
            value = (row.get("metadata") or {}).get(self.field or self.name)
            return value if fits(value, self.kind) else None  # any client can write anything into the metadata
        return row.get(self.field or self.name)

    def merge(self, desired: Any, present: Any) -> Any:
        """Return the value to send: LiteLLM replaces whole values."""
        if not self.merged:
            return desired
        if desired is None:
            return {name: value for name, value in (present or {}).items() if name in _IN_METADATA}
        return {**(present or {}), **desired}

    def matches(self, desired: Any, present: Any) -> bool:
        """Return whether the present value is the desired one."""
        if self.kind == "list of str":
            return set(desired or ()) == set(present or ())
        if self.kind == "dict":
            return is_same_json(desired or {}, present or {})
        if self.kind == "bool":
            return bool(desired) == bool(present)
        return bool(desired == present)

    def to_request(self, value: Any, *, new: bool) -> dict[str, Any]:
        """Return the fields of a request that give this value to a new key, or to an existing one."""
        return {self.field or self.name: value}


class _KeyType(Setting):
    """`key_type` is accepted at creation only; an existing key has the routes that the type stands for."""

    @property
    def cleared_value(self) -> str:
        return "default"

    def read(self, row: Row) -> Any:
        routes = row.get("allowed_routes") or []
        return next((name for name, of_type in _ROUTES_BY_KEY_TYPE.items() if of_type == routes), None)

    def to_request(self, value: Any, *, new: bool) -> dict[str, Any]:
        return {"key_type": value} if new else {"allowed_routes": _ROUTES_BY_KEY_TYPE[value]}


class _Organization(Setting):
    """`/key/list` uses another field name than all other routes."""

    def read(self, row: Row) -> Any:
        return row.get("organization_id") or row.get("org_id")


class _SoftBudget(Setting):
    """LiteLLM stores it in a budget, which it creates for a key without one.

    For a key with a `budget_id` that budget is changed, for every key that shares it.
    """

    def read(self, row: Row) -> Any:
        return (row.get("litellm_budget_table") or {}).get("soft_budget")


class _Subset(Setting):
    """LiteLLM returns more than it was given: only the desired entries are compared."""

    def matches(self, desired: Any, present: Any) -> bool:
        return _contains(present, desired)


class _ObjectPermission(_Subset):
    """LiteLLM merges it with the present value: to clear it, each part must be sent empty."""

    def merge(self, desired: Any, present: Any) -> Any:
        if desired:
            return desired
        permitted = {name: value for name, value in (present or {}).items() if value and name != "object_permission_id"}
        return {name: type(value)() for name, value in permitted.items()}

    def matches(self, desired: Any, present: Any) -> bool:
        return super().matches(desired, present) if desired else not self.merge(desired, present)


class _Extra(_Subset):
    """A field that has no option. LiteLLM may store it in the metadata."""

    def read(self, row: Row) -> Any:
        value = row.get(self.name)
        return (row.get("metadata") or {}).get(self.name) if value is None else value


def _contains(present: Any, desired: Any) -> bool:
    if desired in (None, [], {}):
        return _is_empty(present)
    if isinstance(desired, Mapping):
        shown = {} if present is None else present
        return isinstance(shown, Mapping) and all(_contains(shown.get(name), value) for name, value in desired.items())
    if isinstance(desired, list):
        if not isinstance(present, list) or len(desired) != len(present):
            return False
        if not any(isinstance(member, Mapping | list) for member in desired):  # the order of plain names is irrelevant
            desired, present = sorted(desired, key=str), sorted(present, key=str)
        return all(map(_contains, present, desired))
    return is_same_json(desired, present)


def is_same_json(one: Any, other: Any) -> bool:
    """Return whether two JSON values are the same. In Python, True is equal to 1, but not in JSON."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(is_same_json(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same_json, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _is_empty(value: Any) -> bool:
    """Return whether the value is null, empty, or a dictionary of such values: LiteLLM returns one for another."""
    if isinstance(value, Mapping):
        return all(map(_is_empty, value.values()))
    return value is None or value == []


SETTINGS: dict[str, Setting] = {
    one.name: one
    for one in (
        Setting("models", "list of str"),
        Setting("model_aliases", "dict", field="aliases"),
        Setting("max_budget", "float"),
        _SoftBudget("soft_budget", "float", inherited=False),
        Setting("budget_duration"),
        Setting("budget_id"),
        Setting("tpm_limit", "int"),
        Setting("rpm_limit", "int"),
        Setting("max_parallel_requests", "int"),
        Setting("model_tpm_limit", "dict", in_metadata=True),
        Setting("model_rpm_limit", "dict", in_metadata=True),
        Setting("model_max_budget", "dict"),
        # LiteLLM stores some of its own settings in the metadata, so entries that are not named are kept.
        Setting("metadata", "dict", merged=True),
        Setting("tags", "list of str", in_metadata=True),
        Setting("guardrails", "list of str", in_metadata=True),
        Setting("user_id"),
        Setting("team_id"),
        _Organization("organization_id"),
        Setting("project_id"),
        _KeyType("key_type", inherited=False),
        Setting("allowed_routes", "list of str"),
        Setting("permissions", "dict"),
        _ObjectPermission("object_permission", "dict"),
        Setting("blocked", "bool"),
    )
}

# What LiteLLM (1.53 to 1.110) and this collection store in the metadata: clearing the metadata keeps it.
_IN_METADATA = {name for name, one in SETTINGS.items() if one.in_metadata} | {
    LIFETIME_START,
    REPLACES,
    "allowed_passthrough_routes",
    "allowed_vector_store_indexes",
    "default_estimated_output_tokens",
    "default_estimated_output_tokens_per_model",
    "denied_passthrough_routes",
    "disable_global_guardrails",
    "enable_prompt_caching",
    "end_user_budget_id",
    "enforced_batch_output_expires_after",
    "enforced_file_expires_after",
    "enforced_params",
    "logging",
    "max_budget_alert_emails",
    "mcp_rpm_limit",
    "model_itpm_limit",
    "model_otpm_limit",
    "policies",
    "prompts",
    "require_trace_id",
    "rpm_limit_type",
    "secret_manager_settings",
    "service_account_id",
    "tag_rpm_limit",
    "team_member_key_duration",
    "temp_budget_expiry",
    "temp_budget_increase",
    "throttle_on_budget_exceeded",
    "tpm_limit_type",
}


def setting(name: str) -> Setting:
    """Return the setting with this name; a field of `extra_params` is a setting, too."""
    return SETTINGS.get(name) or _Extra(name)


# The fields of a row that this collection reads, with their types.
ROW_KINDS: dict[str, Kind] = {
    **{one.field or name: one.kind for name, one in SETTINGS.items() if not one.in_metadata},
    **dict.fromkeys(("token", "key_alias", "key_name", "org_id"), "str"),
    "spend": "float",
    "litellm_budget_table": "dict",
}

# The limit of numbers, for writing and for reading.
MAX_NUMBER = 1e18
# JSON in Python may contain infinity, NaN, and integers too large for a float: none of them is an amount.
_FITS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int | float) and -MAX_NUMBER < value < MAX_NUMBER,
    "float": lambda value: isinstance(value, int | float) and -MAX_NUMBER < value < MAX_NUMBER,
    "bool": lambda value: isinstance(value, bool),
    "dict": lambda value: isinstance(value, dict),
    "list of str": lambda value: isinstance(value, list) and all(isinstance(member, str) for member in value),
}


def fits(value: Any, kind: Kind) -> bool:
    """Return whether a value of LiteLLM is null or of this kind."""
    return value is None or _FITS[kind](value)
