# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a setting is read from a row of LiteLLM, compared, checked, sent and cleared.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from .._errors import OptionError, naming
from .durations import MAX_YEAR, parse, parse_instant
from .values import (
    MAX_NUMBER,
    Kind,
    as_duration,
    as_instant,
    as_kind,
    contains,
    fits,
    is_amount,
    is_empty,
    is_same_json,
)

# The routes that LiteLLM gives a key of each type. Before 1.94 it does not store the type itself.
_ROUTES_BY_KEY_TYPE = {
    "default": [],
    "llm_api": ["llm_api_routes"],
    "management": ["management_routes"],
    "read_only": ["info_routes"],
}
KEY_TYPES = tuple(_ROUTES_BY_KEY_TYPE)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """One option of a key that LiteLLM stores.

    :ivar name: the name of the option, and of LiteLLM's field unless `field` is given.
    :ivar in_metadata: LiteLLM stores it in the metadata of the key.
    :ivar merged: entries that the desired value does not name are kept.
    :ivar kept: of the entries of a merged setting, those that are kept when it is cleared.
    :ivar inherited: a replacement gets the value of the replaced key.
    :ivar sent_with: another setting that LiteLLM must receive in the same request.
    """

    name: str
    kind: Kind = "str"
    field: str = ""
    in_metadata: bool = False
    merged: bool = False
    kept: Collection[str] = ()
    inherited: bool = True
    sent_with: str = ""

    @property
    def cleared_value(self) -> Any:
        """The value that clears the setting. LiteLLM refuses null for lists; null in a JSON column breaks the key."""
        return None if self.merged else {"list of str": [], "list": [], "dict": {}}.get(self.kind)

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
            return {name: value for name, value in (present or {}).items() if name in self.kept}
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

    def normalize(self, value: Any) -> Any:
        """Return a value of the option in the form in which it is sent.

        :raises OptionError: if LiteLLM would refuse or misread it.
        """
        if self.kind in ("int", "float") and not is_amount(value):
            raise OptionError(f"{self.name} is {value:g}; it must be at least 0 and less than {MAX_NUMBER:g}")
        # An empty name of a model is an unknown model, about which `on_unknown_models` decides.
        if self.kind == "list of str" and self.name != "models" and not all(map(str.strip, value)):
            raise OptionError(f"{self.name} contains an empty name")
        return value

    def to_request(self, value: Any, *, new: bool) -> dict[str, Any]:
        """Return the fields of a request that give this value to a new key, or to an existing one."""
        return {self.field or self.name: value}


class KeyTypeSetting(Setting):
    """`key_type` is accepted at creation only; an existing key has the routes that the type stands for."""

    @property
    def cleared_value(self) -> str:
        return "default"

    def read(self, row: Row) -> Any:
        routes = row.get("allowed_routes") or []
        return next((name for name, of_type in _ROUTES_BY_KEY_TYPE.items() if of_type == routes), None)

    def to_request(self, value: Any, *, new: bool) -> dict[str, Any]:
        return {"key_type": value} if new else {"allowed_routes": _ROUTES_BY_KEY_TYPE[value]}


class ModelLimitsSetting(Setting):
    """A limit for each model. With anything but a number, LiteLLM answers every request of the key with 500."""

    def normalize(self, value: Any) -> Any:
        with naming(self.name):
            return {model: as_kind(model, limit, "int") for model, limit in value.items()}


class OrganizationSetting(Setting):
    """`/key/list` uses another field name than all other routes."""

    def read(self, row: Row) -> Any:
        return row.get("organization_id") or row.get("org_id")


class SoftBudgetSetting(Setting):
    """LiteLLM stores it in a budget, which it creates for a key without one.

    For a key with a `budget_id` that budget is changed, for every key that shares it.
    """

    def read(self, row: Row) -> Any:
        return (row.get("litellm_budget_table") or {}).get("soft_budget")


class _Subset(Setting):
    """LiteLLM returns more than it was given: only the desired entries are compared."""

    def matches(self, desired: Any, present: Any) -> bool:
        return contains(present, desired)


# The object permissions that are not lists or dictionaries.
BOOLEAN_PERMISSIONS = ("mcp_tool_search_enabled",)


class ObjectPermissionSetting(_Subset):
    """LiteLLM merges it with the present value: to clear it, each part must be sent empty."""

    def normalize(self, value: Any) -> Any:
        with naming(self.name):
            return {
                name: as_kind(name, one, "bool") if name in BOOLEAN_PERMISSIONS else one for name, one in value.items()
            }

    def merge(self, desired: Any, present: Any) -> Any:
        if desired:
            return desired
        permitted = {name: value for name, value in (present or {}).items() if value and name != "object_permission_id"}
        return {name: type(value)() for name, value in permitted.items()}

    def matches(self, desired: Any, present: Any) -> bool:
        # LiteLLM chooses the id, another one for each key. A replacement is compared with the key that it replaces.
        desired = {name: value for name, value in (desired or {}).items() if name != "object_permission_id"}
        return super().matches(desired, present) if desired else not self.merge(desired, present)


class ExtraSetting(_Subset):
    """A field that has no option. LiteLLM may store it in the metadata."""

    def read(self, row: Row) -> Any:
        value = row.get(self.name)
        return (row.get("metadata") or {}).get(self.name) if value is None else value


class NotStoredSetting(ExtraSetting):
    """A field that is sent for a new key only, and not read back."""

    def matches(self, desired: Any, present: Any) -> bool:
        return True


class BudgetLimitsSetting(Setting):
    """Budget windows by duration. LiteLLM adds to each when it is reset next."""

    def read(self, row: Row) -> Any:
        limits = row.get(self.name)
        return limits and [{name: value for name, value in one.items() if name != "reset_at"} for one in limits]

    def matches(self, desired: Any, present: Any) -> bool:
        wanted, found = ({_window(one): one.get("max_budget") for one in limits or ()} for limits in (desired, present))
        return len(desired or ()) == len(present or ()) and is_same_json(wanted, found)

    def normalize(self, value: Any) -> Any:
        limits = [_budget_limit(f"budget_limits[{index}]", one) for index, one in enumerate(value)]
        durations = [one["budget_duration"] for one in limits]
        if repeated := sorted({one for one in durations if durations.count(one) > 1}):
            raise OptionError(f"budget_limits names {', '.join(repeated)} more than once")
        return limits


def _budget_limit(where: str, limit: Any) -> dict[str, Any]:
    if isinstance(limit, Mapping) and (unknown := sorted({*map(str, limit)} - {"budget_duration", "max_budget"})):
        raise OptionError(f"{where} contains '{unknown[0]}'; it can contain budget_duration and max_budget")
    if not isinstance(limit, Mapping) or any(limit.get(name) is None for name in ("budget_duration", "max_budget")):
        raise OptionError(f"{where} must be a dictionary like {{budget_duration: 1d, max_budget: 5}}, but is {limit!r}")
    with naming(where):
        amount = as_kind("max_budget", limit["max_budget"], "float")
    with naming(f"{where}.budget_duration"):
        return {"budget_duration": str(parse(limit["budget_duration"])), "max_budget": amount}


def _window(limit: Mapping[str, Any]) -> str:
    duration = limit.get("budget_duration")
    return str(as_duration(duration) or duration)


class RouterSettings(_Subset):
    """LiteLLM replaces them as a whole, returns null for those that are not set, and converts text to numbers."""

    def normalize(self, value: Any) -> Any:
        with naming(self.name):
            return {name: _router_setting(name, one) for name, one in value.items()}

    def matches(self, desired: Any, present: Any) -> bool:
        names = {name for name, value in (present or {}).items() if not is_empty(value)}
        return names <= set(desired or {}) and super().matches(desired, present)


# The router settings that are neither text nor lists. A template of ansible-core before 2.19 may make text of them.
ROUTER_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("allowed_fails", "max_retries", "num_retries"), "int"),
    **dict.fromkeys(("cooldown_time", "retry_after", "timeout"), "float"),
    **dict.fromkeys(("enable_tag_filtering", "fallback_on_unsupported_params"), "bool"),
}


def _router_setting(name: str, value: Any) -> Any:
    if name == "retry_policy" and isinstance(value, Mapping):
        return {error: as_kind(error, count, "int") for error, count in value.items()}
    if name == "model_group_retry_policy" and isinstance(value, Mapping):
        return {model: _router_setting("retry_policy", policy) for model, policy in value.items()}
    return as_kind(name, value, ROUTER_KINDS[name]) if name in ROUTER_KINDS else value


class DurationSetting(Setting):
    """A duration whose unit makes a difference: `7d` and `168h` are reset at different times."""

    def normalize(self, value: Any) -> Any:
        with naming(self.name):
            return str(parse(value))


class IntervalSetting(DurationSetting):
    """A duration whose unit makes no difference."""

    def matches(self, desired: Any, present: Any) -> bool:
        return bool(_seconds(desired) == _seconds(present))


def _seconds(value: Any) -> Any:
    duration = as_duration(value)
    return duration.seconds() if duration and duration.unit != "mo" else value


class TemporaryBudgetSetting(Setting):
    """LiteLLM accepts it for existing keys only, and does not clear it; a new key gets it with its metadata."""

    def matches(self, desired: Any, present: Any) -> bool:
        if self.kind == "raw":
            return as_instant(desired) == as_instant(present)
        return super().matches(desired, present)

    def normalize(self, value: Any) -> Any:
        if self.kind != "raw":
            return super().normalize(value)
        with naming(self.name):
            year = parse_instant(value).year
        if year > MAX_YEAR:
            raise OptionError(f"{self.name} is {value!r}; the year must be {MAX_YEAR} or earlier")
        return as_instant(value)

    def to_request(self, value: Any, *, new: bool) -> dict[str, Any]:
        if value is None:
            return {}
        return {"metadata": {self.name: value}} if new else {self.name: value}
