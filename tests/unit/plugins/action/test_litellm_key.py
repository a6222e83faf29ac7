# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `litellm_key` as Ansible loads and runs it: invalid and valid options, its result, and saved secrets."""

from __future__ import annotations

import importlib
import json
from datetime import datetime, timedelta

import pytest
import yaml
from ansible import context
from ansible.utils.display import Display
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import derive
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import REPLACES
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY, Fault

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core before 2.19 trusts every string
    trust_as_template = str

NAME = "rhpds.litellm_virtual_keys.litellm_key"
SECRET = "sk-the-secret-that-i-chose"
SEED = "a seed of more than 32 characters, as required"
ALIAS = "virtkey-abc"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(reconcile, "_pause", lambda attempt: None)


@pytest.fixture
def run(run_action):
    def run_task(check_mode=False, diff=False, no_log=False, variables=None, **arguments):
        return run_action(NAME, arguments, check_mode=check_mode, diff=diff, no_log=no_log, variables=variables)

    return run_task


@pytest.fixture
def error_of(run, proxy):
    """Return the message of a failure before any request."""

    def error(**arguments):
        result = run(**arguments)
        assert (result["failed"], result["changed"], proxy.requests) == (True, False, [])
        assert "\n" not in result["msg"]
        assert "virtual_keys" not in result
        return result["msg"]

    return error


# Invalid options

INVALID_DURATIONS = [
    "1y",
    "-1",
    -1,
    "0s",
    0,
    "soon",
    "0.5s",
    "1.5mo",
    "7 dogs",
    "1d12",
    "inf",
    float("nan"),
    True,
    ["7d"],
]


@pytest.mark.parametrize("name", ["duration", "runtime"])
@pytest.mark.parametrize("value", INVALID_DURATIONS, ids=map(repr, INVALID_DURATIONS))
def test_an_invalid_duration_is_quoted(error_of, name, value):
    assert repr(value) in error_of(guid="abc", **{name: value})


@pytest.mark.parametrize("value", ["tomorrow", "2026-02-30", "2026-13-01T00:00:00Z", 1767225600, "7d"])
def test_an_invalid_instant_is_quoted(error_of, value):
    assert repr(value) in error_of(guid="abc", expires_at=value)


INVALID_ALIASES = ["", " ", "a\tb", "a\x7f", "a\n", "a/../b", "x" * 300]


@pytest.mark.parametrize("name", ["guid", "key_alias"])
@pytest.mark.parametrize("value", INVALID_ALIASES, ids=map(repr, INVALID_ALIASES))
def test_an_invalid_alias_is_refused(error_of, name, value):
    message = error_of(**{name: value})
    assert name in message
    assert len(message) < 250


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        # Which key
        ({}, ["exactly one of guid, key_alias and key_id", "none is given"]),
        (
            {"guid": "a", "key_alias": "b"},
            ["exactly one of guid, key_alias and key_id", "guid and key_alias are given"],
        ),
        ({"guid": "a", "key_id": "0" * 64}, ["guid and key_id are given"]),
        ({"key_id": "0" * 63}, ["64 hexadecimal digits"]),
        ({"guid": ["a"]}, ["guid must be text", "['a']"]),
        ({"guid": "a", "guids": "b"}, ["no option 'guids'", "did you mean 'guid'?"]),
        ({"guid": "a", "wibble": 1}, ["no option 'wibble'", "its options are access_group_ids"]),
        ({"guid": "a", "keys": []}, ["no option 'keys'"]),
        ({"guid": "a", "virtual_keys": [{"guid": "b"}]}, ["guid and virtual_keys both name keys"]),
        # Choices and types
        ({"guid": "a", "state": "gone"}, ["state must be one of present, absent", "'gone'"]),
        ({"guid": "a", "regenerate": True}, ["regenerate must be text", "True"]),
        ({"guid": "a", "regenerate": "sometimes"}, ["'sometimes'"]),
        ({"guid": "a", "key_type": "admin"}, ["key_type must be one of default, llm_api", "'admin'"]),
        ({"guid": "a", "on_unknown_models": "ask"}, ["'ask'"]),
        ({"guid": "a", "duration_from": "birth"}, ["creation, now", "'birth'"]),
        ({"guid": "a", "models": "[gpt-4o, gpt-5]"}, ["models must be a list", "'[gpt-4o, gpt-5]'"]),
        ({"guid": "a", "models": [{"a": 1}]}, ["models must be a list"]),
        ({"guid": "a", "tags": 7}, ["tags must be a list", "7"]),
        ({"guid": "a", "metadata": "a"}, ["metadata must be a dictionary", "'a'"]),
        ({"guid": "a", "metadata": ["a"]}, ["metadata must be a dictionary", "['a']"]),
        ({"guid": "a", "blocked": "perhaps"}, ["blocked must be true or false", "'perhaps'"]),
        ({"guid": "a", "shorten": 7}, ["shorten must be true or false", "7"]),
        ({"guid": "a", "virtual_keys": "a"}, ["virtual_keys must be a list"]),
        # Numbers
        *(
            ({"guid": "a", name: -1}, [f"{name} is -1; it must be at least 0"])
            for name in ("max_budget", "soft_budget", "tpm_limit", "rpm_limit", "max_parallel_requests")
        ),
        ({"guid": "a", "max_budget": "much"}, ["max_budget must be a number", "'much'"]),
        ({"guid": "a", "max_budget": float("inf")}, ["max_budget is inf"]),
        ({"guid": "a", "max_budget": "nan"}, ["max_budget is nan"]),
        *(
            (
                {"guid": "a", **settings},
                [f"{where} contains a value that cannot be stored: {value}, which is not a number"],
            )
            for number, value in ((float("inf"), "Infinity"), (float("-inf"), "-Infinity"), (float("nan"), "NaN"))
            for where, settings in (
                ("metadata", {"metadata": {"n": number}}),
                ("metadata", {"metadata": {"n": [1.5, {"m": number}]}}),
                ("model_tpm_limit", {"model_tpm_limit": {"gpt-4o": number}}),
                ("extra_params", {"extra_params": {"n": number}}),
                ("on_create: metadata", {"on_create": {"metadata": {"n": number}}}),
            )
        ),
        ({"guid": "a", "tpm_limit": 1.5}, ["tpm_limit must be a whole number", "1.5"]),
        ({"guid": "a", "tpm_limit": True}, ["tpm_limit must be a whole number", "True"]),
        ({"guid": "a", "budget_duration": "often"}, ["'often' is not a duration"]),
        ({"guid": "a", "key_seed": SEED, "key_version": 0}, ["key_version is 0; it must be 1 or more"]),
        # Options that exclude each other
        ({"guid": "a", "key": SECRET, "key_seed": SEED}, ["key and key_seed cannot both be given"]),
        ({"guid": "a", "key_type": "default", "allowed_routes": []}, ["key_type and allowed_routes"]),
        ({"guid": "a", "soft_budget": 1, "budget_id": "b"}, ["soft_budget and budget_id"]),
        ({"key_id": "0" * 64, "regenerate": "always"}, ["regenerate needs guid or key_alias"]),
        ({"key_id": "0" * 64, "key_seed": SEED}, ["key_seed needs guid or key_alias"]),
        ({"guid": "a", "unset": ["colour"]}, ["unset contains 'colour'"]),
        ({"guid": "a", "unset": {"models": 1}}, ["unset must be a list", "{'models': 1}"]),
        ({"guid": "a", "unset": ["tpm_limit"], "tpm_limit": 5}, ["tpm_limit is given and is also in unset"]),
        ({"guid": "a", "unset": ["expires_at"], "duration": "7d"}, ["duration", "unset"]),
        ({"guid": "a", "extra_params": {"max_budget": 1}}, ["'max_budget', which is an option"]),
        ({"guid": "a", "extra_params": {"aliases": {}}}, ["'aliases', which is an option"]),
        ({"guid": "a", "extra_params": {"key": SECRET}}, ["'key', which is an option"]),
        ({"guid": "a", "extra_params": {"expires": "2030-01-01"}}, ["extra_params cannot contain 'expires'"]),
        # Connection
        ({"guid": "a", "url": "ftp://host"}, ["'ftp://host'"]),
        ({"guid": "a", "timeout": 0}, ["timeout is 0"]),
        ({"guid": "a", "concurrency": 65}, ["concurrency is 65"]),
        ({"guid": "a", "retries": -1}, ["retries is -1"]),
    ],
    ids=lambda value: (
        " ".join(f"{name}={shown}" for name, shown in value.items())[:70] if isinstance(value, dict) else ""
    ),
)
def test_invalid_options_are_refused_with_one_message_before_any_request(error_of, options, parts):
    message = error_of(**options)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("options", "secret"),
    [
        ({"key": "the-wrong-beginning"}, "the-wrong-beginning"),
        ({"key": "sk-tooshort"}, "sk-tooshort"),
        ({"key": "sk-with a space in it"}, "with a space"),
        ({"key": ["sk-in-a-list-by-mistake"]}, "sk-in-a-list"),
        ({"key": {"value": "sk-in-a-dictionary"}}, "sk-in-a-dict"),
        ({"key_seed": "8 letter"}, "8 letter"),
        ({"key_seed": {"seed": SEED}}, SEED),
        ({"key_seed": MASTER_KEY}, MASTER_KEY),
        ({"master_key": "pk-not-a-master-key"}, "pk-not-a-master-key"),
        ({"master_key": "sk-with a space"}, "with a space"),
        ({"url": f"http://user:{SECRET}@host"}, SECRET),
        ({"duration": SECRET, "key": SECRET}, SECRET),
        ({"duration": SEED, "key_seed": SEED}, SEED),
    ],
)
def test_an_error_message_does_not_quote_a_secret(error_of, options, secret):
    assert secret not in error_of(guid="abc", **options)
    assert secret not in error_of(virtual_keys=[{"guid": "a"}, {"guid": "abc", **options}])


@pytest.mark.parametrize("key_seed", ["8 letter", MASTER_KEY + " but longer"])
def test_a_short_seed_and_the_master_key_as_a_seed_are_refused(run, error_of, proxy, key_seed):
    if key_seed.startswith(MASTER_KEY):
        connection = {"litellm_url": proxy.url, "litellm_master_key": key_seed.replace(" ", "-")}
        message = error_of(guid="abc", key_seed=key_seed.replace(" ", "-"), variables=connection)
        assert "key_seed must not be the master key" in message
    else:
        assert "key_seed is 8 characters long; at least 32 are required" in error_of(guid="abc", key_seed=key_seed)


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ([{"guid": "a"}, {"guid": "b"}, {"guid": "a"}], ["virtkey-a more than once"]),
        ([{"guid": "a"}, {"key_alias": "virtkey-a"}], ["virtkey-a more than once"]),
        ([{"key_id": "0" * 64}, {"key_id": "0" * 64}], ["0" * 64, "more than once"]),
        ([{"guid": "a"}, {"duration": "7d"}], ["virtual_keys[1]", "none is given"]),
        ([{"guid": "a"}, {"guid": ""}], ["virtual_keys[1]", "guid is empty"]),
        ([{"guid": "a"}, {"guid": "b", "duration": "1y"}], ["virtual_keys[1]", "'1y'"]),
        ([{"guid": "a"}, "b"], ["virtual_keys[1] must be a dictionary"]),
        ([{"guid": "a", "url": "http://other"}], ["virtual_keys[0]", "no option 'url'"]),
        ([{"guid": "a", "colour": "red"}], ["virtual_keys[0]", "no option 'colour'"]),
        ([{"guid": "a", "auto_rotate": True}], ["virtual_keys[0]: auto_rotate needs rotation_interval"]),
        ([{"guid": "a", "budget_limits": [{}]}], ["virtual_keys[0]: budget_limits[0] must be"]),
        ([{"guid": "a", "router_settings": {"timeout": "x"}}], ["virtual_keys[0]: router_settings: timeout is 'x'"]),
    ],
)
def test_a_list_with_an_invalid_key_is_refused(error_of, keys, parts):
    message = error_of(virtual_keys=keys)
    for part in parts:
        assert part in message


# Valid options


@pytest.mark.parametrize(
    ("options", "row"),
    [
        ({"guid": "abc"}, {"key_alias": "virtkey-abc"}),
        ({"guid": 4711}, {"key_alias": "virtkey-4711"}),
        ({"guid": "abc", "alias_prefix": "lab-"}, {"key_alias": "lab-abc"}),
        ({"guid": "abc", "alias_prefix": ""}, {"key_alias": "abc"}),
        ({"key_alias": "my key"}, {"key_alias": "my key"}),
        ({"guid": "abc", "max_budget": "5.5"}, {"max_budget": 5.5}),
        ({"guid": "abc", "tpm_limit": "100"}, {"tpm_limit": 100}),
        ({"guid": "abc", "blocked": "yes"}, {"blocked": True}),
        ({"guid": "abc", "metadata": '{"a": 1}'}, {"metadata": {"a": 1}}),
        ({"guid": "abc", "budget_duration": "7 days"}, {"budget_duration": "7d"}),
        ({"guid": "abc", "budget_duration": ""}, {"budget_duration": None}),
        ({"guid": "abc", "user_id": ""}, {"user_id": None}),
        ({"guid": "abc", "user_id": 7}, {"user_id": "7"}),
        ({"guid": "abc", "models": []}, {"models": []}),
        ({"guid": "abc", "extra_params": {"tpd_limit": 9}}, {"tpd_limit": 9}),
        ({"guid": "abc", "agent_id": "a"}, {"agent_id": "a"}),
        ({"guid": "abc", "enforced_params": "user"}, {"metadata": {"enforced_params": ["user"]}}),
        ({"guid": "abc", "key_type": "llm_api"}, {"allowed_routes": ["llm_api_routes"]}),
    ],
)
def test_options_are_sent_to_the_proxy(run, proxy, options, row):
    result = run(**options)
    assert (result.get("msg"), result["changed"]) == (None, True)
    (created,) = proxy.rows.values()
    assert {name: created[name] for name in row} == row


@pytest.mark.parametrize(
    ("options", "days"),
    [
        ({"duration": "7d"}, 7),
        ({"duration": "48h"}, 2),
        ({"runtime": 48}, 2),
        ({"runtime": "P3D", "duration": "7d"}, 3),
        ({"runtime": "", "duration": "7d"}, 7),
        ({"expires_at": "", "runtime": None, "duration": "7d"}, 7),
        ({"duration": ""}, None),
        ({}, None),
    ],
)
def test_the_first_given_lifetime_counts(run, proxy, options, days):
    run(guid="abc", **options)
    expires = proxy.row(ALIAS)["expires"]
    lifetime = expires and datetime.fromisoformat(expires.replace("Z", "+00:00")) - proxy.now()
    assert lifetime is None if days is None else abs(lifetime - timedelta(days=days)) < timedelta(minutes=5)


def test_an_instant_precedes_other_lifetimes(run, proxy):
    run(guid="abc", expires_at="2099-01-01T00:00:00Z", runtime=5, duration="7d")
    assert proxy.row(ALIAS)["expires"].startswith(("2099-01-01T00:00:0", "2098-12-31T23:59:5"))


def test_settings_are_cleared(run, proxy):
    run(guid="abc", duration="7d", tpm_limit=5, models=["gpt-4o"], user_id="user1")
    result = run(guid="abc", unset=["expires_at", "tpm_limit", "models", "user_id"])
    assert result["virtual_key"]["operation"] == "updated"
    row = proxy.row(ALIAS)
    assert [row[name] for name in ("expires", "tpm_limit", "models", "user_id")] == [None, None, [], None]
    assert run(guid="abc", unset=["expires_at", "tpm_limit", "models", "user_id"])["changed"] is False


def test_each_key_can_override_common_options(run, proxy):
    result = run(
        duration="7d",
        max_budget=5,
        key_seed=SEED,
        virtual_keys=[
            {"guid": "a"},
            {"guid": "b", "max_budget": 7, "duration": "30d"},
            {"guid": "c", "runtime": 48},
            {"guid": "d", "key": SECRET},
            {"guid": "e", "state": "absent"},
            {"guid": "f", "duration": "", "max_budget": None, "key_seed": ""},
            {"guid": "g", "unset": ["expires_at"]},
        ],
    )
    shown = {one["guid"]: one for one in result["virtual_keys"]}
    assert [one["duration"] for one in result["virtual_keys"]] == ["7d", "30d", "48h", "7d", None, "7d", None]
    assert [shown[guid]["max_budget"] for guid in "abcdfg"] == [5, 7, 5, 5, 5, 5]
    assert [one["key_source"] for one in result["virtual_keys"]] == [
        *["derived"] * 3,
        "given",
        None,
        *["derived"] * 2,
    ]
    assert shown["a"]["key"] == derive(SEED, "virtkey-a").value
    assert proxy.aliases() == [f"virtkey-{guid}" for guid in "abcdfg"]
    assert "virtual_key" not in result


def test_an_empty_list_of_keys_sends_no_request(run, proxy):
    result = run(virtual_keys=[])
    assert (result["changed"], result["virtual_keys"], proxy.requests) == (False, [], [])


@pytest.mark.parametrize("source", ["argument", "variable", "environment"])
def test_the_connection_can_come_from_arguments_variables_or_the_environment(run, proxy, monkeypatch, source):
    arguments, variables = {}, {"where": proxy.url}
    if source == "environment":
        monkeypatch.setenv("LITELLM_URL", proxy.url + "/v1/")
        monkeypatch.setenv("LITELLM_PROXY_API_KEY", MASTER_KEY)
    else:
        monkeypatch.setenv("LITELLM_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("LITELLM_MASTER_KEY", "sk-a-wrong-master-key")
    if source == "argument":
        variables |= {"litellm_url": "http://127.0.0.1:1", "litellm_master_key": "sk-a-wrong-master-key"}
        arguments = {"url": proxy.url, "master_key": MASTER_KEY}
    elif source == "variable":
        variables |= {"litellm_url": trust_as_template("{{ where }}"), "litellm_master_key": MASTER_KEY}
    result = run(guid="abc", variables=variables, **arguments)
    assert (result.get("msg"), result["api_endpoint"], result["api_base_url"]) == (None, proxy.url, f"{proxy.url}/v1")
    assert result["api_calls"] == len(proxy.requests) == 5


# The result


def test_the_result_is_as_documented(run):
    page = importlib.import_module("ansible_collections.rhpds.litellm_virtual_keys.plugins.modules.litellm_key")
    documented = yaml.safe_load(page.RETURN)
    result = run(guid="abc", duration="7d")
    always = "when the proxy responded", "when the proxy responded and the task manages a single key"
    assert set(result) - {"changed", "_ansible_no_log"} == {
        name for name, one in documented.items() if one["returned"] in always
    }
    entry = documented["virtual_key"]["contains"]
    assert set(result["virtual_key"]) == {name for name, one in entry.items() if "returned" not in one}
    assert result["virtual_keys"] == [result["virtual_key"]]
    assert result["virtual_key"] | {"guid": "abc", "duration": "7d", "operation": "created"} == result["virtual_key"]
    types = {"str": str, "list": list, "bool": bool, "float": float, "dict": dict, "int": int}
    for name, value in result["virtual_key"].items():
        assert value is None or isinstance(value, types[entry[name]["type"]])


@pytest.mark.parametrize("check_mode", [False, True])
def test_diff_mode_returns_the_difference(run, proxy, check_mode):
    proxy.add(ALIAS, max_budget=1.0)
    result = run(guid="abc", max_budget=0, diff=True, check_mode=check_mode)
    (diff,) = result["diff"]
    assert (diff["before"]["max_budget"], diff["after"]["max_budget"]) == (1.0, 0.0)
    assert proxy.row(ALIAS)["max_budget"] == (1.0 if check_mode else 0.0)
    assert "diff" not in run(guid="abc", max_budget=2)


@pytest.mark.parametrize(
    ("options", "ad_hoc", "hidden"),
    [
        ({"guid": "new"}, False, True),
        ({"guid": "abc"}, False, False),
        ({"guid": "abc", "key": SECRET}, False, True),
        ({"guid": "new", "key_seed": SEED, "check_mode": True}, False, True),
        ({"guid": "new", "check_mode": True}, False, False),
        ({"guid": "abc", "key": SECRET, "state": "absent"}, False, False),
        ({"guid": "new"}, True, False),
    ],
)
def test_the_result_is_hidden_if_it_contains_a_secret_except_ad_hoc(run, proxy, monkeypatch, options, ad_hoc, hidden):
    monkeypatch.setattr(context, "CLIARGS", {"module_name": NAME} if ad_hoc else {})
    proxy.add(ALIAS, SECRET)
    result = run(**options)
    assert ("_ansible_no_log" in result) == hidden
    assert bool(result["virtual_key"]["key"]) == (hidden or ad_hoc)


def test_the_diff_of_a_hidden_result_is_displayed(run, monkeypatch):
    shown = []
    monkeypatch.setattr(Display, "display", lambda self, text, *args, **kwargs: shown.append(text))
    result = run(guid="abc", max_budget=3, diff=True)
    assert result["_ansible_no_log"] is True
    assert "+max_budget: 3.0" in "\n".join(shown)
    assert result["virtual_key"]["key"] not in "\n".join(shown)


@pytest.mark.parametrize("check_mode", [False, True])
def test_with_no_log_the_diff_is_not_displayed(run, monkeypatch, check_mode):
    """Metadata in a diff may contain secrets of the user."""
    shown = []
    monkeypatch.setattr(Display, "display", lambda self, text, *args, **kwargs: shown.append(text))
    metadata = {"logging": [{"callback_vars": {"langfuse_secret_key": "sk-lf-secret"}}]}
    result = run(guid="abc", key_seed=SEED, metadata=metadata, diff=True, no_log=True, check_mode=check_mode)
    assert (result["changed"], result["_ansible_no_log"]) == (True, True)
    assert "diff" not in result
    assert shown == []


def test_if_some_keys_fail_the_others_are_returned(run, proxy):
    proxy.add("virtkey-b", "sk-the-secret-of-another")
    keys = [{"guid": "a"}, {"guid": "b", "key": SECRET}, {"guid": "c"}]
    result = run(virtual_keys=keys)
    assert (result["failed"], result["changed"], result["_ansible_no_log"]) == (True, True, True)
    assert result["msg"].startswith("1 of 3 keys failed. virtkey-b: The virtual key exists with another secret")
    assert [one["operation"] for one in result["virtual_keys"]] == ["created", "failed", "created"]
    assert [bool(one["key"]) for one in result["virtual_keys"]] == [True, False, True]
    assert "another secret" in result["virtual_keys"][1]["error"]


def test_secrets_in_a_message_of_the_proxy_are_masked(run, proxy, monkeypatch):
    secret = "sk-with.some-dots$and$signs"
    proxy.fault("POST /key/generate", Fault(status=500))
    monkeypatch.setattr(
        "ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm.ErrorResponse.body",
        property(lambda self: {"error": {"message": f"Bad key {secret}, sent by {MASTER_KEY}"}}),
    )
    result = run(guid="abc", key=secret)
    assert result["failed"] is True
    assert "Bad key ********" in result["msg"].replace("sk-", "")
    assert "$and" not in json.dumps(result)
    assert MASTER_KEY not in json.dumps(result)


def test_secrets_in_a_warning_are_masked(run, proxy, monkeypatch):
    # The message comes from a response to a request without the secret.
    secret, shown = "sk-$some$signs$only", []
    monkeypatch.setattr(Display, "warning", lambda self, text, *args, **kwargs: shown.append(text))
    monkeypatch.setattr(
        "ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm.ErrorResponse.body",
        property(lambda self: {"error": {"message": f"Not now, {secret}"}}),
    )
    proxy.fault("GET /v1/models", Fault(status=500))
    result = run(guid="abc", key=secret, models=["granite"], on_unknown_models="warn")
    assert not result.get("failed")
    (warning,) = [text for text in shown if "Not now" in text]
    assert "Not now, ********" in warning
    assert "$some" not in warning


def test_a_proxy_that_is_not_running_is_an_error_message(run):
    result = run(guid="abc", url="http://127.0.0.1:1")
    assert (result["failed"], result["changed"]) == (True, False)
    assert "No connection to a LiteLLM proxy at http://127.0.0.1:1" in result["msg"]


def test_each_key_can_clear_or_override_common_settings(run):
    result = run(
        models=["gpt-4o"],
        soft_budget=3,
        unset=["expires_at", "tpm_limit"],
        virtual_keys=[
            {"guid": "a", "unset": ["models"]},
            {"guid": "b", "duration": "7d"},
            {"guid": "c", "tpm_limit": 5},
        ],
    )
    assert [one["models"] for one in result["virtual_keys"]] == [[], ["gpt-4o"], ["gpt-4o"]]
    assert [one["duration"] for one in result["virtual_keys"]] == [None, "7d", None]


def test_check_mode_predicts_the_diff_of_settings_in_metadata(run):
    settings = {
        "temp_budget_increase": 5,
        "temp_budget_expiry": "2099-01-01",
        "tags": ["lab"],
        "metadata": {"course": "granite"},
        "key_seed": SEED,
    }
    (predicted,), (real,) = (run(guid="abc", check_mode=one, diff=True, **settings)["diff"] for one in (True, False))
    assert predicted["after"] == real["after"]
    assert real["after"]["metadata"] == {"course": "granite"}
    assert real["after"]["temp_budget_increase"] == 5.0


@pytest.mark.parametrize("check_mode", [True, False])
def test_the_diff_contains_further_fields(run, check_mode):
    created = run(guid="abc", extra_params={"tpd_limit": 1}, check_mode=check_mode, diff=True)
    assert created["diff"][0]["after"]["tpd_limit"] == 1


def test_an_invalid_list_of_keys_is_not_quoted(run):
    message = run(virtual_keys={"guid": "a", "key_seed": "Q" * 40})["msg"]
    assert message == "virtual_keys must be a list, but is a value of type dict"


def test_braces_in_metadata_are_not_replaced(run):
    result = run(guid="abc", metadata={"of": "{user}"})
    assert result["virtual_key"]["key_alias"] == ALIAS
    assert result["virtual_key"]["metadata"] == {"of": "{user}"}
    assert "user" not in result["virtual_key"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"on_create": {"tpm_limits": 1}}, "on_create has no option 'tpm_limits'; did you mean 'tpm_limit'?"),
        ({"on_create": {"duration": "1d"}}, "on_create has no option 'duration'"),
        ({"on_missing_key": "fail"}, "on_missing_key must be one of create, recreate, ignore"),
        # These are options of litellm_environment.
        ({"users": ["a"]}, "litellm_key has no option 'users'"),
        ({"users_of": "abc"}, "litellm_key has no option 'users_of'"),
        ({"settings": {"max_budget": 1}}, "litellm_key has no option 'settings'"),
    ],
)
def test_options_of_an_environment_are_refused(error_of, arguments, message):
    assert message in error_of(guid="abc", **arguments)


def test_secrets_of_each_key_are_not_in_a_message(run):
    result = run(virtual_keys=[{"guid": "abc", "key": SECRET, "key_seed": SEED}])
    assert result["failed"]
    assert SECRET not in json.dumps(result)
    assert SEED not in json.dumps(result)


def test_settings_of_a_new_key_are_not_reconciled_later(run):
    first = run(guid="abc", max_budget=3, on_create={"rpm_limit": 5, "max_budget": 1, "metadata": {"a": 1}})
    assert first["virtual_key"]["max_budget"] == 3
    assert first["virtual_key"]["metadata"] == {"a": 1}
    assert run(guid="abc", on_create={"rpm_limit": 7, "metadata": {"a": 2}})["changed"] is False


def test_a_key_that_has_replaced_another_gets_its_alias(run, proxy):
    """A run that was killed has deleted the old key and left the new one under another alias."""
    proxy.add(f"{ALIAS}.replacement", metadata={"guid": "abc", REPLACES: "0" * 64})
    result = run(guid="abc", on_missing_key="ignore", tpm_limit=5)
    assert result["virtual_key"]["operation"] == "updated"
    assert proxy.aliases() == [ALIAS]


def test_a_missing_key_can_be_ignored(run):
    result = run(guid="abc", on_missing_key="ignore")
    assert (result["changed"], result["virtual_key"]["operation"]) == (False, "absent")
    assert result["virtual_key"]["key_alias"] == ALIAS


# Saved secrets


def save_user_data(folder, **data):
    (folder / "provision-user-data.yaml").write_text(yaml.safe_dump(data))


def test_a_saved_secret_is_returned_but_not_used_for_a_new_key(run, proxy, tmp_path):
    variables = {"litellm_url": proxy.url, "litellm_master_key": MASTER_KEY, "output_dir": str(tmp_path)}
    save_user_data(tmp_path, litellm_key_alias=ALIAS, litellm_virtual_key=SECRET)
    created_key = run(variables=variables, guid="abc", recall=True)["virtual_key"]
    assert (created_key["operation"], created_key["key_source"]) == ("created", "generated")
    save_user_data(tmp_path, users={"u": {"litellm_key_alias": ALIAS, "litellm_virtual_key": created_key["key"]}})
    later = run(variables=variables, guid="abc", recall=True, on_unknown_key="fail")["virtual_key"]
    assert (later["key"], later["key_source"], later["operation"]) == (created_key["key"], "given", "unchanged")
    assert run(variables=variables, guid="abc")["virtual_key"]["key"] is None


def test_a_missing_key_is_recreated_only_with_its_saved_secret(run, proxy, tmp_path):
    variables = {"litellm_url": proxy.url, "litellm_master_key": MASTER_KEY, "output_dir": str(tmp_path)}
    missing = run(variables=variables, guid="abc", recall=True, on_missing_key="recreate")
    assert missing["msg"].startswith(f"Virtual key {ALIAS} does not exist and cannot be recreated")
    assert proxy.rows == {}
    facts = {"litellm_key_aliases": [ALIAS], "litellm_virtual_keys": [SECRET]}
    recreated = run(variables={**variables, **facts}, guid="abc", recall=True, on_missing_key="recreate")["virtual_key"]
    assert (recreated["key"], recreated["operation"]) == (SECRET, "created")


def test_a_fact_that_is_a_template_is_ignored(run, proxy, tmp_path):
    variables = {"litellm_url": proxy.url, "litellm_master_key": MASTER_KEY, "output_dir": str(tmp_path)}
    facts = {"litellm_key_alias": ALIAS, "litellm_virtual_key": trust_as_template("{{ undefined_ }}")}
    assert run(variables={**variables, **facts}, guid="abc", recall=True)["virtual_key"]["operation"] == "created"


@pytest.mark.parametrize("many", [False, True], ids=["one", "list"])
def test_a_template_is_not_used_as_the_secret_of_a_recreated_key(run, proxy, tmp_path, many):
    # Rendered, it may be a lookup of this very key; as text, it would become the secret.
    variables = {"litellm_url": proxy.url, "litellm_master_key": MASTER_KEY, "output_dir": str(tmp_path)}
    template = trust_as_template("sk-{{'a-template-that-is-not-rendered'}}")
    facts = {"litellm_key_alias": ALIAS, "litellm_virtual_key": template}
    if many:
        facts = {"litellm_key_aliases": [ALIAS], "litellm_virtual_keys": [template]}
    missing = run(variables={**variables, **facts}, guid="abc", recall=True, on_missing_key="recreate")
    assert missing["msg"].startswith(f"Virtual key {ALIAS} does not exist and cannot be recreated")
    assert proxy.rows == {}


def test_invalid_user_data_are_an_error_before_any_request(run, proxy, tmp_path):
    variables = {"litellm_url": proxy.url, "litellm_master_key": MASTER_KEY, "output_dir": str(tmp_path)}
    (tmp_path / "provision-user-data.yaml").write_text("a: [")
    assert "is not valid YAML" in run(variables=variables, guid="abc", recall=True)["msg"]
    assert proxy.requests == []


def test_keys_that_were_not_deleted_are_returned(run, proxy):
    created = run(guid="abc")["virtual_key"]
    proxy.undeletable.add(created["key_id"])
    result = run(guid="abc", state="absent")
    assert (result["failed"], result["not_deleted"]) == (True, [created["key_id"]])


# Keys that do not work


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({"blocked": True}, "it is blocked. Unblock it (ACTION: start with block_on_stop, or blocked: false)"),
        ({"max_budget": 1.0, "spend": 1.5}, "its budget of 1 is spent. Raise max_budget"),
        ({"spend": 1.5}, None),
    ],
    ids=["blocked", "spent", "works"],
)
def test_a_returned_secret_that_does_not_work_is_named_in_a_warning(run, proxy, monkeypatch, state, problem):
    warnings = []
    monkeypatch.setattr(Display, "warning", lambda self, text, *args, **kwargs: warnings.append(text))
    proxy.add(ALIAS, SECRET, **state)
    assert run(key_alias=ALIAS)["virtual_key"]["key"] is None
    assert warnings == []
    assert run(key_alias=ALIAS, key=SECRET)["virtual_key"]["key"] == SECRET
    assert warnings == ([f"Virtual key {ALIAS} does not work: {problem}"] if problem else [])
    warnings.clear()
    run(key_alias=ALIAS, key=SECRET, blocked=True)
    assert warnings == []


def test_a_default_lifetime_of_the_proxy_is_a_warning(run, proxy, monkeypatch):
    warnings = []
    monkeypatch.setattr(Display, "warning", lambda self, text, *args, **kwargs: warnings.append(text))
    proxy.defaults = {"duration": "30d"}
    key = run(guid="abc")["virtual_key"]
    assert (key["operation"], key["duration"]) == ("created", "30d")
    assert warnings == [
        f"Virtual key {ALIAS} expires at {key['expires']}, although no lifetime was set: the proxy has a default "
        "duration. Set duration, runtime or expires_at"
    ]
    warnings.clear()
    run(guid="abc")
    run(guid="def", duration="30d")
    assert warnings == []


@pytest.mark.parametrize(
    "limit",
    [
        *({}, {"models": ["m"]}, {"max_budget": 5}, {"duration": "7d"}, {"team_id": "t"}),
        {"budget_limits": [{"budget_duration": "1d", "max_budget": 5}]},
    ],
)
def test_a_new_key_without_any_limit_is_warned_about_once(run_action, proxy, monkeypatch, limit):
    warnings = []
    monkeypatch.setattr(Display, "warning", lambda self, text, *args, **kwargs: warnings.append(text))
    proxy.add_team("t")
    for _run in range(2):
        result = run_action(NAME, {"guid": "abc", "on_unknown_models": "ignore", **limit})
        assert not result.get("failed"), result
    warning = "New virtual keys can use all models of the proxy, and have neither a budget nor an end: virtkey-abc. "
    advice = "To limit them, set models, max_budget or duration"
    assert warnings == ([] if limit else [warning + advice])


def test_an_empty_setting_overrides_module_defaults(run_action, proxy):
    defaults = {NAME: {"models": ["gpt-4o"], "metadata": {"a": "b"}}}
    arguments = {"guid": "abc", "url": proxy.url, "master_key": MASTER_KEY}
    for own, models in (({}, ["gpt-4o"]), ({"models": []}, [])):
        assert run_action(NAME, {**arguments, **own}, module_defaults=[defaults]).get("msg") is None
        assert proxy.row("virtkey-abc")["models"] == models
