# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action as Ansible loads and runs it: what it takes, what it refuses and how, and what it gives back."""

from __future__ import annotations

import importlib
import json
from datetime import datetime, timedelta

import pytest
import yaml
from ansible import context
from ansible.utils.display import Display
from ansible_collections.rhpds.litellm_virtual_keys.plugins.action import agnosticd_user_info, litellm_key_info
from ansible_collections.rhpds.litellm_virtual_keys.plugins.doc_fragments import _connection
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils import _arguments, _reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import Option
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import derive
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import REPLACED
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY, Fault

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core before 2.19 trusts every string
    trust_as_template = str

NAME = "rhpds.litellm_virtual_keys.litellm_key"
SECRET = "sk-the-secret-that-i-chose"
SEED = "a seed of more than 32 characters, as asked"
ALIAS = "virtkey-abc"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(_reconcile, "_pause", lambda attempt: None)


@pytest.fixture
def act(run_action):
    def run(check_mode=False, diff=False, variables=None, **arguments):
        return run_action(NAME, arguments, check_mode=check_mode, diff=diff, variables=variables)

    return run


@pytest.fixture
def refused(act, proxy):
    """The sentence with which the action refuses, before it sends anything."""

    def run(**arguments):
        result = act(**arguments)
        assert (result["failed"], result["changed"], proxy.requests) == (True, False, [])
        assert "\n" not in result["msg"]
        assert "virtual_keys" not in result
        return result["msg"]

    return run


# What it refuses

DURATIONS = ["1y", "-1", -1, "0s", 0, "soon", "0.5s", "1.5mo", "7 dogs", "1d12", "inf", float("nan"), True, ["7d"]]


@pytest.mark.parametrize("name", ["duration", "runtime"])
@pytest.mark.parametrize("value", DURATIONS, ids=map(repr, DURATIONS))
def test_what_is_no_duration_is_quoted(refused, name, value):
    assert repr(value) in refused(guid="abc", **{name: value})


@pytest.mark.parametrize("value", ["tomorrow", "2026-02-30", "2026-13-01T00:00:00Z", 1767225600, "7d"])
def test_what_is_no_instant_is_quoted(refused, value):
    assert repr(value) in refused(guid="abc", expires_at=value)


NO_ALIASES = ["", " ", "a\tb", "a\x7f", "a\n", "a/../b", "x" * 300]


@pytest.mark.parametrize("name", ["guid", "key_alias"])
@pytest.mark.parametrize("value", NO_ALIASES, ids=map(repr, NO_ALIASES))
def test_what_is_no_alias_is_refused(refused, name, value):
    message = refused(**{name: value})
    assert name in message
    assert len(message) < 250


@pytest.mark.parametrize(
    ("options", "words"),
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
        ({"guid": "a", "wibble": 1}, ["no option 'wibble'", "it knows alias_prefix"]),
        ({"guid": "a", "keys": []}, ["no option 'keys'"]),
        ({"guid": "a", "virtual_keys": [{"guid": "b"}]}, ["guid and virtual_keys both say which keys"]),
        # Choices and types
        ({"guid": "a", "state": "gone"}, ["state must be one of present, absent", "'gone'"]),
        ({"guid": "a", "regenerate": True}, ["regenerate must be text", "True"]),
        ({"guid": "a", "regenerate": "sometimes"}, ["'sometimes'"]),
        ({"guid": "a", "key_type": "admin"}, ["key_type must be one of default, llm_api", "'admin'"]),
        ({"guid": "a", "on_unknown_models": "ask"}, ["'ask'"]),
        ({"guid": "a", "duration_from": "birth"}, ["creation, now", "'birth'"]),
        ({"guid": "a", "models": "gpt-4o"}, ["models must be a list", "'gpt-4o'"]),
        ({"guid": "a", "models": "gpt-4o,gpt-5"}, ["models must be a list", "'gpt-4o,gpt-5'"]),
        ({"guid": "a", "models": [{"a": 1}]}, ["models must be a list"]),
        ({"guid": "a", "tags": "a"}, ["tags must be a list", "'a'"]),
        ({"guid": "a", "metadata": "a"}, ["metadata must be a dictionary", "'a'"]),
        ({"guid": "a", "metadata": ["a"]}, ["metadata must be a dictionary", "['a']"]),
        ({"guid": "a", "blocked": "perhaps"}, ["blocked must be true or false", "'perhaps'"]),
        ({"guid": "a", "shorten": 7}, ["shorten must be true or false", "7"]),
        ({"guid": "a", "virtual_keys": "a"}, ["virtual_keys must be a list"]),
        # Numbers
        *(
            ({"guid": "a", name: -1}, [f"{name} is -1; it must be 0 or more"])
            for name in ("max_budget", "soft_budget", "tpm_limit", "rpm_limit", "max_parallel_requests")
        ),
        ({"guid": "a", "max_budget": "much"}, ["max_budget must be a number", "'much'"]),
        ({"guid": "a", "max_budget": float("inf")}, ["max_budget is inf"]),
        ({"guid": "a", "max_budget": "nan"}, ["max_budget is nan"]),
        ({"guid": "a", "tpm_limit": 1.5}, ["tpm_limit must be a whole number", "1.5"]),
        ({"guid": "a", "tpm_limit": True}, ["tpm_limit must be a whole number", "True"]),
        ({"guid": "a", "budget_duration": "often"}, ["'often' is not a duration"]),
        ({"guid": "a", "key_seed": SEED, "key_version": 0}, ["key_version is 0; it must be 1 or more"]),
        # What goes together
        ({"guid": "a", "key": SECRET, "key_seed": SEED}, ["key and key_seed cannot both be given"]),
        ({"guid": "a", "key_type": "default", "allowed_routes": []}, ["key_type and allowed_routes"]),
        ({"guid": "a", "soft_budget": 1, "budget_id": "b"}, ["soft_budget and budget_id"]),
        ({"key_id": "0" * 64, "regenerate": "always"}, ["regenerate needs guid or key_alias"]),
        ({"key_id": "0" * 64, "key_seed": SEED}, ["key_seed needs guid or key_alias"]),
        ({"guid": "a", "unset": ["colour"]}, ["unset has 'colour'"]),
        ({"guid": "a", "unset": "models"}, ["unset must be a list", "'models'"]),
        ({"guid": "a", "unset": ["tpm_limit"], "tpm_limit": 5}, ["tpm_limit is both given and in unset"]),
        ({"guid": "a", "unset": ["expires_at"], "duration": "7d"}, ["duration", "unset"]),
        ({"guid": "a", "extra_params": {"max_budget": 1}}, ["'max_budget', which is an option of its own"]),
        ({"guid": "a", "extra_params": {"aliases": {}}}, ["'aliases', which is an option of its own"]),
        ({"guid": "a", "extra_params": {"key": SECRET}}, ["'key', which is an option of its own"]),
        ({"guid": "a", "extra_params": {"expires": "2030-01-01"}}, ["extra_params cannot have 'expires'"]),
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
def test_what_cannot_be_is_refused_with_one_sentence_before_any_request(refused, options, words):
    message = refused(**options)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("options", "secret"),
    [
        ({"key": "the-wrong-beginning"}, "the-wrong-beginning"),
        ({"key": "sk-tooshort"}, "sk-tooshort"),
        ({"key": "sk-with a blank in it"}, "with a blank"),
        ({"key": ["sk-in-a-list-by-mistake"]}, "sk-in-a-list"),
        ({"key": {"value": "sk-in-a-dictionary"}}, "sk-in-a-dict"),
        ({"key_seed": "8 letter"}, "8 letter"),
        ({"key_seed": {"seed": SEED}}, SEED),
        ({"key_seed": MASTER_KEY}, MASTER_KEY),
        ({"master_key": "pk-not-a-master-key"}, "pk-not-a-master-key"),
        ({"master_key": "sk-with a blank"}, "with a blank"),
        ({"url": f"http://user:{SECRET}@host"}, SECRET),
        ({"duration": SECRET, "key": SECRET}, SECRET),
        ({"duration": SEED, "key_seed": SEED}, SEED),
    ],
)
def test_a_refusal_does_not_quote_a_secret(refused, options, secret):
    assert secret not in refused(guid="abc", **options)
    assert secret not in refused(virtual_keys=[{"guid": "a"}, {"guid": "abc", **options}])


@pytest.mark.parametrize("key_seed", ["8 letter", MASTER_KEY + " but longer"])
def test_a_seed_that_is_the_master_key_or_short_is_refused(act, refused, proxy, key_seed):
    if key_seed.startswith(MASTER_KEY):
        connection = {"litellm_url": proxy.url, "litellm_master_key": key_seed.replace(" ", "-")}
        message = refused(guid="abc", key_seed=key_seed.replace(" ", "-"), variables=connection)
        assert "key_seed must not be the master key" in message
    else:
        assert "key_seed is 8 characters long; it must have 32 or more" in refused(guid="abc", key_seed=key_seed)


@pytest.mark.parametrize(
    ("keys", "words"),
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
    ],
)
def test_many_keys_with_one_that_cannot_be_are_refused(refused, keys, words):
    message = refused(virtual_keys=keys)
    for word in words:
        assert word in message


# What it takes


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
        ({"guid": "abc", "extra_params": {"agent_id": "a"}}, {"agent_id": "a"}),
        ({"guid": "abc", "key_type": "llm_api"}, {"allowed_routes": ["llm_api_routes"]}),
    ],
)
def test_options_reach_the_proxy(act, proxy, options, row):
    result = act(**options)
    assert (result.get("msg"), result["changed"]) == (None, True)
    (created,) = proxy.rows.values()
    assert {name: created[name] for name in row} == row


@pytest.mark.parametrize(
    ("options", "days"),
    [
        ({"duration": "7d"}, 7),
        ({"duration": 48}, 2),
        ({"runtime": "P3D", "duration": "7d"}, 3),
        ({"runtime": "", "duration": "7d"}, 7),
        ({"expires_at": "", "runtime": None, "duration": "7d"}, 7),
        ({"duration": ""}, None),
        ({}, None),
    ],
)
def test_of_several_lifetimes_the_first_that_is_given_counts(act, proxy, options, days):
    act(guid="abc", **options)
    expires = proxy.row(ALIAS)["expires"]
    lives = expires and datetime.fromisoformat(expires.replace("Z", "+00:00")) - proxy.now()
    assert lives is None if days is None else abs(lives - timedelta(days=days)) < timedelta(seconds=5)


def test_an_instant_comes_before_all(act, proxy):
    act(guid="abc", expires_at="2099-01-01T00:00:00Z", runtime=5, duration="7d")
    assert proxy.row(ALIAS)["expires"].startswith(("2099-01-01T00:00:0", "2098-12-31T23:59:5"))


def test_settings_are_taken_off(act, proxy):
    act(guid="abc", duration="7d", tpm_limit=5, models=["gpt-4o"], user_id="user1")
    result = act(guid="abc", unset=["expires_at", "tpm_limit", "models", "user_id"])
    assert result["virtual_key"]["operation"] == "updated"
    row = proxy.row(ALIAS)
    assert [row[name] for name in ("expires", "tpm_limit", "models", "user_id")] == [None, None, [], None]
    assert act(guid="abc", unset=["expires_at", "tpm_limit", "models", "user_id"])["changed"] is False


def test_each_of_many_keys_may_say_what_is_different(act, proxy):
    result = act(
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


def test_no_keys_are_no_work(act, proxy):
    result = act(virtual_keys=[])
    assert (result["changed"], result["virtual_keys"], proxy.requests) == (False, [], [])


@pytest.mark.parametrize("source", ["argument", "variable", "environment"])
def test_where_the_connection_comes_from(act, proxy, monkeypatch, source):
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
    result = act(guid="abc", variables=variables, **arguments)
    assert (result.get("msg"), result["api_endpoint"], result["api_base_url"]) == (None, proxy.url, f"{proxy.url}/v1")
    assert result["api_calls"] == len(proxy.requests) == 4


# What it gives back


def test_the_result_is_what_its_page_says(act):
    page = importlib.import_module("ansible_collections.rhpds.litellm_virtual_keys.plugins.modules.litellm_key")
    documented = yaml.safe_load(page.RETURN)
    result = act(guid="abc", duration="7d")
    always = "when the proxy answered", "when the proxy answered, and one key was asked for"
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
def test_a_difference_is_shown_when_it_is_asked_for(act, proxy, check_mode):
    proxy.add(ALIAS, max_budget=1.0)
    result = act(guid="abc", max_budget=0, diff=True, check_mode=check_mode)
    (diff,) = result["diff"]
    assert (diff["before"]["max_budget"], diff["after"]["max_budget"]) == (1.0, 0.0)
    assert proxy.row(ALIAS)["max_budget"] == (1.0 if check_mode else 0.0)
    assert "diff" not in act(guid="abc", max_budget=2)


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
def test_the_output_is_hidden_when_it_holds_a_secret_and_is_not_all_there_is(
    act, proxy, monkeypatch, options, ad_hoc, hidden
):
    monkeypatch.setattr(context, "CLIARGS", {"module_name": NAME} if ad_hoc else {})
    proxy.add(ALIAS, SECRET)
    result = act(**options)
    assert ("_ansible_no_log" in result) == hidden
    assert bool(result["virtual_key"]["key"]) == (hidden or ad_hoc)


def test_a_difference_is_shown_even_where_the_output_is_hidden(act, monkeypatch):
    shown = []
    monkeypatch.setattr(Display, "display", lambda self, text, *args, **kwargs: shown.append(text))
    result = act(guid="abc", max_budget=3, diff=True)
    assert result["_ansible_no_log"] is True
    assert "+max_budget: 3.0" in "\n".join(shown)
    assert result["virtual_key"]["key"] not in "\n".join(shown)


def test_some_of_many_that_fail_leave_the_rest_told(act, proxy):
    proxy.add("virtkey-b", "sk-the-secret-of-another")
    keys = [{"guid": "a"}, {"guid": "b", "key": SECRET}, {"guid": "c"}]
    result = act(virtual_keys=keys)
    assert (result["failed"], result["changed"], result["_ansible_no_log"]) == (True, True, True)
    assert result["msg"].startswith("1 of 3 keys failed. virtkey-b: The key exists with another secret")
    assert [one["operation"] for one in result["virtual_keys"]] == ["created", "failed", "created"]
    assert [bool(one["key"]) for one in result["virtual_keys"]] == [True, False, True]
    assert "another secret" in result["virtual_keys"][1]["error"]


def test_a_message_of_the_proxys_does_not_show_a_secret(act, proxy, monkeypatch):
    secret = "sk-with.some-dots$and$signs"
    proxy.fault("POST /key/generate", Fault(status=500))
    monkeypatch.setattr(
        "ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm.ErrorResponse.body",
        property(lambda self: {"error": {"message": f"Bad key {secret}, asked by {MASTER_KEY}"}}),
    )
    result = act(guid="abc", key=secret)
    assert result["failed"] is True
    assert "Bad key ********" in result["msg"].replace("sk-", "")
    assert "$and" not in json.dumps(result)
    assert MASTER_KEY not in json.dumps(result)


def test_a_warning_does_not_show_a_secret(act, proxy, monkeypatch):
    # The proxy's own words, in the answer to a question that has nothing to do with the key.
    secret, shown = "sk-$some$signs$only", []
    monkeypatch.setattr(Display, "warning", lambda self, text, *args, **kwargs: shown.append(text))
    monkeypatch.setattr(
        "ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm.ErrorResponse.body",
        property(lambda self: {"error": {"message": f"Not now, {secret}"}}),
    )
    proxy.fault("GET /v1/models", Fault(status=500))
    result = act(guid="abc", key=secret, models=["granite"], on_unknown_models="warn")
    assert not result.get("failed")
    (warning,) = [text for text in shown if "Not now" in text]
    assert "Not now, ********" in warning
    assert "$some" not in warning


def test_a_proxy_that_is_not_there_is_a_sentence(act):
    result = act(guid="abc", url="http://127.0.0.1:1")
    assert (result["failed"], result["changed"]) == (True, False)
    assert "No LiteLLM proxy answers at http://127.0.0.1:1" in result["msg"]


# Its page


@pytest.mark.parametrize(
    ("page", "options"),
    [
        ("litellm_key", _arguments.OPTIONS),
        ("litellm_key_info", litellm_key_info.OPTIONS),
        ("agnosticd_user_info", agnosticd_user_info.OPTIONS),
    ],
)
def test_every_option_is_documented_as_it_is(page, options):
    documented = documented_options(page)
    assert set(documented) == set(options)
    for name, option in options.items():
        assert (name, describe_key(documented[name])) == (name, in_words(option))


def documented_options(page):
    module = importlib.import_module(f"ansible_collections.rhpds.litellm_virtual_keys.plugins.modules.{page}")
    page = yaml.safe_load(module.DOCUMENTATION)
    connects = any(name.endswith("._connection") for name in page["extends_documentation_fragment"])
    fragment = yaml.safe_load(_connection.ModuleDocFragment.DOCUMENTATION)["options"] if connects else {}
    return {**fragment, **page["options"]}


def describe_key(documented):
    return (
        documented["type"],
        documented.get("elements"),
        documented.get("default"),
        set(documented.get("choices", ())),
        documented.get("required", False),
    )


def in_words(option: Option):
    kind, elements = {"list of str": ("list", "str"), "list": ("list", "dict")}.get(option.type, (option.type, None))
    return (kind, elements, option.default, set(option.choices), False)


def test_a_key_of_many_may_take_off_or_say_otherwise_what_the_task_says(act):
    result = act(
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


@pytest.mark.parametrize("check_mode", [True, False])
def test_the_diff_shows_further_fields(act, check_mode):
    created = act(guid="abc", extra_params={"agent_id": "one"}, check_mode=check_mode, diff=True)
    assert created["diff"][0]["after"]["agent_id"] == "one"


def test_a_wrong_list_of_keys_is_not_quoted(act):
    message = act(virtual_keys={"guid": "a", "key_seed": "Q" * 40})["msg"]
    assert message == "virtual_keys must be a list, but is a value of type dict"


# Many users


def test_one_key_for_each_user_whose_name_is_put_where_it_is_asked_for(act, proxy):
    result = act(
        guid="abc", users=["ann", "bob"], user_id="{user}@x.org", metadata={"of": "{user}", "n": 1}, key_seed=SEED
    )
    assert [(entry["user"], entry["key_alias"], entry["guid"]) for entry in result["virtual_keys"]] == [
        ("ann", "virtkey-abc-ann", "abc"),
        ("bob", "virtkey-abc-bob", "abc"),
    ]
    assert [(entry["user_id"], entry["metadata"]) for entry in result["virtual_keys"]] == [
        ("ann@x.org", {"of": "ann", "n": 1}),
        ("bob@x.org", {"of": "bob", "n": 1}),
    ]
    assert [entry["key"] for entry in result["virtual_keys"]] == [
        derive(SEED, f"virtkey-abc-{user}").value for user in ("ann", "bob")
    ]
    again = act(guid="abc", users=["ann", "bob"], user_id="{user}@x.org", metadata={"of": "{user}", "n": 1})
    assert (again["changed"], again["api_calls"]) == (False, 1)


def test_without_users_the_one_key_and_braces_are_left_alone(act):
    result = act(guid="abc", users=[], metadata={"of": "{user}"})
    assert result["virtual_key"]["key_alias"] == ALIAS
    assert result["virtual_key"]["metadata"] == {"of": "{user}"}
    assert "user" not in result["virtual_key"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"users": ["a", "a"]}, "users names virtkey-abc-a more than once"),
        ({"users": ["a", ""]}, "users has an empty name"),
        ({"users": ["a "]}, "begins or ends with a blank"),
        ({"users": "a"}, "users must be a list of names"),
        ({"users": ["a"], "key": SECRET}, "key is one secret, and users are many"),
        ({"settings": {"guid": "x"}}, "settings has 'guid'; it can have"),
        ({"settings": {"master_key": "x"}}, "settings has 'master_key'; it can have"),
        ({"settings": "x"}, "settings must be a dictionary"),
        ({"settings": {"max_budget": -1}}, "max_budget is -1"),
        ({"on_create": {"tpm_limits": 1}}, "on_create: It has no option 'tpm_limits'; did you mean 'tpm_limit'?"),
        ({"on_create": {"duration": "1d"}}, "on_create: It has no option 'duration'"),
        ({"on_missing_key": "fail"}, "on_missing_key must be one of create, recreate, ignore"),
    ],
)
def test_what_cannot_be_asked_for_of_an_environment(refused, arguments, says):
    assert says in refused(guid="abc", **arguments)


def test_users_need_a_name_to_begin_with(refused):
    assert "users need guid or key_alias" in refused(key_id="0" * 64, users=["a"])
    assert "users and virtual_keys both say which keys" in refused(users=["a"], virtual_keys=[{"guid": "b"}])


def test_settings_come_first_and_metadata_are_merged(act):
    result = act(
        guid="abc",
        max_budget=1,
        runtime=24,
        metadata={"guid": "abc", "a": 1},
        settings={"max_budget": 2, "duration": "7d", "metadata": {"a": 2}, "rpm_limit": 5},
    )
    key = result["virtual_key"]
    assert (key["max_budget"], key["duration"], key["metadata"]) == (2, "7d", {"guid": "abc", "a": 2})


def test_a_secret_in_settings_is_in_no_message(act):
    result = act(guid="abc", settings={"key": SECRET, "key_seed": SEED})
    assert result["failed"]
    assert SECRET not in json.dumps(result)
    assert SEED not in json.dumps(result)


def test_what_a_new_key_gets_is_left_alone_later(act):
    first = act(guid="abc", max_budget=3, on_create={"rpm_limit": 5, "max_budget": 1, "metadata": {"a": 1}})
    assert first["virtual_key"]["max_budget"] == 3
    assert first["virtual_key"]["metadata"] == {"a": 1}
    assert act(guid="abc", on_create={"rpm_limit": 7, "metadata": {"a": 2}})["changed"] is False


def test_users_of_an_environment_are_found_by_their_keys(act, proxy):
    act(guid="abc", users=["user1", "user2", "user10"], metadata={"guid": "abc", "user": "{user}"})
    act(guid="abc-user1", users=["x"], metadata={"guid": "abc", "user": "{user}"})  # another tenant's
    act(guid="abc-tenant", metadata={"guid": "abc", "user": "{user}"})
    act(guid="abc-other", metadata={"guid": "abc-other"})
    act(guid="abcd", metadata={"guid": "abc"})
    found = act(guid="abc", users_of="abc", duration="7d")
    assert [entry["user"] for entry in found["virtual_keys"]] == ["user1", "user2", "user10"]
    assert {entry["operation"] for entry in found["virtual_keys"]} == {"updated"}


@pytest.mark.parametrize("user", [None, "user1"])
@pytest.mark.parametrize("regenerate", ["never", "always"])
def test_what_was_seen_when_users_were_looked_for_is_not_asked_again(act, proxy, user, regenerate):
    who = {"users": [user], "metadata": {"guid": "abc", "user": user}} if user else {}
    first = act(guid="abc", **who)["virtual_key"]
    found = act(guid="abc", users_of="abc", regenerate=regenerate)["virtual_key"]
    assert (found.get("user"), found["operation"]) == (user, "unchanged" if regenerate == "never" else "regenerated")
    assert (found["key_id"] == first["key_id"]) == (regenerate == "never")
    asked = [query["key_alias"] for made, query in proxy.requests if made == "GET /key/list" and "page" in query]
    beginning = asked[: len(asked) if regenerate == "never" else 3]
    alone, old = [ALIAS], [f"{ALIAS}.replaced"]
    assert beginning == [f"{ALIAS}-", *alone, *(old if user or regenerate == "always" else [])]


def test_an_environment_that_was_being_replaced_is_found(act, proxy):
    """A run that was ended has left the key under its other name; an extension gives it back its own."""
    proxy.add(f"{ALIAS}.replaced", metadata={"guid": "abc", REPLACED: ALIAS})
    result = act(guid="abc", users_of="abc", on_missing_key="ignore", tpm_limit=5)
    assert result["virtual_key"]["operation"] == "updated"
    assert proxy.aliases() == [ALIAS]


def test_without_any_key_the_environment_is_its_own_user(act):
    result = act(guid="abc", users_of="abc", on_missing_key="ignore")
    assert (result["changed"], result["virtual_key"]["operation"]) == (False, "absent")
    assert result["virtual_key"]["key_alias"] == ALIAS


# Saved secrets


def save(folder, **data):
    (folder / "provision-user-data.yaml").write_text(yaml.safe_dump(data))


def test_a_saved_secret_is_told_but_a_new_key_gets_another(act, proxy, tmp_path):
    variables = {"litellm_url": proxy.url, "litellm_master_key": MASTER_KEY, "output_dir": str(tmp_path)}
    save(tmp_path, litellm_key_alias=ALIAS, litellm_virtual_key=SECRET)
    new = act(variables=variables, guid="abc", recall=True)["virtual_key"]
    assert (new["operation"], new["key_source"]) == ("created", "generated")
    save(tmp_path, users={"u": {"litellm_key_alias": ALIAS, "litellm_virtual_key": new["key"]}})
    again = act(variables=variables, guid="abc", recall=True, on_unknown_key="fail")["virtual_key"]
    assert (again["key"], again["key_source"], again["operation"]) == (new["key"], "given", "unchanged")
    assert act(variables=variables, guid="abc")["virtual_key"]["key"] is None


def test_a_key_that_is_gone_comes_back_with_its_saved_secret_and_no_other(act, proxy, tmp_path):
    variables = {"litellm_url": proxy.url, "litellm_master_key": MASTER_KEY, "output_dir": str(tmp_path)}
    gone = act(variables=variables, guid="abc", recall=True, on_missing_key="recreate")
    assert gone["msg"].startswith(f"There is no key {ALIAS}: it was removed")
    assert proxy.rows == {}
    facts = {"litellm_key_aliases": [ALIAS], "litellm_virtual_keys": [SECRET]}
    back = act(variables={**variables, **facts}, guid="abc", recall=True, on_missing_key="recreate")["virtual_key"]
    assert (back["key"], back["operation"]) == (SECRET, "created")


def test_a_fact_that_is_a_template_is_not_recalled(act, proxy, tmp_path):
    variables = {"litellm_url": proxy.url, "litellm_master_key": MASTER_KEY, "output_dir": str(tmp_path)}
    facts = {"litellm_key_alias": ALIAS, "litellm_virtual_key": trust_as_template("{{ undefined_ }}")}
    assert act(variables={**variables, **facts}, guid="abc", recall=True)["virtual_key"]["operation"] == "created"


@pytest.mark.parametrize("many", [False, True], ids=["one", "list"])
def test_a_template_is_not_taken_for_the_secret_of_a_key_that_is_gone(act, proxy, tmp_path, many):
    # What it says may be a lookup of this very key; as text it would become the secret.
    variables = {"litellm_url": proxy.url, "litellm_master_key": MASTER_KEY, "output_dir": str(tmp_path)}
    template = trust_as_template("sk-{{'a-template-that-nobody-renders'}}")
    facts = {"litellm_key_alias": ALIAS, "litellm_virtual_key": template}
    if many:
        facts = {"litellm_key_aliases": [ALIAS], "litellm_virtual_keys": [template]}
    gone = act(variables={**variables, **facts}, guid="abc", recall=True, on_missing_key="recreate")
    assert gone["msg"].startswith(f"There is no key {ALIAS}: it was removed")
    assert proxy.rows == {}


def test_user_data_that_cannot_be_read_stop_it_before_anything_is_done(act, proxy, tmp_path):
    variables = {"litellm_url": proxy.url, "litellm_master_key": MASTER_KEY, "output_dir": str(tmp_path)}
    (tmp_path / "provision-user-data.yaml").write_text("a: [")
    assert "is not YAML" in act(variables=variables, guid="abc", recall=True)["msg"]
    assert proxy.requests == []


def test_keys_that_outlive_their_deletion_are_named(act, proxy):
    made = act(guid="abc")["virtual_key"]
    proxy.undeletable.add(made["key_id"])
    result = act(guid="abc", state="absent")
    assert (result["failed"], result["not_deleted"]) == (True, [made["key_id"]])
