# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of `litellm_key` become desired keys, and the options of one key override the common ones."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.key_options import coerce_key_options
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import Duration, parse_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey, Lifetime
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.request import (
    TEMPORARY_BUDGET,
    desired_key,
    desired_keys,
    override_options,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.rotation import Rotation
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import (
    SecretVersions,
    derive,
    given,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import SETTINGS

SECRET = "sk-the-secret-that-i-chose"
SEED = "a seed of more than 32 characters, as required"
ID = "0123456789abcdef" * 4


def desired(**arguments: Any) -> DesiredKey:
    return desired_key(coerce_key_options(arguments), "sk-master-key")


def error_of(**arguments: Any) -> str:
    with pytest.raises(OptionError) as error:
        desired(**arguments)
    return str(error.value)


# Identity


@pytest.mark.parametrize(
    ("arguments", "alias", "key_id", "guid"),
    [
        ({"guid": "abc"}, "virtkey-abc", None, "abc"),
        ({"guid": "abc", "alias_prefix": "lab-"}, "lab-abc", None, "abc"),
        ({"key_alias": "my-own"}, "my-own", None, None),
        ({"key_id": ID}, None, ID, None),
    ],
)
def test_a_key_is_named_by_guid_alias_or_id(
    arguments: dict[str, Any], alias: str | None, key_id: str | None, guid: str | None
) -> None:
    key = desired(**arguments)
    assert (key.alias, key.key_id, key.guid) == (alias, key_id, guid)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({}, "none is given"),
        ({"guid": "abc", "key_id": ID}, "guid and key_id are given"),
        ({"guid": "abc", "key_alias": "a", "key_id": ID}, "guid and key_alias and key_id are given"),
    ],
)
def test_exactly_one_option_names_the_key(arguments: dict[str, Any], found: str) -> None:
    assert error_of(**arguments) == f"exactly one of guid, key_alias and key_id must name the key, but {found}"


@pytest.mark.parametrize(
    "arguments",
    [
        {"key": SECRET, "key_seed": SEED},
        {"key_type": "default", "allowed_routes": []},
        {"soft_budget": 0, "budget_id": "b"},
    ],
    ids=" ".join,
)
def test_options_that_exclude_each_other(arguments: dict[str, Any]) -> None:
    assert error_of(guid="abc", **arguments) == f"{' and '.join(arguments)} cannot both be given"
    for name in arguments:  # an empty option is not given
        desired(guid="abc", **{**arguments, name: None})


def test_a_key_has_these_defaults() -> None:
    assert desired(guid="abc") == DesiredKey("virtkey-abc", guid="abc")


def test_the_options_of_a_key_are_passed_on() -> None:
    key = desired(
        guid="abc",
        state="absent",
        on_unknown_key="fail",
        on_missing_key="recreate",
        regenerate="always",
        on_create={"rpm_limit": 5},
    )
    assert (key.present, key.secret_required, key.on_missing, key.regenerate) == (False, True, "recreate", "always")
    assert key.creation_settings == {"rpm_limit": 5}


def test_an_error_names_the_position_of_the_key() -> None:
    options = [coerce_key_options({"guid": "a"}), coerce_key_options({"guid": "b", "max_budget": -1})]
    with pytest.raises(
        OptionError, match=r"^virtual_keys\[1\]: max_budget is -1; it must be at least 0 and less than 1e\+18$"
    ):
        desired_keys(options, None, in_list=True)
    with pytest.raises(OptionError, match=r"^max_budget is -1; it must be at least 0 and less than 1e\+18$"):
        desired_keys(options[1:], None, in_list=False)


def test_a_key_that_is_named_twice_is_an_error() -> None:
    options = [coerce_key_options(one) for one in ({"guid": "a"}, {"guid": "b"}, {"key_alias": "virtkey-a"})]
    with pytest.raises(OptionError, match=r"^virtual_keys names virtkey-a more than once$"):
        desired_keys(options, None, in_list=True)


@pytest.mark.parametrize("own", [{"key": SECRET}, {"key": SECRET, "key_version": 2}])
def test_one_secret_for_several_keys_is_an_error(own: dict[str, Any]) -> None:
    options = [coerce_key_options({"guid": guid, **own}) for guid in "ab"]
    with pytest.raises(OptionError, match=r"^Several virtual keys have the same secret \(key\); ") as error:
        desired_keys(options, None, in_list=True)
    assert SECRET not in str(error.value)
    absent = coerce_key_options({"guid": "b", **own, "state": "absent"})
    assert len(desired_keys([options[0], absent], None, in_list=True)) == 2


# Secrets


@pytest.mark.parametrize(
    ("arguments", "secret"),
    [
        ({}, None),
        ({"key": ""}, None),
        ({"key": SECRET}, given(SECRET)),
        ({"key_seed": SEED}, derive(SEED, "virtkey-abc")),
        ({"key_seed": SEED, "key_version": 2}, derive(SEED, "virtkey-abc", 2)),
        ({"key": SECRET, "key_seed": ""}, given(SECRET)),
    ],
)
def test_the_desired_secret(arguments: dict[str, Any], secret: Any) -> None:
    assert desired(guid="abc", **arguments).secret == secret


def test_later_secrets_are_known_where_a_key_may_be_replaced() -> None:
    arguments = {"guid": "abc", "key_seed": SEED, "key_version": 2}
    ids = desired(**arguments, regenerate="always").later_ids
    assert {derive(SEED, "virtkey-abc", version).key_id: version for version in (3, 9)}.keys() <= ids
    assert not {derive(SEED, "virtkey-abc", version).key_id for version in (1, 2)} & ids
    assert desired(**arguments).later_ids == desired(guid="abc", regenerate="always").later_ids == frozenset()


@pytest.mark.parametrize(
    ("arguments", "rotation"),
    [
        ({}, None),
        ({"rotate": {}}, None),
        ({"rotate": {"every": "30d"}}, Rotation(Duration(30, "d"), Duration(24, "h"))),
        ({"rotate": "every=30d overlap=2h"}, Rotation(Duration(30, "d"), Duration(2, "h"))),
        (
            {"rotate": {"every": "30d"}, "regenerate": "if_unrecoverable"},
            Rotation(Duration(30, "d"), Duration(24, "h")),
        ),
    ],
)
def test_the_rotation(arguments: dict[str, Any], rotation: Any) -> None:
    assert desired(guid="abc", **arguments).rotate == rotation


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"key_id": ID}, "rotate needs guid or key_alias: it creates another key, with another key_id"),
        (
            {"guid": "abc", "key": SECRET},
            "rotate and key cannot both be given: each new secret differs from the last one",
        ),
        (
            {"guid": "abc", "regenerate": "always"},
            "rotate and regenerate: always cannot both be given: one replaces only keys that are old",
        ),
        *(
            (
                {"guid": "abc", **arguments},
                "rotate and auto_rotate: true cannot both be given: LiteLLM does not return its new secrets",
            )
            for auto_rotate in [{"auto_rotate": True, "rotation_interval": "7d"}]
            for arguments in (auto_rotate, {"on_create": auto_rotate})
        ),
    ],
)
def test_options_that_contradict_a_rotation(arguments: dict[str, Any], message: str) -> None:
    assert error_of(rotate={"every": "30d"}, **arguments) == message
    desired(rotate={}, **arguments)


def test_a_rotation_allows_that_litellm_does_not_rotate() -> None:
    assert desired(guid="abc", rotate={"every": "30d"}, auto_rotate=False).settings == {"auto_rotate": False}


def test_later_versions_of_the_secret_are_looked_for_where_a_key_may_be_rotated() -> None:
    arguments = {"guid": "abc", "key_seed": SEED, "key_version": 2}
    assert desired(**arguments).versions == SecretVersions(SEED, "virtkey-abc", 2, 1)
    assert desired(**arguments, rotate={"every": "30d"}).versions == SecretVersions(SEED, "virtkey-abc", 2, 51)
    assert desired(guid="abc", key=SECRET).versions is desired(guid="abc").versions is None


def test_the_seed_must_differ_from_the_master_key() -> None:
    options = coerce_key_options({"guid": "abc", "key_seed": SEED})
    with pytest.raises(OptionError, match="key_seed must not be the master key"):
        desired_key(options, SEED)


# Settings


def test_settings_that_are_not_given_are_left_alone() -> None:
    given_ones = {"max_budget": 0, "models": [], "user_id": "", "tags": None, "blocked": False}
    assert desired(guid="abc", **given_ones).settings == {"max_budget": 0.0, "models": [], "blocked": False}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_can_be_cleared(name: str) -> None:
    settings = desired(guid="abc", unset=[name]).settings
    assert settings[name] == SETTINGS[name].cleared_value
    assert set(settings) == ({*TEMPORARY_BUDGET} if name in TEMPORARY_BUDGET else {name})


def test_the_expiry_can_be_removed() -> None:
    key = desired(guid="abc", unset=["expires_at"])
    assert (key.settings, key.lifetime) == ({}, Lifetime(None))
    assert error_of(guid="abc", unset=["expires_at"], runtime=1, duration="7d") == (
        "runtime is given, but expires_at is in unset"
    )


def test_further_fields_are_settings() -> None:
    assert desired(guid="abc", extra_params={"tpd_limit": 9, "send_invite_email": True}, rpm_limit=1).settings == {
        "tpd_limit": 9,
        "send_invite_email": True,
        "rpm_limit": 1,
    }


@pytest.mark.parametrize("name", ["duration", "expires", "token", "key_name", "aliases", "models", "guid"])
def test_fields_that_have_an_option_or_identify_the_key_are_no_further_fields(name: str) -> None:
    assert error_of(guid="abc", extra_params={"tpd_limit": 9, name: "x"}).startswith("extra_params ")


@pytest.mark.parametrize("name", ["max_budget", "rpm_limit"])
def test_numbers_have_limits(name: str) -> None:
    for value in (0, 10**18 - 1024):
        assert desired(guid="abc", **{name: value}).settings == {name: value}
    for value in (-1, 10**18):
        assert error_of(guid="abc", **{name: value}) == (
            f"{name} is {value:g}; it must be at least 0 and less than 1e+18"
        )


def test_a_budget_duration_is_written_in_one_unit() -> None:
    assert desired(guid="abc", budget_duration="7 days").settings == {"budget_duration": "7d"}


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (
            {
                "budget_limits": [
                    {"budget_duration": "7 days", "max_budget": 5},
                    {"budget_duration": 24, "max_budget": 0},
                ]
            },
            {
                "budget_limits": [
                    {"budget_duration": "7d", "max_budget": 5},
                    {"budget_duration": "24h", "max_budget": 0},
                ]
            },
        ),
        ({"budget_limits": []}, {"budget_limits": []}),
        *(
            (
                {"budget_limits": [{"budget_duration": "1d", "max_budget": text}]},
                {"budget_limits": [{"budget_duration": "1d", "max_budget": number}]},
            )
            for text, number in (("2", 2), ("2.0", 2.0), (" 1e1 ", 10.0), ("0", 0))
        ),
        ({"auto_rotate": False}, {"auto_rotate": False}),
        ({"auto_rotate": True, "rotation_interval": "30 days"}, {"auto_rotate": True, "rotation_interval": "30d"}),
        (
            {"temp_budget_increase": 0, "temp_budget_expiry": "2030-01-01T01:00:00+01:00"},
            {"temp_budget_increase": 0.0, "temp_budget_expiry": "2030-01-01T00:00:00"},
        ),
        (
            {"temp_budget_increase": 5, "temp_budget_expiry": "9000-12-31"},
            {"temp_budget_increase": 5.0, "temp_budget_expiry": "9000-12-31T00:00:00"},
        ),
        ({"unset": ["auto_rotate"]}, {"auto_rotate": None}),
        ({"auto_rotate": False, "unset": ["rotation_interval"]}, {"auto_rotate": False, "rotation_interval": None}),
        (
            {"model_rpm_limit": {"a": "2", "b": 3}, "model_tpm_limit": {"a": " 1000 "}},
            {"model_rpm_limit": {"a": 2, "b": 3}, "model_tpm_limit": {"a": 1000}},
        ),
        (
            {"router_settings": {"num_retries": "2", "timeout": "5", "cooldown_time": "1.5", "retry_after": None}},
            {"router_settings": {"num_retries": 2, "timeout": 5, "cooldown_time": 1.5, "retry_after": None}},
        ),
        (
            {"router_settings": {"enable_tag_filtering": "True", "fallback_on_unsupported_params": False}},
            {"router_settings": {"enable_tag_filtering": True, "fallback_on_unsupported_params": False}},
        ),
        (
            {
                "router_settings": {
                    "retry_policy": {"TimeoutErrorRetries": "3"},
                    "model_group_retry_policy": {"a": {"TimeoutErrorRetries": "4"}, "b": None},
                    "routing_strategy_args": {"ttl": "10"},
                    "fallbacks": [{"4": ["5"]}],
                }
            },
            {
                "router_settings": {
                    "retry_policy": {"TimeoutErrorRetries": 3},
                    "model_group_retry_policy": {"a": {"TimeoutErrorRetries": 4}, "b": None},
                    "routing_strategy_args": {"ttl": "10"},
                    "fallbacks": [{"4": ["5"]}],
                }
            },
        ),
        (
            {"object_permission": {"mcp_tool_search_enabled": "True", "mcp_servers": ["true"]}},
            {"object_permission": {"mcp_tool_search_enabled": True, "mcp_servers": ["true"]}},
        ),
        (
            {"budget_limits": '[{"budget_duration": "1d", "max_budget": 5}]'},
            {"budget_limits": [{"budget_duration": "1d", "max_budget": 5}]},
        ),
    ],
)
def test_settings_are_sent_as_litellm_reads_them(options: dict[str, Any], settings: dict[str, Any]) -> None:
    assert desired(guid="abc", **options).settings == settings


A_WINDOW = {"budget_duration": "1d", "max_budget": 5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(
            (
                {"budget_limits": [A_WINDOW, one]},
                f"budget_limits[1] must be a dictionary like {{budget_duration: 1d, max_budget: 5}}, but is {one!r}",
            )
            for one in ("1d", {}, {"max_budget": 1}, {"budget_duration": "1d"}, {**A_WINDOW, "max_budget": None})
        ),
        *(
            (
                {"budget_limits": [A_WINDOW, {**one, name: 1}]},
                f"budget_limits[1] contains '{name}'; it can contain budget_duration and max_budget",
            )
            for name, one in (("reset_at", A_WINDOW), ("budget_limit", {}), (5, A_WINDOW))
        ),
        *(
            (
                {"budget_limits": [{**A_WINDOW, "max_budget": amount}]},
                f"budget_limits[0]: max_budget is {amount!r}; it must be a number of at least 0 and less than 1e+18",
            )
            for amount in (-1, 1e18, "-5", "five", "nan", "", True, [5])
        ),
        *(
            (
                {"router_settings": {name: amount}},
                f"router_settings: {name} is {amount!r}; it must be {kind} of at least 0 and less than 1e+18",
            )
            for name, kind in (("num_retries", "a whole number"), ("timeout", "a number"))
            for amount in (-1, "-1", 1e18)
        ),
        (
            {"budget_limits": [{**A_WINDOW, "max_budget": float("nan")}]},
            "budget_limits contains a value that cannot be",
        ),
        (
            {"budget_limits": [A_WINDOW, {**A_WINDOW, "budget_duration": "soon"}]},
            "budget_limits[1].budget_duration: 'soon' is not a duration",
        ),
        ({"budget_duration": "soon"}, "budget_duration: 'soon' is not a duration"),
        ({"on_create": {"budget_duration": "soon"}}, "on_create: budget_duration: 'soon' is not a duration"),
        *(
            ({name: values}, f"{name} contains an empty name")
            for name in ("access_group_ids", "enforced_params", "tags")
            for values in ([""], ["a", " "])
        ),
        *(
            (
                {name: {"a": amount}},
                f"{name}: a is {amount!r}; it must be a whole number of at least 0 and less than 1e+18",
            )
            for name in ("model_rpm_limit", "model_tpm_limit")
            for amount in ("x", 1.5, -1, True)
        ),
        (
            {"router_settings": {"num_retries": "many"}},
            "router_settings: num_retries is 'many'; it must be a whole",
        ),
        ({"router_settings": {"num_retries": 2.5}}, "router_settings: num_retries is 2.5; it must be a whole number"),
        ({"router_settings": {"num_retries": True}}, "router_settings: num_retries is True; it must be a whole number"),
        (
            {"object_permission": {"mcp_tool_search_enabled": "maybe"}},
            "object_permission: mcp_tool_search_enabled is 'maybe'; it must be true or false",
        ),
        ({"router_settings": {"timeout": "soon"}}, "router_settings: timeout is 'soon'; it must be a number"),
        ({"router_settings": {"timeout": "nan"}}, "router_settings: timeout is 'nan'; it must be a number"),
        ({"router_settings": {"timeout": [5]}}, "router_settings: timeout is [5]; it must be a number"),
        (
            {"router_settings": {"enable_tag_filtering": 1}},
            "router_settings: enable_tag_filtering is 1; it must be true or false",
        ),
        (
            {"router_settings": {"retry_policy": {"TimeoutErrorRetries": "x"}}},
            "router_settings: TimeoutErrorRetries is 'x'; it must be a whole number",
        ),
        (
            {"router_settings": {"model_group_retry_policy": {"a": {"TimeoutErrorRetries": "x"}}}},
            "router_settings: TimeoutErrorRetries is 'x'; it must be a whole number",
        ),
        (
            {"budget_limits": [A_WINDOW, {"budget_duration": "1 day", "max_budget": 6}]},
            "budget_limits names 1d more than once",
        ),
        ({"auto_rotate": True}, "auto_rotate needs rotation_interval: LiteLLM stores them together only"),
        ({"rotation_interval": "30d"}, "rotation_interval needs auto_rotate: LiteLLM stores them together only"),
        (
            {"auto_rotate": False, "rotation_interval": "30d"},
            "rotation_interval is given, but auto_rotate is false; remove one of them, or set auto_rotate to true",
        ),
        (
            {"auto_rotate": True, "rotation_interval": "0d"},
            "rotation_interval: '0d' is not a duration: it must",
        ),
        ({"temp_budget_increase": 0}, "temp_budget_increase needs temp_budget_expiry: LiteLLM"),
        ({"temp_budget_expiry": "2030-01-01"}, "temp_budget_expiry needs temp_budget_increase: LiteLLM"),
        (
            {"temp_budget_increase": -1, "temp_budget_expiry": "2030-01-01"},
            "temp_budget_increase is -1; it must be at least 0 and less than",
        ),
        (
            {"temp_budget_increase": 1, "temp_budget_expiry": "soon"},
            "temp_budget_expiry: 'soon' is not an instant",
        ),
        (
            {"temp_budget_increase": 1, "temp_budget_expiry": "9001-01-01"},
            "temp_budget_expiry is '9001-01-01'; the year must be 9000 or earlier",
        ),
        ({"on_create": {"auto_rotate": True}}, "on_create: auto_rotate needs rotation_interval"),
        ({"on_create": {"budget_limits": [{}]}}, "on_create: budget_limits[0] must be a dictionary"),
        ({"extra_params": {"agent_id": "a"}}, "extra_params contains 'agent_id', which is an option"),
    ],
)
def test_settings_that_litellm_would_ignore_or_misread_are_errors(options: dict[str, Any], message: str) -> None:
    assert message in error_of(guid="abc", **options)


# Lifetimes


WEEK = Duration(7, "d")


@pytest.mark.parametrize(
    ("arguments", "lifetime"),
    [
        ({}, None),
        ({"duration": "7d"}, Lifetime(WEEK)),
        ({"runtime": 168}, Lifetime(Duration(168, "h"))),
        ({"runtime": "7d", "duration": "1d"}, Lifetime(WEEK)),
        ({"runtime": "", "duration": "7d"}, Lifetime(WEEK)),
        ({"expires_at": "2099-01-01", "runtime": 1, "duration": "1d"}, Lifetime(parse_instant("2099-01-01"))),
        ({"duration": "7d", "duration_from": "now"}, Lifetime(WEEK, from_now=True)),
        ({"duration": "7d", "shorten": False}, Lifetime(WEEK, shorten=False)),
    ],
)
def test_the_first_given_lifetime_counts(arguments: dict[str, Any], lifetime: Lifetime | None) -> None:
    assert desired(guid="abc", **arguments).lifetime == lifetime


def test_an_expiry_has_a_last_year() -> None:
    assert desired(guid="abc", expires_at="9000-12-31").lifetime == Lifetime(parse_instant("9000-12-31"))
    assert error_of(guid="abc", expires_at="9001-01-01") == (
        "expires_at is '9001-01-01'; the year must be 9000 or earlier"
    )


@pytest.mark.parametrize("name", ["duration", "runtime"])
def test_an_error_names_the_option_of_the_lifetime(name: str) -> None:
    assert error_of(guid="abc", **{name: "soon"}).startswith(f"{name}: 'soon' is not a duration: ")
    assert error_of(guid="abc", expires_at="soon").startswith("expires_at: 'soon' is not an instant: ")


def test_a_duration_needs_a_unit_and_a_runtime_is_in_hours() -> None:
    assert error_of(guid="abc", duration=7) == "duration: 7 has no unit; write 7h for hours or 7d for days"
    assert desired(guid="abc", runtime=7).lifetime == Lifetime(Duration(7, "h"))


# Options of one key that override the common ones


@pytest.mark.parametrize(
    ("common", "own", "expected"),
    [
        ({"max_budget": 1}, {"guid": "a"}, {"max_budget": 1, "guid": "a"}),
        ({"max_budget": 1}, {"max_budget": 2}, {"max_budget": 2}),
        ({"max_budget": 1}, {"max_budget": 0}, {"max_budget": 0}),
        # An empty option is not given.
        ({"max_budget": 1, "user_id": "u"}, {"max_budget": None, "user_id": ""}, {"max_budget": 1, "user_id": "u"}),
        # Other options do not.
        ({"duration": "7d", "key": SECRET}, {"rpm_limit": 1}, {"duration": "7d", "key": SECRET, "rpm_limit": 1}),
        ({"unset": ["expires_at"]}, {"rpm_limit": 1}, {"unset": ["expires_at"], "rpm_limit": 1}),
        # An option overrides its alternatives, too.
        ({"expires_at": "2099-01-01"}, {"duration": "7d"}, {"duration": "7d"}),
        ({"runtime": 5, "duration": "1d"}, {"expires_at": "2099-01-01"}, {"expires_at": "2099-01-01"}),
        ({"key_seed": SEED}, {"key": SECRET}, {"key": SECRET}),
        ({"key_type": "default"}, {"allowed_routes": []}, {"allowed_routes": []}),
        ({"soft_budget": 1}, {"budget_id": "b"}, {"budget_id": "b"}),
        # Clearing overrides a common value, and an own value overrides clearing.
        ({"models": ["m"], "rpm_limit": 1}, {"unset": ["models"]}, {"rpm_limit": 1, "unset": ["models"]}),
        ({"duration": "7d"}, {"unset": ["expires_at"]}, {"unset": ["expires_at"]}),
        ({"unset": ["models", "tags"]}, {"models": ["m"]}, {"unset": ["tags"], "models": ["m"]}),
        ({"unset": ["expires_at"]}, {"duration": "7d"}, {"unset": [], "duration": "7d"}),
        # An invalid type is passed on, to be reported later.
        ({"unset": "models"}, {"models": ["m"]}, {"unset": "models", "models": ["m"]}),
    ],
)
def test_own_options_override_common_ones(
    common: dict[str, Any], own: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert override_options(common, own) == expected


def test_a_key_without_the_rotation_of_the_others_is_named_until_its_interval_is_unset() -> None:
    common = {"auto_rotate": True, "rotation_interval": "30d"}
    own: list[dict[str, Any]] = [{"guid": "a"}, {"guid": "b", "auto_rotate": False}]
    with pytest.raises(
        OptionError, match=r"^virtual_keys\[1\]: rotation_interval is given, but auto_rotate is false; "
    ):
        desired_keys([coerce_key_options(override_options(common, one)) for one in own], None, in_list=True)
    own[1]["unset"] = ["rotation_interval"]
    rotated, other = desired_keys(
        [coerce_key_options(override_options(common, one)) for one in own], None, in_list=True
    )
    assert rotated.settings == common
    assert other.settings == {"auto_rotate": False, "rotation_interval": None}
