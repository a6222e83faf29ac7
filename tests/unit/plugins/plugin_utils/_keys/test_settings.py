# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of settings: where LiteLLM stores each, how its values are compared, sent and cleared."""

from __future__ import annotations

import math

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import (
    LIFETIME_START,
    REPLACES,
    SETTINGS,
    setting,
    with_companions,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.values import as_instant, fits


@pytest.mark.parametrize(
    ("name", "row", "value"),
    [
        ("models", {"models": ["a"]}, ["a"]),
        ("model_aliases", {"aliases": {"a": "b"}}, {"a": "b"}),
        ("tags", {"metadata": {"tags": ["a"]}}, ["a"]),
        ("tags", {"metadata": None}, None),
        ("model_rpm_limit", {"metadata": {"model_rpm_limit": {"a": 1}}}, {"a": 1}),
        ("model_tpm_limit", {"metadata": {"model_tpm_limit": {"a": 1}}}, {"a": 1}),
        ("guardrails", {"metadata": {"guardrails": ["a"]}}, ["a"]),
        ("organization_id", {"org_id": "o"}, "o"),  # in /key/list
        ("organization_id", {"organization_id": "o"}, "o"),  # in /key/info
        ("soft_budget", {"soft_budget": None, "litellm_budget_table": {"soft_budget": 5.0}}, 5.0),
        ("soft_budget", {"litellm_budget_table": None}, None),
        ("key_type", {"allowed_routes": []}, "default"),
        ("key_type", {}, "default"),
        ("key_type", {"allowed_routes": ["llm_api_routes"]}, "llm_api"),
        ("key_type", {"allowed_routes": ["/v1/models"]}, None),
        ("a_field", {"a_field": 0}, 0),
        ("a_field", {"metadata": {"a_field": "x"}}, "x"),
        ("a_field", {}, None),
        ("enforced_params", {"metadata": {"enforced_params": ["user"]}}, ["user"]),
        ("enforced_params", {"metadata": {"enforced_params": "user"}}, None),
        ("temp_budget_increase", {"metadata": {"temp_budget_increase": 5.0}}, 5.0),
        ("temp_budget_increase", {"metadata": {"temp_budget_increase": "5"}}, None),
        ("temp_budget_expiry", {"metadata": {"temp_budget_expiry": "2030-01-01"}}, "2030-01-01"),
        ("temp_budget_expiry", {"metadata": {"temp_budget_expiry": "soon"}}, None),
        ("temp_budget_expiry", {"metadata": {"temp_budget_expiry": "9001-01-01"}}, None),
        ("budget_limits", {"budget_limits": None}, None),
        ("budget_limits", {"budget_limits": []}, []),
        ("budget_limits", {"budget_limits": [{"max_budget": 5.0, "reset_at": "x"}]}, [{"max_budget": 5.0}]),
    ],
)
def test_a_setting_is_read_from_a_row(name, row, value):
    assert setting(name).read(row) == value


@pytest.mark.parametrize(
    ("name", "desired", "present"),
    [
        ("models", ["a", "b"], ["b", "a"]),
        ("models", [], None),
        ("model_aliases", {}, None),
        ("blocked", False, None),
        ("max_budget", 5, 5.0),
        ("metadata", {"a": [1, {"b": True}]}, {"a": [1.0, {"b": True}]}),
        ("object_permission", {"mcp_servers": ["a", "b"]}, {"mcp_servers": ["b", "a"], "vector_stores": ["c"]}),
        ("object_permission", {"mcp_servers": []}, {"mcp_servers": None, "object_permission_id": "x"}),
        ("object_permission", {"mcp_servers": []}, None),
        (
            "object_permission",  # of the key that is replaced, and of its replacement
            {"object_permission_id": "x", "mcp_servers": ["a"], "agents": None},
            {"object_permission_id": "y", "mcp_servers": ["a"], "agents": None},
        ),
        ("object_permission", {"mcp_servers": []}, {"mcp_servers": [], "vector_stores": ["c"]}),
        ("object_permission", {}, None),
        (
            "object_permission",
            {},
            {"object_permission_id": "x", "agents": [], "mcp_tool_permissions": None, "on": False},
        ),
        ("router_settings", {"num_retries": 3}, {"num_retries": 3, "timeout": None}),
        ("budget_limits", [], None),
        ("budget_limits", [{"budget_duration": "7d", "max_budget": 5}], [{"budget_duration": "1w", "max_budget": 5.0}]),
        (
            "budget_limits",
            [{"budget_duration": "1d", "max_budget": 5}, {"budget_duration": "7d", "max_budget": 6}],
            [{"budget_duration": "7d", "max_budget": 6}, {"budget_duration": "1d", "max_budget": 5}],
        ),
        ("rotation_interval", "24h", "1d"),
        ("rotation_interval", None, None),
        ("auto_rotate", False, None),
        ("temp_budget_expiry", "2030-01-01T00:00:00", "2030-01-01T01:00:00+01:00"),
        ("temp_budget_expiry", "2030-01-01T00:00:00", "2030-01-01T00:00:00.5Z"),
        ("send_invite_email", True, None),
        ("router_settings", {"fallbacks": [{"a": ["b"]}]}, {"fallbacks": [{"a": ["b"], "c": 1}], "timeout": None}),
        ("router_settings", {}, {"timeout": None}),
        ("access_group_ids", ["a", "b"], ["b", "a"]),
        ("access_group_ids", [], None),
    ],
)
def test_values_that_match(name, desired, present):
    assert setting(name).matches(desired, present)


@pytest.mark.parametrize(
    ("name", "desired", "present"),
    [
        ("models", ["a"], ["a", "b"]),
        ("models", [], ["a"]),
        ("max_budget", 0.0, None),
        ("tpm_limit", 0, None),
        ("blocked", True, None),
        ("metadata", {"a": 1}, {"a": 2}),
        ("object_permission", {"mcp_servers": []}, {"mcp_servers": ["a"]}),
        ("object_permission", {}, {"mcp_servers": ["a"]}),
        ("object_permission", {}, {"mcp_tool_permissions": {"a": ["b"]}}),
        ("router_settings", {"num_retries": 0}, {"num_retries": None}),
        ("router_settings", {}, {"num_retries": 0}),
        ("budget_limits", [{"budget_duration": "7d", "max_budget": 5}], [{"budget_duration": "7d", "max_budget": 6}]),
        ("budget_limits", [{"budget_duration": "7d", "max_budget": 5}], [{"budget_duration": "168h", "max_budget": 5}]),
        (
            "budget_limits",
            [{"budget_duration": "1d", "max_budget": 1}],
            [{"budget_duration": "1d", "max_budget": True}],
        ),
        (
            "budget_limits",
            [{"budget_duration": "7d", "max_budget": 5}],
            [{"budget_duration": "7d", "max_budget": 5}, {"budget_duration": "7d", "max_budget": 5}],
        ),
        ("budget_limits", [{"budget_duration": "7d", "max_budget": 5}], None),
        ("budget_limits", [{"budget_duration": "7d", "max_budget": 5}], [{"budget_duration": ["7d"]}]),
        ("rotation_interval", "24h", "2d"),
        *(("rotation_interval", f"{days}d", "1mo") for days in (28, 29, 30, 31)),
        ("rotation_interval", "24h", None),
        ("rotation_interval", None, "24h"),
        ("temp_budget_expiry", "2030-01-01T00:00:00", "2030-01-01T00:00:01Z"),
        ("temp_budget_expiry", None, "2030-01-01T00:00:01Z"),
        ("router_settings", {"timeout": 5}, {"timeout": 5, "num_retries": 3}),
        ("router_settings", {"timeout": 5}, None),
        ("budget_limits", [], [{"max_budget": 5}]),
        ("access_group_ids", ["a"], ["a", "b"]),
        ("a_field", {"a": 1}, "a"),
        ("a_field", ["a"], "a"),
        ("a_field", [{"a": 1}], [{"a": 1}, {"b": 2}]),
        # JSON distinguishes true from 1, and Python does not.
        ("metadata", {"a": 1}, {"a": True}),
        ("metadata", {"a": [{"b": False}]}, {"a": [{"b": 0}]}),
        ("permissions", {"a": True}, {"a": 1}),
        ("a_field", True, 1),
        ("a_field", {"a": 0}, {"a": False}),
        ("a_field", False, None),
        ("a_field", 1, None),
        ("metadata", {"a": 1}, {"a": 1, "b": 2}),
        ("metadata", {"a": {"b": 1}}, {"a": 1}),
        ("metadata", {"a": 1}, {"a": {"b": 1}}),
        ("metadata", {"a": [1]}, {"a": 1}),
        ("metadata", {"a": 1}, {"a": [1]}),
        ("metadata", {"a": [1]}, {"a": [1, 2]}),
        ("metadata", {"a": [1, 2]}, {"a": [2, 1]}),
    ],
)
def test_values_that_differ(name, desired, present):
    assert not setting(name).matches(desired, present)


@pytest.mark.parametrize("one", SETTINGS.values(), ids=SETTINGS)
def test_a_cleared_value_is_accepted_by_litellm(one):
    """Null in a JSON column breaks a key, and is refused for lists."""
    for field, value in one.to_request(one.merge(one.cleared_value, {}), new=False).items():
        if one.kind in ("list of str", "list") or field == "allowed_routes":
            assert value == []
        elif one.kind == "dict":
            assert value == {}
        else:
            assert value is None


def test_a_temporary_budget_is_sent_with_the_metadata_of_a_new_key():
    increase = SETTINGS["temp_budget_increase"]
    assert increase.to_request(5, new=True) == {"metadata": {"temp_budget_increase": 5}}
    assert increase.to_request(5, new=False) == {"temp_budget_increase": 5}
    assert increase.to_request(None, new=True) == increase.to_request(None, new=False) == {}


def test_a_change_takes_its_companion_along():
    both = {"auto_rotate": True, "rotation_interval": "30d"}
    assert with_companions({"rotation_interval": "30d"}, {**both, "tpm_limit": 1}, None) == both
    assert with_companions({"auto_rotate": None}, {"auto_rotate": None}, None) == {"auto_rotate": None}
    assert with_companions({"tpm_limit": 1}, {**both, "tpm_limit": 1}, None) == {"tpm_limit": 1}


def test_a_setting_in_the_metadata_is_cleared_by_sending_them_without_it():
    metadata = {"temp_budget_increase": 5, "temp_budget_expiry": "2030-01-01", "a": 1}
    changes = {"temp_budget_increase": None}
    assert with_companions(changes, changes, metadata) == {
        "temp_budget_increase": None,
        "metadata": {"temp_budget_expiry": "2030-01-01", "a": 1},
    }
    both = {"temp_budget_increase": None, "metadata": {"temp_budget_increase": 5, "a": 2}}
    assert with_companions(both, both, metadata)["metadata"] == {"a": 2}
    assert with_companions({"tpm_limit": None}, {"tpm_limit": None}, metadata) == {"tpm_limit": None}


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        ("2030-01-01T01:00:00+01:00", "2030-01-01T00:00:00"),
        ("9000-12-31T23:59:59Z", "9000-12-31T23:59:59"),
        ("9001-01-01", None),
        ("soon", None),
        (None, None),
        (5, None),
    ],
)
def test_an_instant_has_no_time_zone(value, instant):
    assert as_instant(value) == instant


def test_a_key_type_is_sent_as_routes_to_an_existing_key():
    key_type = SETTINGS["key_type"]
    assert key_type.to_request("read_only", new=True) == {"key_type": "read_only"}
    assert key_type.to_request("read_only", new=False) == {"allowed_routes": ["info_routes"]}


def test_metadata_are_merged_and_cleared_without_the_settings_in_them():
    metadata = SETTINGS["metadata"]
    assert metadata.merge({"a": 1}, {"a": 0, "b": 2, "tags": []}) == {"a": 1, "b": 2, "tags": []}
    assert metadata.merge(None, {"a": 0, "tags": ["x"]}) == {"tags": ["x"]}
    assert metadata.merge({"a": 1}, None) == {"a": 1}


# In litellm/proxy/_types.py of 1.108.7: LiteLLM_ManagementEndpoint_MetadataFields, the same with _Premium, and
# LiteLLM_Reserved_Metadata_Fields.
KEPT_BY_LITELLM = [
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
]
OURS = {name for name, one in SETTINGS.items() if one.in_metadata} | {LIFETIME_START, REPLACES}


@pytest.mark.parametrize("name", sorted({*KEPT_BY_LITELLM, "max_budget_alert_emails", *OURS}))
def test_clearing_metadata_keeps_what_litellm_and_this_collection_store_there(name):
    assert SETTINGS["metadata"].merge(None, {"a": 0, name: "value"}) == {name: "value"}


def test_object_permissions_are_cleared_part_by_part():
    permission = SETTINGS["object_permission"]
    present = {
        "object_permission_id": "x",
        "agents": [],
        "vector_stores": ["v"],
        "mcp_tool_permissions": {"a": ["b"]},
        "mcp_tool_search_enabled": True,
        "models": None,
    }
    emptied = {"vector_stores": [], "mcp_tool_permissions": {}, "mcp_tool_search_enabled": False}
    assert permission.merge({}, present) == emptied
    assert not permission.matches(emptied, present)
    cleared = {**present, **emptied}
    assert permission.matches(permission.merge({}, cleared), cleared)
    assert permission.merge({"agents": ["a"]}, present) == {"agents": ["a"]}


@pytest.mark.parametrize(
    ("kind", "values", "others"),
    [
        ("str", ["", "a"], [1, ["a"]]),
        ("int", [0, -5, 5.0, 10**18 - 1], ["5", 10**18, -(10**18), math.inf, math.nan, 2**2000]),
        ("float", [0, -0.5, 1e17], ["0.5", 1e18, -1e18, -math.inf, math.nan]),
        ("bool", [True, False], [0, "true"]),
        ("dict", [{}, {"a": 1}], [[], "{}"]),
        ("list of str", [[], ["a", "b"]], [["a", 1], "a", {}]),
        ("list", [[], [{}, {"a": 1}]], [["a"], "a", {}, [{}, 1]]),
        ("raw", ["2030-01-01", "2030-01-01T00:00:00Z"], ["soon", 5, "9001-01-01"]),
    ],
)
def test_the_values_of_a_kind(kind, values, others):
    assert [value for value in [None, *values, *others] if fits(value, kind)] == [None, *values]
