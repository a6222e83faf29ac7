# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a key is: its names, its settings in LiteLLM's rows, and how each is compared, sent and taken off."""

from __future__ import annotations

from datetime import datetime

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import (
    DesiredKey,
    ObservedKey,
    checked_alias,
    checked_id,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import SETTINGS, setting


@pytest.mark.parametrize("alias", ["a", "virtkey-abc", "a b", "ünïcödé", "a/b@c.d", "a..b", "x" * 255])
def test_an_alias(alias):
    assert checked_alias(alias) == alias


@pytest.mark.parametrize(
    ("alias", "reason"),
    [
        ("", "key_alias is empty; it must name the key"),
        ("  ", "key_alias is empty; it must name the key"),
        (" a", "key_alias ' a' begins or ends with a blank"),
        ("a\n", "key_alias 'a\\n' begins or ends with a blank"),
        ("a\tb", "key_alias 'a\\tb' contains a character that cannot be printed"),
        ("a\0b", "key_alias 'a\\x00b' contains a character that cannot be printed"),
        ("..", "key_alias '..' has '..' between slashes, which LiteLLM refuses"),
        ("a/../b", "key_alias 'a/../b' has '..' between slashes, which LiteLLM refuses"),
        ("x" * 300, f"key_alias '{'x' * 57}...' makes an alias of 300 characters; 255 are allowed"),
    ],
)
def test_what_is_no_alias(alias, reason):
    with pytest.raises(OptionError) as error:
        checked_alias(alias)
    assert str(error.value) == reason


@pytest.mark.parametrize(
    "key_id", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "sk-a-secret-by-mistake", "0" * 64 + "\n"]
)
def test_what_is_no_id_is_not_quoted(key_id):
    with pytest.raises(OptionError) as error:
        checked_id(key_id)
    assert str(error.value) == "key_id must be 64 hexadecimal digits: the SHA-256 of the secret, not the secret"
    assert checked_id("0123456789abcdef" * 4)


@pytest.mark.parametrize(
    ("name", "row", "value"),
    [
        ("models", {"models": ["a"]}, ["a"]),
        ("model_aliases", {"aliases": {"a": "b"}}, {"a": "b"}),
        ("tags", {"metadata": {"tags": ["a"]}}, ["a"]),
        ("tags", {"metadata": None}, None),
        ("model_rpm_limit", {"metadata": {"model_rpm_limit": {"a": 1}}}, {"a": 1}),
        ("organization_id", {"org_id": "o"}, "o"),  # of /key/list
        ("organization_id", {"organization_id": "o"}, "o"),  # of /key/info
        ("soft_budget", {"soft_budget": None, "litellm_budget_table": {"soft_budget": 5.0}}, 5.0),
        ("soft_budget", {"litellm_budget_table": None}, None),
        ("key_type", {"allowed_routes": []}, "default"),
        ("key_type", {}, "default"),
        ("key_type", {"allowed_routes": ["llm_api_routes"]}, "llm_api"),
        ("key_type", {"allowed_routes": ["/v1/models"]}, None),
        ("a_field", {"a_field": 0}, 0),
        ("a_field", {"metadata": {"a_field": "x"}}, "x"),
        ("a_field", {}, None),
    ],
)
def test_where_a_setting_is_read(name, row, value):
    assert setting(name).read(row) == value


@pytest.mark.parametrize(
    ("name", "wanted", "present"),
    [
        ("models", ["a", "b"], ["b", "a"]),
        ("models", [], None),
        ("model_aliases", {}, None),
        ("blocked", False, None),
        ("max_budget", 5, 5.0),
        ("object_permission", {"mcp_servers": ["a", "b"]}, {"mcp_servers": ["b", "a"], "vector_stores": ["c"]}),
        ("object_permission", {"mcp_servers": []}, {"mcp_servers": None, "object_permission_id": "x"}),
        ("object_permission", {"mcp_servers": []}, None),
        ("object_permission", {"mcp_servers": []}, {"mcp_servers": [], "vector_stores": ["c"]}),
        ("object_permission", {}, None),
        (
            "object_permission",
            {},
            {"object_permission_id": "x", "agents": [], "mcp_tool_permissions": None, "on": False},
        ),
        ("router_settings", {"num_retries": 3}, {"num_retries": 3, "timeout": None}),
        ("router_settings", {"fallbacks": [{"a": ["b"]}]}, {"fallbacks": [{"a": ["b"], "c": 1}], "timeout": None}),
        ("router_settings", {}, {"timeout": None}),
        ("budget_limits", [{"max_budget": 5}], [{"max_budget": 5.0, "reset_at": "2026-12-01T00:00:00Z"}]),
        ("access_group_ids", ["a", "b"], ["b", "a"]),
        ("access_group_ids", [], None),
    ],
)
def test_what_is_the_same(name, desired, present):
    assert setting(name).same(desired, present)


@pytest.mark.parametrize(
    ("name", "wanted", "present"),
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
        ("budget_limits", [{"max_budget": 5}], [{"max_budget": 6, "reset_at": "2026-12-01T00:00:00Z"}]),
        ("budget_limits", [{"max_budget": 5}], [{"max_budget": 5}, {"max_budget": 6}]),
        ("budget_limits", [{"max_budget": 5}, {"max_budget": 6}], [{"max_budget": 6}, {"max_budget": 5}]),
        ("budget_limits", [{"max_budget": 5}], None),
        ("budget_limits", [], [{"max_budget": 5}]),
        ("access_group_ids", ["a"], ["a", "b"]),
        ("a_field", {"a": 1}, "a"),
        ("a_field", False, None),
        ("a_field", 1, None),
    ],
)
def test_what_differs(name, desired, present):
    assert not setting(name).same(desired, present)


@pytest.mark.parametrize("known", SETTINGS.values(), ids=SETTINGS)
def test_nothing_is_what_litellm_takes_for_nothing(known):
    """Null breaks a key in LiteLLM's JSON columns, and is refused for its lists."""
    for field, value in known.sent(known.combined(known.nothing, {}), new=False).items():
        if field in ("models", "allowed_routes", "tags", "guardrails"):
            assert value == []
        elif known.kind == "dict":
            assert value == {}
        else:
            assert value is None


def test_how_a_key_type_is_sent():
    key_type = SETTINGS["key_type"]
    assert key_type.sent("read_only", new=True) == {"key_type": "read_only"}
    assert key_type.sent("read_only", new=False) == {"allowed_routes": ["info_routes"]}


def test_metadata_are_merged_and_taken_off_without_what_litellm_keeps_there():
    metadata = SETTINGS["metadata"]
    assert metadata.combined({"a": 1}, {"a": 0, "b": 2, "tags": []}) == {"a": 1, "b": 2, "tags": []}
    assert metadata.combined(None, {"a": 0, "tags": ["x"]}) == {"tags": ["x"]}
    assert metadata.combined({"a": 1}, None) == {"a": 1}


def test_permissions_are_taken_off_part_by_part():
    permission = SETTINGS["object_permission"]
    present = {
        "object_permission_id": "x",
        "agents": [],
        "vector_stores": ["v"],
        "mcp_tool_permissions": {"a": ["b"]},
        "mcp_tool_search_enabled": True,
        "models": None,
    }
    nothing = {"vector_stores": [], "mcp_tool_permissions": {}, "mcp_tool_search_enabled": False}
    assert permission.combined({}, present) == nothing
    assert not permission.same(nothing, present)
    taken_off = {**present, **nothing}
    assert permission.same(permission.combined({}, taken_off), taken_off)
    assert permission.combined({"agents": ["a"]}, present) == {"agents": ["a"]}


def test_a_row_as_a_key():
    row = {
        "token": "ab" * 32,
        "key_alias": "virtkey-abc",
        "key_name": "sk-...1234",
        "created_at": "2026-11-23T08:00:00.123456Z",
        "expires": "2026-11-30T08:00:00+00:00",
        "spend": 0.5,
        "models": ["a"],
        "tpd_limit": 7,
    }
    key = ObservedKey.from_row(row)
    assert (key.key_id, key.alias, key.name, key.spend) == ("ab" * 32, "virtkey-abc", "sk-...1234", 0.5)
    assert (key.created_at, key.expires) == (
        datetime.fromisoformat("2026-11-23T08:00:00.123456+00:00"),
        datetime.fromisoformat("2026-11-30T08:00:00+00:00"),
    )
    assert (key.value("models"), key.value("tpd_limit"), key.value("nothing")) == (["a"], 7, None)


def test_a_key_has_a_name_for_people():
    assert DesiredKey("virtkey-abc").name == "virtkey-abc"
    assert DesiredKey(None, key_id="0123456789abcdef" * 4).name == "0123456789ab…"
