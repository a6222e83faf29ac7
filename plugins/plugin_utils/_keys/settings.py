# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of settings: where LiteLLM stores each, how its values are compared, and how it is cleared.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .setting_types import (
    BudgetLimitsSetting,
    DurationSetting,
    ExtraSetting,
    IntervalSetting,
    KeyTypeSetting,
    ModelLimitsSetting,
    NotStoredSetting,
    ObjectPermissionSetting,
    OrganizationSetting,
    RouterSettings,
    Setting,
    SoftBudgetSetting,
    TemporaryBudgetSetting,
)
from .values import Kind

# Fields that a replacement inherits from the replaced key, in addition to SETTINGS and metadata.
INHERITED_FIELDS = ("allowed_cache_controls", "budget_fallbacks", "config", "tpd_limit")

# Entries of the metadata that this collection writes.
# In a key that replaces another: the id of that one.
REPLACES = "replaces_in_litellm_virtual_keys"
# In a key that replaces another: the time that its lifetime counts from, which is when the first one was created.
LIFETIME_START = "lifetime_start_in_litellm_virtual_keys"
# In a key that replaces another because of its age: the `key_id` of that one, and for how long it works beside it
# (`overlap`, a duration of LiteLLM).
PREVIOUS = "previous_in_litellm_virtual_keys"
# In a key that was replaced and works until its overlap ends: the id of the key that replaces it.
REPLACED_BY = "replaced_by_in_litellm_virtual_keys"
# In a key with a derived secret that was replaced because of its age: the version of the new secret.
SECRET_VERSION = "secret_version_in_litellm_virtual_keys"

# What LiteLLM (1.53 to 1.110) and this collection store in the metadata: clearing the metadata keeps it.
# `make contract` finds what later releases store there.
KEPT_METADATA = (
    LIFETIME_START,
    PREVIOUS,
    REPLACED_BY,
    REPLACES,
    SECRET_VERSION,
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
    "guardrails",
    "logging",
    "max_budget_alert_emails",
    "mcp_rpm_limit",
    "model_itpm_limit",
    "model_otpm_limit",
    "model_rpm_limit",
    "model_tpm_limit",
    "policies",
    "prompts",
    "require_trace_id",
    "rpm_limit_type",
    "secret_manager_settings",
    "service_account_id",
    "tag_rpm_limit",
    "tags",
    "team_member_key_duration",
    "temp_budget_expiry",
    "temp_budget_increase",
    "throttle_on_budget_exceeded",
    "tpm_limit_type",
)

# Fields of a new key that make LiteLLM do something, and that it does not store.
_NOT_STORED = ("send_invite_email",)

SETTINGS: dict[str, Setting] = {
    one.name: one
    for one in (
        Setting("models", "list of str"),
        Setting("model_aliases", "dict", field="aliases"),
        Setting("max_budget", "float"),
        SoftBudgetSetting("soft_budget", "float", inherited=False),
        DurationSetting("budget_duration"),
        Setting("budget_id"),
        Setting("tpm_limit", "int"),
        Setting("rpm_limit", "int"),
        Setting("max_parallel_requests", "int"),
        ModelLimitsSetting("model_tpm_limit", "dict", in_metadata=True),
        ModelLimitsSetting("model_rpm_limit", "dict", in_metadata=True),
        Setting("model_max_budget", "dict"),
        BudgetLimitsSetting("budget_limits", "list"),
        TemporaryBudgetSetting("temp_budget_increase", "float", in_metadata=True, sent_with="temp_budget_expiry"),
        TemporaryBudgetSetting("temp_budget_expiry", "raw", in_metadata=True, sent_with="temp_budget_increase"),
        # LiteLLM stores some of its own settings in the metadata, so entries that are not named are kept.
        Setting("metadata", "dict", merged=True, kept=KEPT_METADATA),
        Setting("tags", "list of str", in_metadata=True),
        Setting("guardrails", "list of str", in_metadata=True),
        Setting("enforced_params", "list of str", in_metadata=True),
        Setting("user_id"),
        Setting("team_id"),
        OrganizationSetting("organization_id"),
        Setting("project_id"),
        Setting("agent_id"),
        Setting("access_group_ids", "list of str"),
        KeyTypeSetting("key_type", inherited=False),
        Setting("allowed_routes", "list of str"),
        Setting("permissions", "dict"),
        ObjectPermissionSetting("object_permission", "dict"),
        RouterSettings("router_settings", "dict"),
        Setting("auto_rotate", "bool", sent_with="rotation_interval"),
        IntervalSetting("rotation_interval", sent_with="auto_rotate"),
        Setting("blocked", "bool"),
    )
}


def setting(name: str) -> Setting:
    """Return the setting with this name; a field of `extra_params` is a setting, too."""
    return SETTINGS.get(name) or (NotStoredSetting if name in _NOT_STORED else ExtraSetting)(name)


def stored(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that LiteLLM stores: the others have an effect when a key is created for the first time."""
    return {name: value for name, value in settings.items() if name not in _NOT_STORED}


def with_companions(changes: Mapping[str, Any], desired: Mapping[str, Any], metadata: Any) -> dict[str, Any]:
    """Return changes of settings with what LiteLLM must receive in the same request.

    :param desired: all desired settings.
    :param metadata: the present metadata of the key. LiteLLM ignores null for a setting in it, so they are sent without
        one that is to be cleared.
    """
    companions = {setting(name).sent_with for name in changes} & desired.keys()
    complete = {**changes, **{name: desired[name] for name in companions if name not in changes}}
    cleared = {name for name, value in complete.items() if value is None and setting(name).in_metadata}
    if cleared:
        kept = complete.get("metadata", metadata) or {}
        complete["metadata"] = {name: value for name, value in kept.items() if name not in cleared}
    return complete


# The fields of a row that this collection reads, with their types.
ROW_KINDS: dict[str, Kind] = {
    **{one.field or name: one.kind for name, one in SETTINGS.items() if not one.in_metadata},
    **dict.fromkeys(("token", "key_alias", "key_name", "org_id"), "str"),
    "spend": "float",
    "litellm_budget_table": "dict",
}
