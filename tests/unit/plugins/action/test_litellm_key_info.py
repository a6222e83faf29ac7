# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `litellm_key_info` as Ansible loads and runs it: which keys it returns, without secrets."""

from __future__ import annotations

import importlib
import json
from datetime import timedelta

import pytest
import yaml
from ansible.utils.display import Display
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.shared_budget import MANAGED_BY
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY, Fault

try:
    from ansible.template import is_trusted_as_template, trust_as_template
except ImportError:  # ansible-core before 2.19 trusts every string, and makes the results of actions unsafe itself
    trust_as_template = str

    def is_trusted_as_template(value):
        return False


NAME = "rhpds.litellm_virtual_keys.litellm_key_info"
SECRET = "sk-the-secret-of-somebody"
DAY = timedelta(days=1)


@pytest.fixture
def run(run_action):
    def run_task(**arguments):
        result = run_action(NAME, arguments)
        assert result["changed"] is False
        assert "sk-t" not in json.dumps(result)
        return result

    return run_task


@pytest.fixture
def aliases_of(run):
    """Return the aliases of the returned keys, in their order."""

    def aliases(**arguments):
        return [key["key_alias"] for key in run(**arguments)["virtual_keys"]]

    return aliases


@pytest.fixture(autouse=True)
def ids(proxy):
    """Add some keys, the oldest first, and return their ids by alias."""
    proxy.add_team("red")
    ends = {days: (proxy.now() + days * DAY).isoformat() for days in (-2, 2, 20)}
    keys = {
        "virtkey-a": {"expires": ends[2], "user_id": "user1", "team_id": "red"},
        "virtkey-b": {"expires": ends[-2], "user_id": "user1"},
        "virtkey-c": {"blocked": True, "expires": ends[20], "user_id": "user11"},
        "lab-a": {"team_id": "red"},
        "not-virtkey-a": {},
    }
    ages = range(len(keys), 0, -1)
    return {alias: proxy.add(alias, age=age * DAY, **row) for age, (alias, row) in zip(ages, keys.items(), strict=True)}


@pytest.mark.parametrize(
    ("arguments", "aliases"),
    [
        # By name: in the order of the names, without those that do not exist.
        ({"guid": "a"}, ["virtkey-a"]),
        ({"guid": ["b", "a", "b"]}, ["virtkey-b", "virtkey-a"]),
        ({"guid": "a", "alias_prefix": "lab-"}, ["lab-a"]),
        ({"guid": "virtkey-a", "alias_prefix": ""}, ["virtkey-a"]),
        ({"guid": ["missing", "a"]}, ["virtkey-a"]),
        ({"guid": []}, []),
        ({"key_alias": "lab-a"}, ["lab-a"]),
        ({"key_alias": ["lab-a", "not-virtkey-a"], "guid": "a"}, ["virtkey-a", "lab-a", "not-virtkey-a"]),
        ({"guid": [f"number{number}" for number in range(9)] + ["c"]}, ["virtkey-c"]),
        # By filter: the oldest first.
        ({}, ["virtkey-a", "virtkey-b", "virtkey-c", "lab-a", "not-virtkey-a"]),
        ({"alias_prefix": "virtkey-"}, ["virtkey-a", "virtkey-b", "virtkey-c"]),
        ({"alias_prefix": "nothing-"}, []),
        ({"user_id": "user1"}, ["virtkey-a", "virtkey-b"]),
        ({"team_id": "red"}, ["virtkey-a", "lab-a"]),
        ({"team_id": "red", "alias_prefix": "lab"}, ["lab-a"]),
        ({"status": "active"}, ["virtkey-a", "lab-a", "not-virtkey-a"]),
        ({"status": "expired"}, ["virtkey-b"]),
        ({"status": "blocked"}, ["virtkey-c"]),
        ({"expires_before": "2999-01-01"}, ["virtkey-a", "virtkey-b", "virtkey-c"]),
        ({"expires_before": "2000-01-01"}, []),
        # Empty means not given.
        (
            {"user_id": "", "team_id": "", "status": "", "expires_before": "", "alias_prefix": ""},
            ["virtkey-a", "virtkey-b", "virtkey-c", "lab-a", "not-virtkey-a"],
        ),
        ({"guid": "a", "user_id": "", "status": ""}, ["virtkey-a"]),
        # Both: those of the named keys that pass the filters.
        ({"guid": ["a", "b"], "status": "active"}, ["virtkey-a"]),
    ],
)
@pytest.mark.parametrize("release", [(1, 60, 0), (1, 85, 0), (1, 106, 2)], ids=str)
def test_which_keys_are_returned(proxy, aliases_of, release, arguments, aliases):
    proxy.release = release
    assert aliases_of(**arguments) == aliases


def test_a_key_with_an_unreadable_expiry_is_returned_with_the_problem(proxy, run, aliases_of):
    proxy.add("virtkey-odd", expires="99999-01-01")
    odd, other = run(guid=["odd", "a"])["virtual_keys"]
    assert (odd["status"], odd["expires"], odd["unreadable"]) == ("unknown", None, ["expires"])
    assert "unexpected data for key virtkey-odd: expires: " in odd["problem"]
    assert (other["status"], other["problem"], other["unreadable"]) == ("active", None, [])
    assert aliases_of(status="unknown") == ["virtkey-odd"]


def test_a_key_is_found_by_its_id(aliases_of, ids):
    assert aliases_of(key_id=ids["lab-a"]) == ["lab-a"]
    assert aliases_of(key_id=["0" * 64, ids["virtkey-b"], ids["virtkey-a"]]) == ["virtkey-b", "virtkey-a"]


def test_an_instant_between_two_expiries(proxy, aliases_of):
    assert aliases_of(expires_before=(proxy.now() + 5 * DAY).isoformat()) == ["virtkey-a", "virtkey-b"]


def test_all_pages_are_read(proxy, aliases_of):
    for number in range(250):
        proxy.add(f"many-{number}")
    assert len(aliases_of()) == 255
    assert len(proxy.requests) == 1 + 3
    assert len(aliases_of(alias_prefix="virtkey-")) == 3
    assert len(proxy.requests) <= 1 + 2


def test_the_result_is_as_documented(run, proxy, ids):
    page = importlib.import_module("ansible_collections.rhpds.litellm_virtual_keys.plugins.modules.litellm_key_info")
    documented = yaml.safe_load(page.RETURN)
    result = run(guid="a")
    assert set(result) - {"changed"} == set(documented)
    (key,) = result["virtual_keys"]
    assert set(key) == set(documented["virtual_keys"]["contains"])
    assert (key["guid"], key["status"], key["key_id"], key["user_id"]) == ("a", "active", ids["virtkey-a"], "user1")
    assert (result["api_endpoint"], result["api_calls"]) == (proxy.url, len(proxy.requests))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"guid": {"a": 1}}, "guid must be a name or a list of names, but contains {'a': 1}"),
        ({"guid": ""}, "guid must be a name or a list of names, but contains ''"),
        ({"guid": ["a", None]}, "guid must be a name or a list of names, but contains None"),
        ({"key_alias": ["a", "b\tc"]}, "'b\\tc' contains a character that is not printable"),
        ({"key_id": SECRET}, "key_id must be 64 hexadecimal digits"),
        ({"status": "dead"}, "status must be one of active, expired, blocked, unknown, but is 'dead'"),
        ({"expires_before": "soon"}, "expires_before: 'soon' is not an instant"),
        ({"alias": "a"}, "no option 'alias'; did you mean 'key_alias'?"),
        ({"guid": "a", "master_key": "the-key"}, "master_key must start with 'sk-'"),
    ],
)
def test_invalid_options_are_refused_with_one_message_before_any_request(run, proxy, arguments, message):
    result = run(**arguments)
    assert (result["failed"], proxy.requests) == (True, [])
    assert message in result["msg"]


# Keywords of the task


@pytest.fixture
def run_with(run_action, proxy):
    """Run the action with keywords of a task, and return the URL that it used; the master key is a variable."""

    def run_task(arguments=None, variables=None, **keywords):
        variables = {"litellm_master_key": MASTER_KEY, "litellm_retries": 0, **(variables or {})}
        result = run_action(NAME, {"guid": "a", **(arguments or {})}, variables=variables, **keywords)
        return result.get("api_endpoint") or result["msg"]

    return run_task


def test_the_environment_of_the_task_is_read(run_with, proxy, monkeypatch):
    monkeypatch.setenv("LITELLM_URL", "http://127.0.0.1:9")
    url = {"LITELLM_URL": proxy.url}
    assert run_with(environment=[url]) == proxy.url
    assert run_with(environment=[{"LITELLM_URL": "http://127.0.0.1:9"}, url]) == proxy.url  # the inner level
    template = trust_as_template("{{ address }}")
    assert run_with(environment=[{"LITELLM_URL": template}], variables={"address": proxy.url}) == proxy.url
    whole = trust_as_template("{{ url }}")
    assert run_with(environment=[whole], variables={"url": url}) == proxy.url
    assert "127.0.0.1:9" in run_with(environment=[{"LITELLM_URL": ""}, {"LITELLM_PROXY_URL": "http://127.0.0.1:9"}])
    # A variable, and all the more an argument, has precedence.
    assert (
        run_with(environment=[{"LITELLM_URL": "http://127.0.0.1:9"}], variables={"litellm_url": proxy.url}) == proxy.url
    )


def test_other_variables_in_the_environment_are_not_rendered(run_with, proxy):
    path = trust_as_template("{{ ansible_env.PATH }}:/opt/bin")
    undefined = trust_as_template("{{ nowhere }}")
    assert run_with(environment=[{"PATH": path, "LITELLM_URL": proxy.url}, undefined]) == proxy.url


def test_module_defaults_apply_to_empty_and_omitted_arguments(run_with, proxy):
    group, own = "group/rhpds.litellm_virtual_keys.litellm", NAME
    minus = trust_as_template("{{ minus }}")
    for arguments in ({}, {"timeout": ""}, {"timeout": None}):
        arguments["url"] = proxy.url
        for defaults in (
            [{group: {"timeout": -7}}],
            [{group: {"timeout": 30}}, {group: {"timeout": -7}}],
            [{own: {"timeout": -7}, group: {"timeout": 30}}],
            [{group: {"timeout": minus}}],
        ):
            assert "timeout is -7" in run_with(arguments, {"minus": -7}, module_defaults=defaults)
    assert run_with({"url": proxy.url, "timeout": 30}, module_defaults=[{group: {"timeout": -7}}]) == proxy.url
    assert run_with({"url": proxy.url}, module_defaults=[{"ansible.builtin.copy": {"timeout": -7}}]) == proxy.url


def test_jinja_in_every_field_of_a_key_stays_text(run, run_action, proxy):
    """So does what the other actions return of such a key."""
    code = "{{ 7 * 7 }}"
    fields = ("user_id", "budget_duration", "budget_id", "organization_id", "project_id", "key_name")
    proxy.add(
        f"virtkey-{code}",
        **dict.fromkeys(fields, code),
        models=[code],
        aliases={code: code},
        permissions={code: code},
        metadata={code: [code, {code: code}], "guid": code, "tags": [code]},
    )
    (found,) = run(key_alias=f"virtkey-{code}")["virtual_keys"]
    assert (found["user_id"], found["key_name"], found["models"]) == (code, code, [code])
    assert found["metadata"] == {code: [code, {code: code}], "guid": code, "tags": [code]}
    updated = run_action("rhpds.litellm_virtual_keys.litellm_key", {"key_alias": f"virtkey-{code}", "max_budget": 1})
    environment = run_action(
        "rhpds.litellm_virtual_keys.litellm_environment",
        {"guid": code, "operation": "status", "key_alias": f"virtkey-{code}"},
    )
    assert [key["key_alias"] for key in environment["virtual_keys"]] == [f"virtkey-{code}"]
    for result in (found, updated, environment):
        assert json.dumps(result).count(code) > 3
        assert not {"49", "virtkey-49"} & set(texts_in(result))
        assert not [text for text in texts_in(result) if "{{" in text and is_trusted_as_template(text)]


def texts_in(value):
    if isinstance(value, dict):
        return [*value, *(text for inner in value.values() for text in texts_in(inner))]
    if isinstance(value, list):
        return [text for inner in value for text in texts_in(inner)]
    return [value] if isinstance(value, str) else []


def test_shared_budgets_are_listed_once_and_only_if_a_key_has_one(run, proxy):
    assert run(shared_budgets=True)["shared_budgets"] == []  # virtkey-a is in a team that is not its environment's
    assert proxy.counts()["GET /v2/team/list"] == 0
    for guid, owner in (("x", "x"), ("y", "other"), ("z", "z")):
        proxy.add_team(
            f"virtkey-{guid}", max_budget=10.0, spend=2.5, metadata={"guid": owner, "managed_by": MANAGED_BY}
        )
        for user in ("ann", "bob"):
            proxy.add(f"virtkey-{guid}-{user}", team_id=f"virtkey-{guid}", metadata={"guid": guid})
    proxy.add_team("virtkey-w", max_budget=10.0, metadata={"guid": "w"})
    proxy.add("virtkey-w", team_id="virtkey-w", metadata={"guid": "w"})
    result = run(shared_budgets=True)
    assert [(one["guid"], one["limit"], one["spent"], one["left"]) for one in result["shared_budgets"]] == [
        ("x", 10.0, 2.5, 7.5),
        ("z", 10.0, 2.5, 7.5),
    ]
    assert proxy.counts()["GET /v2/team/list"] == 1
    proxy.add_team("virtkey-u", max_budget=1.0, metadata={"guid": "u", "managed_by": MANAGED_BY})
    proxy.add_team("other-v", max_budget=1.0, metadata={"guid": "v", "managed_by": MANAGED_BY})
    proxy.add_team("virtkey-t", max_budget=1.0, metadata={"guid": "t"})
    unused = run(shared_budgets=True, alias_prefix="virtkey-")
    assert [one["guid"] for one in unused["shared_budgets"]] == ["u", "x", "z"]
    only = run(shared_budgets=True, metadata={"guid": "z"})
    assert [one["team_id"] for one in only["shared_budgets"]] == ["virtkey-z"]
    assert run()["shared_budgets"] == []
    assert proxy.counts()["GET /v2/team/list"] == 0


def test_keys_are_returned_although_their_shared_budgets_cannot_be_read(run, proxy, monkeypatch):
    warnings = []
    monkeypatch.setattr(Display, "warning", lambda self, text, *args, **kwargs: warnings.append(text))
    proxy.add("virtkey-x-ann", team_id="virtkey-x", metadata={"guid": "x"})
    proxy.fault("GET /v2/team/list", Fault("status", 403, "No."))
    result = run(shared_budgets=True)
    assert ("virtkey-x-ann" in [key["key_alias"] for key in result["virtual_keys"]], result["shared_budgets"]) == (
        True,
        [],
    )
    assert "are left out, because they cannot be read: LiteLLM returned 403" in warnings[0]
