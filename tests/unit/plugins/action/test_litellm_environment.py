# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `litellm_environment` as Ansible loads and runs it: users, settings, its result, and saved secrets."""

from __future__ import annotations

import importlib
import json
import math
import os
import pathlib
import re
import stat
from datetime import timedelta

import pytest
import yaml
from ansible.utils.display import Display
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment import key_lists
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.results import without_empty
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import derive
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import REPLACES
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._text import Wording
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY, Fault

NAME = "rhpds.litellm_virtual_keys.litellm_environment"
SECRET = "sk-the-secret-that-i-chose"
SEED = "a seed of more than 32 characters, as required"
ALIAS = "virtkey-abc"
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(reconcile, "_pause", lambda attempt: None)


@pytest.fixture
def run(run_action, proxy, tmp_path):
    """Run the action for the environment abc, with user data in a folder of the test."""

    def run_task(operation="provision", *, check_mode=False, diff=False, no_log=False, variables=None, **arguments):
        variables = {
            "litellm_url": proxy.url,
            "litellm_master_key": MASTER_KEY,
            "litellm_retries": 0,
            "output_dir": str(tmp_path),
            **(variables or {}),
        }
        arguments = {"operation": operation, "guid": "abc", **arguments}
        return run_action(NAME, arguments, check_mode=check_mode, diff=diff, no_log=no_log, variables=variables)

    return run_task


@pytest.fixture
def warnings(monkeypatch):
    """Record the warnings."""
    texts = []
    monkeypatch.setattr(Display, "warning", lambda self, text, *args, **kwargs: texts.append(text))
    return texts


def operations(result):
    assert result.get("msg") is None
    return [entry["operation"] for entry in result["virtual_keys"]]


def user_data(folder):
    path = folder / "provision-user-data.yaml"
    return yaml.safe_load(path.read_text()) if path.exists() else {}


# Users


def test_each_user_gets_a_key_with_own_settings(run):
    arguments = {
        "users": ["ann", "bob"],
        "settings": {"user_id": "{user}@x.org"},
        "metadata": {"of": "{user}", "n": 1},
        "key_seed": SEED,
    }
    result = run(**arguments)
    assert [(entry["user"], entry["key_alias"], entry["guid"]) for entry in result["virtual_keys"]] == [
        ("ann", "virtkey-abc-ann", "abc"),
        ("bob", "virtkey-abc-bob", "abc"),
    ]
    created = {"duration": "", "models": "", "models_count": 0}
    assert [(entry["user_id"], entry["metadata"]) for entry in result["virtual_keys"]] == [
        (
            f"{user}@x.org",
            {"guid": "abc", "user": user, "of": user, "n": 1, "user_number": number, **created},
        )
        for number, user in enumerate(("ann", "bob"), start=1)
    ]
    assert [entry["key"] for entry in result["virtual_keys"]] == [
        derive(SEED, f"virtkey-abc-{user}").value for user in ("ann", "bob")
    ]
    again = run(**arguments)
    assert (again["changed"], again["api_calls"]) == (False, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": ["a", ""]}, "users contains an empty name"),
        ({"users": ["a "]}, "starts or ends with white space"),
        ({"users": "[a, b]"}, "users must be a list of names"),
        ({"settings": {"guid": "x"}}, "settings contains 'guid'; it can contain"),
        ({"settings": {"master_key": "x"}}, "settings contains 'master_key'; it can contain"),
        ({"settings": "x"}, "settings must be a dictionary"),
        ({"settings": {"max_budget": -1}}, "settings: max_budget is -1"),
        ({"settings": {"on_create": {"tpm_limits": 1}}}, "on_create has no option 'tpm_limits'"),
        ({"duration": 7}, "duration: 7 has no unit"),
        ({"runtime": "long"}, "runtime: 'long' is not a duration"),
        ({"platform_runtime": "long"}, "platform_runtime: 'long' is not a duration"),
        ({"expires_at": "soon"}, "expires_at: 'soon' is not an instant"),
        ({"settings": {"duration": "long"}, "duration": "7d"}, "settings: duration: 'long' is not a duration"),
        ({"settings": {"rotation_interval": "long"}}, "settings: rotation_interval: 'long' is not a duration"),
        ({"settings": {"max_budget": "much"}}, "settings: max_budget must be a number"),
        ({"guid": ""}, "guid is not set"),
        ({"durations": "7d"}, "litellm_environment has no option 'durations'; did you mean 'duration'?"),
        ({"metadata": {"a": "\0"}}, "metadata contains a value that cannot be stored"),
        (
            {"metadata": {"n": math.inf}},
            "metadata contains a value that cannot be stored: Infinity, which is not a number",
        ),
        ({"settings": {"metadata": {"n": math.nan}}}, "metadata contains a value that cannot be stored: NaN, which is"),
    ],
)
def test_invalid_options_are_refused_before_any_request(run, proxy, arguments, message):
    result = run(**arguments)
    assert (result["failed"], result["changed"], proxy.requests) == (True, False, [])
    assert message in result["msg"]
    assert "\n" not in result["msg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": ["a", "a"]}, "users names virtkey-abc-a more than once"),
        ({"users": ["a", "b"], "settings": {"key": SECRET}}, "Several virtual keys have the same secret (key)"),
    ],
)
def test_users_with_the_same_alias_or_secret_are_refused_before_any_change(run, proxy, arguments, message):
    result = run(**arguments)
    assert (result["failed"], result["changed"], proxy.rows) == (True, False, {})
    assert result["msg"].startswith(message)
    assert SECRET not in json.dumps(result)


# Settings


def test_settings_override_the_other_options_and_metadata_are_merged(run):
    result = run(
        max_budget=1,
        runtime=24,
        metadata={"a": 1, "b": 1},
        settings={"max_budget": 2, "duration": "7d", "metadata": {"a": 2}, "rpm_limit": 5},
    )
    (key,) = result["virtual_keys"]
    assert (key["max_budget"], key["duration"]) == (2, "7d")
    assert {name: key["metadata"][name] for name in ("guid", "a", "b")} == {"guid": "abc", "a": 2, "b": 1}


def test_secrets_in_settings_are_not_in_a_message(run):
    result = run(settings={"key": SECRET, "key_seed": SEED})
    assert result["failed"]
    assert SECRET not in json.dumps(result)
    assert SEED not in json.dumps(result)


# The keys of an environment


def add_environment(proxy, guid, *users, **row):
    """Add the keys of an environment, and return their ids by alias."""
    names = {f"virtkey-{guid}-{user}": {"user": user} for user in users} or {f"virtkey-{guid}": {}}
    return {alias: proxy.add(alias, metadata={"guid": guid, **more}, **row) for alias, more in names.items()}


def test_the_users_of_an_environment_are_found_by_their_keys(run, proxy):
    own = add_environment(proxy, "abc", "user1", "user2", "user10")
    add_environment(proxy, "abc-user1", "x")
    add_environment(proxy, "abc-other")
    proxy.add("virtkey-abc-tenant", metadata={"guid": "tenant"})
    proxy.add("virtkey-abcd", metadata={"guid": "abc"})
    result = run("extend", duration="7d", settings={"shorten": True})
    assert [entry["user"] for entry in result["virtual_keys"]] == ["user1", "user2", "user10"]
    assert operations(result) == ["updated"] * 3
    assert {key_id for key_id, row in proxy.rows.items() if row["expires"]} == set(own.values())


@pytest.mark.parametrize("user", [None, "user1"])
@pytest.mark.parametrize("regenerate", ["never", "always"])
def test_the_keys_that_were_found_are_not_listed_again(run, proxy, user, regenerate):
    proxy.add(f"{ALIAS}-{user}" if user else ALIAS, SECRET, metadata={"guid": "abc"})
    result = run("extend", duration="30d", regenerate=regenerate)
    (key,) = result["virtual_keys"]
    assert (key.get("user"), key["operation"]) == (user, "unchanged" if regenerate == "never" else "regenerated")
    listings = [
        query["key_alias"] for request, query in proxy.requests if request == "GET /key/list" and "page" in query
    ]
    changes = [number for number, (request, _query) in enumerate(proxy.requests) if request.startswith("POST")]
    # An environment without a key of its own may have one that is to get its alias.
    expected = (
        [f"{ALIAS}-", ALIAS] if user is None or regenerate != "never" else [f"{ALIAS}-", ALIAS, f"{ALIAS}.replacement"]
    )
    assert listings[: len(expected)] == expected
    if regenerate == "never":
        assert (len(listings), changes) == (len(expected), [])
    else:
        assert changes[0] <= 5  # after the listings, and probes of the permission and of the filters of the release


def test_an_environment_whose_key_was_being_replaced_is_found(run, proxy):
    """A run that was killed has deleted the old key and left the new one under another alias."""
    proxy.add(f"{ALIAS}.replacement", metadata={"guid": "abc", REPLACES: "0" * 64})
    assert operations(run("extend", duration="7d", settings={"shorten": True, "tpm_limit": 5})) == ["updated"]
    assert proxy.aliases() == [ALIAS]


def test_without_any_key_there_is_nothing_to_extend(run, proxy):
    result = run("extend", duration="7d")
    assert result["msg"].startswith("There is no virtual key of environment abc to extend")
    assert (result["changed"], proxy.rows) == (False, {})


@pytest.mark.parametrize("operation", ["provision", "extend", "stop", "destroy"])
def test_a_key_of_another_environment_is_not_touched(run, proxy, operation):
    proxy.add("virtkey-abc-1", metadata={"guid": "abc-1"})
    before = json.dumps(proxy.rows)
    result = run(operation, users=["1"], duration="7d", block_on_stop=True)
    assert "it belongs to environment abc-1 and not to abc" in result["msg"]
    assert json.dumps(proxy.rows) == before


def test_a_key_of_another_environment_keeps_its_record(run, proxy):
    """The alias of user bob of abc is that of the environment abc-bob."""
    theirs = run(guid="abc-bob", duration="7d")["virtual_keys"][0]
    refused = run(users=["ann", "bob"], duration="7d")
    assert "it belongs to environment abc-bob and not to abc" in refused["msg"]
    assert theirs["key"] not in json.dumps(refused)
    assert operations(run("extend", guid="abc-bob", duration="30d")) == ["updated"]
    assert operations(run("destroy")) == ["absent", "deleted"]
    assert proxy.aliases() == ["virtkey-abc-bob"]
    assert run(guid="abc-bob", duration="30d")["virtual_keys"][0]["key"] == theirs["key"]


def nested(levels):
    value: dict[str, object] = {}
    for _level in range(levels - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize("levels", [41, 97, 150, 400])
def test_a_key_with_more_levels_of_metadata_can_be_deleted_and_stops_no_other(run, proxy, levels):
    add_environment(proxy, "abc")
    row = proxy.row(ALIAS)
    row["metadata"] = {**row["metadata"], "a": nested(levels)}
    proxy.add("copy of virtkey-abc-user", metadata=nested(levels))
    statuses = {one["key_alias"]: one["problem"] for one in run("status")["virtual_keys"]}
    assert statuses[ALIAS] == (
        "The proxy returned unexpected data for key virtkey-abc: metadata has more than 40 levels"
    )
    assert [problem for alias, problem in statuses.items() if alias != ALIAS] == [None] * (len(statuses) - 1)
    destroyed = run("destroy")
    assert (destroyed.get("msg"), destroyed["facts"]["litellm_key_deleted"]) == (None, True)
    assert not [alias for alias in proxy.aliases() if alias.startswith(ALIAS)]


def test_metadata_with_the_most_levels_can_be_saved_and_read_back(run, proxy):
    for arguments in ({}, {"users": ["ann", "bob"]}):
        for operation in ("provision", "extend", "status", "stop", "start", "rotate", "destroy"):
            lifetime = {"duration": "7d"} if operation in ("provision", "extend") else {}
            result = run(operation, metadata=nested(40), block_on_stop=True, **arguments, **lifetime)
            assert (operation, result.get("msg")) == (operation, None)
    assert "it is nested more than 40 levels deep" in run(metadata=nested(41))["msg"]
    assert proxy.aliases() == []


def test_the_status_warns_of_keys_with_unreadable_data(run, proxy, warnings):
    proxy.add("virtkey-abc", expires="99999-01-01")
    result = run("status")
    assert [one["status"] for one in result["virtual_keys"]] == ["unknown"]
    assert result["summary"][:2] == ["Environment abc has 1 virtual key: 1 unknown", "End: unknown"]
    assert [one for one in warnings if "unexpected data for key virtkey-abc: expires: " in one]


# The result


@pytest.mark.parametrize("operation", ["provision", "extend", "stop", "start", "status", "destroy", "unknown"])
def test_the_result_is_as_documented(run, operation):
    page = importlib.import_module("ansible_collections.rhpds.litellm_virtual_keys.plugins.modules.litellm_environment")
    documented = yaml.safe_load(page.RETURN)
    run()
    result = run(operation, duration="30d", block_on_stop=True)
    assert not result.get("failed")
    shown = set(result) - {"changed", "_ansible_no_log"}
    if operation == "unknown":
        assert shown == {
            name for name, one in documented.items() if one["returned"].startswith(("always", "on success"))
        }
    else:
        assert shown == set(documented) - {"diff"}
        assert result["operation"] == operation
    types = {"str": (str,), "list": (list,), "dict": (dict,), "int": (int,), "raw": (str, list)}
    for name in shown:
        assert isinstance(result[name], types[documented[name]["type"]]), name


def test_the_facts_are_complete_after_every_operation(run):
    complete = set(run(users=["ann"])["facts"])
    for operation in ("extend", "stop", "start", "status", "destroy"):
        facts = run(operation, duration="30d", block_on_stop=True)["facts"]
        assert set(facts) - {"litellm_key_deleted", "litellm_key_was_missing"} == complete - {
            "litellm_key_deleted",
            "litellm_key_was_missing",
        }
    assert "sk-" not in json.dumps(facts)


@pytest.mark.parametrize("operation", ["provision", "extend", "destroy"])
def test_check_mode_changes_and_saves_nothing(run, proxy, tmp_path, operation):
    if operation != "provision":
        add_environment(proxy, "abc")
    before = json.dumps(proxy.rows)
    result = run(operation, duration="7d", settings={"shorten": True}, check_mode=True)
    assert (result.get("msg"), result["changed"]) == (None, True)
    assert (json.dumps(proxy.rows), list(tmp_path.iterdir())) == (before, [])


@pytest.mark.parametrize("no_log", [False, True])
def test_the_diff_is_displayed_unless_the_task_sets_no_log(run, monkeypatch, no_log):
    shown = []
    monkeypatch.setattr(Display, "display", lambda self, text, *args, **kwargs: shown.append(text))
    metadata = {"logging": [{"callback_vars": {"langfuse_secret_key": "the-secret-of-langfuse"}}]}
    result = run(metadata=metadata, diff=True, no_log=no_log)
    assert (result["changed"], result["_ansible_no_log"]) == (True, True)
    assert ("diff" in result) is not no_log
    assert ("the-secret-of-langfuse" in "\n".join(shown)) is not no_log


@pytest.mark.parametrize("operation", ["stop", "start"])
def test_keys_are_blocked_only_if_requested(run, proxy, operation):
    add_environment(proxy, "abc", "ann", "bob", blocked=operation == "start")
    result = run(operation)
    assert (result["changed"], result["operation"], proxy.requests) == (False, "", [])
    assert result["report"]
    assert operations(run(operation, block_on_stop=True)) == ["updated"] * 2
    assert {row["blocked"] for row in proxy.rows.values()} == {operation == "stop"}


# Saved secrets


def test_a_second_provision_returns_the_saved_secrets(run):
    first = run(users=["ann", "bob"])
    assert operations(first) == ["created"] * 2
    second = run(users=["ann", "bob"])
    assert operations(second) == ["unchanged"] * 2
    assert [entry["key"] for entry in second["virtual_keys"]] == [entry["key"] for entry in first["virtual_keys"]]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_if_one_key_fails_the_others_are_saved_and_the_next_run_creates_the_rest(run, proxy, failing):
    users = ["ann", "bob", "eve"]
    proxy.fault("POST /key/generate", *(Fault("nothing") for _unused in range(failing)), Fault(status=500))
    first = run(users=users, variables={"litellm_concurrency": 1})
    assert first["failed"]
    assert first["msg"].startswith(f"1 of 3 keys failed. virtkey-abc-{users[failing]}: Cannot create the virtual key: ")
    assert "LiteLLM returned 500" in first["msg"]
    secrets = {entry["key_alias"]: entry["key"] for entry in first["virtual_keys"] if entry["key"]}
    assert sorted(secrets) == proxy.aliases()
    second = run(users=users)
    assert sorted(operations(second)) == ["created", "unchanged", "unchanged"]
    assert {entry["key_alias"]: entry["key"] for entry in second["virtual_keys"]}.items() >= secrets.items()


def test_a_failed_result_has_no_empty_values_because_ansible_prints_all_of_it(run):
    result = run(models=["unknown"], on_unknown_models="fail")
    assert set(result) >= {"failed", "msg", "changed", "operation", "virtual_keys", "api_calls"}
    assert not {name for name, value in result.items() if value in ([], {}, "")} | {"facts"} & set(result)
    assert set(without_empty(result, Wording(in_playbook=True))) == {"changed", "operation"}


def test_a_file_that_a_key_was_written_to_is_remembered(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "ann.env"

    def places(result):
        return [(one["state"], one["env_file"]) for one in result["handover"]]

    assert places(run(users=["ann", "bob"], env_file="{user}.env")) == [
        ("present", str(tmp_path / f"{user}.env")) for user in ("ann", "bob")
    ]
    file.touch()
    assert places(run(users=["ann", "bob"])) == []  # the same keys
    assert places(run("rotate", users=["all"])) == [("present", str(file))]  # there is no file for bob
    assert places(run("stop", block_on_stop=True)) == []
    assert places(run("destroy")) == [("absent", str(file))]
    assert places(run(users=["ann", "bob"])) == []


@pytest.mark.parametrize(("delegate_to", "is_local"), [(None, True), ("localhost", False)])
def test_the_files_of_a_delegated_task_are_not_on_the_controller(run_action, proxy, tmp_path, delegate_to, is_local):
    variables = {"litellm_url": proxy.url, "litellm_master_key": MASTER_KEY, "inventory_hostname": "web"}
    arguments = {"guid": "abc", "env_file": ".env", "handover_host": "web"}
    result = run_action(NAME, arguments, variables={**variables, "output_dir": str(tmp_path)}, delegate_to=delegate_to)
    assert pathlib.Path(result["handover"][0]["env_file"]).is_absolute() == is_local
    assert user_data(tmp_path)["litellm_keys"][ALIAS]["handover"]["handover_host"] == (
        "localhost" if is_local else "web"
    )


@pytest.mark.parametrize("operation", ["provision", "destroy"])
def test_invalid_user_data_are_an_error_before_any_change(run, proxy, tmp_path, operation):
    proxy.add("virtkey-other")
    (tmp_path / "provision-user-data.yaml").write_text("a: [")
    result = run(operation)
    assert "is not valid YAML" in result["msg"]
    assert proxy.aliases() == ["virtkey-other"]


def test_a_new_key_whose_secret_cannot_be_saved_is_deleted_again(run, proxy, tmp_path):
    (tmp_path / "file").touch()
    result = run(variables={"output_dir": str(tmp_path / "file" / "folder")})
    assert result["failed"]
    assert "could not be saved" in result["msg"]
    assert proxy.rows == {}


def test_a_destroy_removes_the_secret_from_user_data(run, tmp_path):
    secret = run()["virtual_keys"][0]["key"]
    assert secret in json.dumps(user_data(tmp_path))
    assert operations(run("destroy")) == ["deleted"]
    assert secret not in json.dumps(user_data(tmp_path))


def test_a_destroy_of_one_user_leaves_the_others(run, proxy, tmp_path, warnings):
    first = run(users=["ann", "bob"])
    assert operations(run("destroy", users=["bob"])) == ["deleted"]
    assert proxy.aliases() == ["virtkey-abc-ann"]
    assert any("virtkey-abc-ann" in text for text in warnings)
    saved = json.dumps(user_data(tmp_path))
    assert [entry["key"] in saved for entry in first["virtual_keys"]] == [True, False]


def test_keys_that_exist_only_in_user_data_are_not_reported_as_active(run, proxy, warnings):
    run(users=["ann", "bob", "eve"])
    del proxy.rows[next(hash_ for hash_, row in proxy.rows.items() if row["key_alias"] == "virtkey-abc-eve")]
    run("destroy", users=["ann"])
    (warning,) = [text for text in warnings if "does not include" in text]
    assert "virtkey-abc-bob" in warning
    assert "virtkey-abc-eve" not in warning


def test_an_extension_recreates_an_expired_key_with_its_secret_and_settings(run, proxy):
    first = run(max_budget=2, settings={"rpm_limit": 5}, duration="7d")["virtual_keys"][0]
    proxy.clock += 8 * DAY
    proxy.rows.clear()
    (key,) = run("extend", duration="30d")["virtual_keys"]
    assert (key["operation"], key["key"], key["max_budget"]) == ("created", first["key"], 2)
    assert proxy.row(ALIAS)["rpm_limit"] == 5
    assert key["duration"] == "30d"  # from the creation of the first key


@pytest.mark.parametrize("others", [0, 1])
def test_an_extension_fails_for_a_missing_key_that_was_saved_without_settings(run, proxy, tmp_path, others):
    """Earlier releases saved no settings: whether the key expired or was deleted is not known."""
    users = ["ann", "bob"][: others + 1]
    proxy.clock -= timedelta(days=1)
    run(users=users, duration="7d")
    data = user_data(tmp_path)
    del data["litellm_keys"]["virtkey-abc-ann"]["settings"]
    (tmp_path / "provision-user-data.yaml").write_text(yaml.safe_dump(data))
    del proxy.rows[next(hash_ for hash_, row in proxy.rows.items() if row["key_alias"] == "virtkey-abc-ann")]
    for _run in range(2):
        result = run("extend", duration="30d")
        assert result["failed"]
        assert "virtkey-abc-ann" in result["msg"]
        assert "does not exist and cannot be recreated, because its settings were not saved" in result["msg"]
    assert proxy.aliases() == [f"virtkey-abc-{user}" for user in users[1:]]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to create a file of another user")
@pytest.mark.parametrize("operation", ["extend", "provision", "destroy"])
def test_no_secret_is_taken_from_a_file_that_another_user_planted(run, proxy, tmp_path, operation):
    tmp_path.chmod(0o777)
    path = tmp_path / "provision-user-data.yaml"
    record = {"guid": "abc", "virtual_key": SECRET, "expires": "2020-01-01T00:00:00Z", "settings": {"models": []}}
    path.write_text(yaml.safe_dump({"litellm_keys": {ALIAS: record}}))
    os.chown(path, 12345, 12345)
    result = run(operation, duration="7d")
    assert result["failed"] is True
    assert result["msg"] == (
        f"Cannot read user data from {tmp_path}: {path} belongs to another user, who could have put it there; move it "
        "away, or change its owner"
    )
    assert proxy.rows == {}
    assert not any("generate" in one for one in map(str, proxy.requests))


def test_the_files_of_a_user_with_a_path_as_name_are_left_alone(run, proxy, warnings):
    """Such as one that somebody else added to the proxy or to the user data."""
    assert operations(run(users=["../esc", "ann"], duration="7d")) == ["created", "created"]
    result = run("destroy", env_file="/home/{user}/.env")
    assert operations(result) == ["absent", "deleted", "deleted"]
    assert [one["env_file"] for one in result["handover"]] == ["", "", "/home/ann/.env"]
    assert warnings == [
        "The files of user '../esc' are left alone, because the name cannot be part of the path of a file"
    ]


def test_a_provision_without_users_has_no_file_of_a_user(run, proxy):
    result = run(profile_file="/etc/profile.d/{user}", profile_group="lab")
    assert result["failed"] is True
    assert result["msg"] == (
        "profile_file contains {user}, but the environment has no users; set users, or remove {user}"
    )
    assert proxy.rows == {}
    assert operations(run()) == ["created"]
    destroyed = run("destroy", profile_file="/etc/profile.d/{user}", profile_group="lab")
    assert operations(destroyed) == ["deleted"]
    assert [one["profile_file"] for one in destroyed["handover"]] == [""]


def test_an_extension_does_not_recreate_a_deleted_key(run, proxy):
    run(duration="7d")
    proxy.rows.clear()
    result = run("extend", duration="30d")
    assert result["msg"].startswith("There is no virtual key of environment abc to extend")
    assert proxy.rows == {}


# Keys that do not work, and environments without a key


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({"blocked": True}, "it is blocked. Unblock it (ACTION: start with block_on_stop, or blocked: false)"),
        ({"max_budget": 1.0, "spend": 1.5}, "its budget of 1 is spent. Raise max_budget"),
    ],
    ids=["blocked", "spent"],
)
@pytest.mark.parametrize(
    ("operation", "options"), [("provision", {}), ("extend", {"runtime": 48}), ("start", {"block_on_stop": True})]
)
def test_a_key_that_does_not_work_is_named_in_a_warning(run, proxy, warnings, operation, options, state, problem):
    run(duration="1d")
    proxy.row(ALIAS).update(state)
    result = run(operation, **options)
    assert result.get("msg") is None
    if operation == "start" and "blocked" in state:
        assert warnings == []
        return
    message = f"Virtual key {ALIAS} does not work: {problem}"
    assert warnings == [message]
    assert (message in result["messages"]) == (operation != "start")


@pytest.mark.parametrize("operation", ["stop", "start"])
def test_an_environment_without_a_key_is_reported(run, operation):
    result = run(operation, block_on_stop=True)
    assert (result["changed"], result["report"]) == (False, "There is no virtual key of environment abc")


NO_KEY_OF_ZED = (
    "There is no virtual key of zed in environment abc; its users are ann, bob. Correct the names, or create the keys "
    "(ACTION: provision)"
)


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize("operation", ["stop", "start"])
def test_a_user_without_a_key_is_not_an_environment_without_a_key(run, proxy, warnings, operation, check_mode):
    run(users=["ann", "bob"])
    run("stop" if operation == "start" else "start", block_on_stop=True)
    before = json.dumps(proxy.rows)
    result = run(operation, users=["zed"], block_on_stop=True, check_mode=check_mode)
    assert (result.get("failed"), result["changed"]) == (None, False)
    assert (result["report"], result["summary"]) == (NO_KEY_OF_ZED, [NO_KEY_OF_ZED])
    assert warnings[-1] == NO_KEY_OF_ZED
    assert json.dumps(proxy.rows) == before


@pytest.mark.parametrize(
    ("operation", "check_mode", "done"),
    [("stop", False, "Blocked"), ("stop", True, "Would block"), ("start", False, "Unblocked")],
)
def test_a_user_without_a_key_is_named_beside_others(run, warnings, operation, check_mode, done):
    run(users=["ann", "bob"])
    run("stop" if operation == "start" else "start", block_on_stop=True)
    result = run(operation, users=["zed", "ann"], block_on_stop=True, check_mode=check_mode)
    assert (result["changed"], result["report"], result["summary"][0]) == (True, NO_KEY_OF_ZED, NO_KEY_OF_ZED)
    assert result["summary"][1] == f"{done} virtual key virtkey-abc-ann"
    assert NO_KEY_OF_ZED in warnings


def test_an_environment_with_one_key_has_no_users(run, warnings):
    run()
    report = run("stop", users=["zed"], block_on_stop=True)["report"]
    assert report.startswith("There is no virtual key of zed in environment abc; its only key has no user. Correct")


def test_a_user_without_a_key_is_not_extended(run, warnings):
    run(users=["ann", "bob"], duration="7d")
    result = run("extend", users=["zed"], duration="30d")
    assert (result["failed"], result["msg"]) == (True, NO_KEY_OF_ZED)
    assert operations(run("extend", users=["zed", "ann"], duration="30d")) == ["updated"]
    assert [one for one in warnings if one.startswith("Not extended")] == [
        "Not extended, because they were deleted before they expired or never existed: virtkey-abc-zed. Provision them "
        "to create them again (ACTION: provision)"
    ]


@pytest.mark.parametrize("operation", ["status", "stop", "extend"])
@pytest.mark.parametrize("is_old_deleted", [False, True])
def test_an_unfinished_replacement_is_named(run, proxy, warnings, operation, is_old_deleted):
    predecessor = proxy.add("virtkey-abc-ann", metadata={"guid": "abc"})
    proxy.add("virtkey-abc-ann.replacement", metadata={"guid": "abc", REPLACES: predecessor})
    if is_old_deleted:
        del proxy.rows[predecessor]
    result = run(operation, block_on_stop=True, **({"duration": "30d"} if operation == "extend" else {}))
    assert len(result["virtual_keys"]) == 1
    is_finished = is_old_deleted and operation != "status"  # the other operations give the new key its alias
    assert (
        [one for one in warnings if one.startswith("Another run")] == []
        if is_finished
        else [
            "Another run has started to replace virtual key virtkey-abc-ann and has not finished: key "
            "virtkey-abc-ann.replacement exists. If no run is active, replace the key again (regenerate)"
        ]
    )


def test_keys_are_deleted_only_if_all_of_them_are_gone(run, proxy):
    run(users=["ann", "bob"])
    proxy.undeletable = {proxy.row("virtkey-abc-bob")["token"]}
    for options in ({}, {"force_db_delete": True}):
        result = run("destroy", **options)
        assert ("failed" in result, bool(result["not_deleted"])) == (not options, True)
        assert not any(result.get("facts", {}).values())
    proxy.undeletable = set()
    assert run("destroy")["facts"]["litellm_key_deleted"] is True


# module_defaults


@pytest.mark.parametrize("empty", [{}, {"settings": {}, "users": [], "metadata": {}}], ids=["omitted", "empty"])
def test_module_defaults_apply_to_empty_lists_and_dictionaries(run_action, proxy, empty):
    """The role passes all arguments."""
    defaults = {NAME: {"settings": {"rpm_limit": 7}, "users": ["ann"], "metadata": {"a": "b"}}}
    arguments = {"guid": "abc", "save_user_data": False, "url": proxy.url, "master_key": MASTER_KEY, **empty}
    assert run_action(NAME, arguments, module_defaults=[defaults]).get("msg") is None
    row = proxy.row("virtkey-abc-ann")
    assert (row["rpm_limit"], row["metadata"]["a"]) == (7, "b")
    given = {"settings": {"rpm_limit": 8}, "users": ["bob"], "metadata": {"c": "d"}}
    assert run_action(NAME, {**arguments, **given}, module_defaults=[defaults]).get("msg") is None
    row = proxy.row("virtkey-abc-bob")
    assert (row["rpm_limit"], row["metadata"].get("a")) == (8, None)


# User data in the result


@pytest.mark.parametrize("save", [True, False])
@pytest.mark.parametrize("users", [[], ["ann", "bob"]], ids=["one key", "two users"])
def test_the_result_has_the_user_data(run, tmp_path, users, save):
    result = run(users=users, save_user_data=save, models=["gpt-4o"], include_docling=True)
    data = result["user_data"]
    if save:
        saved = user_data(tmp_path)
        del saved["litellm_keys"]
        assert data == saved
    assert data["litellm_virtual_key"] == result["virtual_keys"][0]["key"]
    assert data["litellm_docling_model"] == "Docling"
    assert list(data.get("users", [])) == users
    assert run("destroy")["user_data"] == {}
    assert run("status")["user_data"] == {}


def test_a_value_that_the_proxy_ignores_is_named_and_the_secret_is_saved(run, proxy, monkeypatch):
    columns = proxy._columns

    def without_unknown_servers(row, body):
        stored = columns(row, body)
        if stored.get("object_permission"):
            stored["object_permission"] = {"object_permission_id": "0" * 60, "mcp_servers": [], "agents": []}
        return stored

    monkeypatch.setattr(proxy, "_columns", without_unknown_servers)
    result = run(settings={"object_permission": {"mcp_servers": ["nope"]}})
    assert result["msg"] == (
        f"Virtual key {ALIAS} did not change after LiteLLM reported success: "
        "mcp_servers of object_permission is [] instead of ['nope']"
    )
    (key,) = run()["virtual_keys"]
    assert key["key"]
    assert key["key"] == result["virtual_keys"][0]["key"]


# Users who come and go


def test_a_user_is_added_and_another_removed_and_the_others_stay(run, proxy, tmp_path, warnings):
    run(users=["ann", "bob"], duration="7d")
    before = {alias: dict(proxy.row(alias)) for alias in ("virtkey-abc-ann", "virtkey-abc-bob")}
    data = user_data(tmp_path)
    result = run(add_users=["carl"], remove_users=["ann", "nobody"], duration="7d")
    assert [(entry["user"], entry["operation"]) for entry in result["virtual_keys"]] == [
        ("carl", "created"),
        ("ann", "deleted"),
        ("nobody", "absent"),
    ]
    assert proxy.aliases() == ["virtkey-abc-bob", "virtkey-abc-carl"]
    assert proxy.row("virtkey-abc-bob") == before["virtkey-abc-bob"]
    assert warnings == []
    after = user_data(tmp_path)
    assert after["users"]["bob"] == data["users"]["bob"]
    assert list(after["users"]) == ["bob", "carl"]
    assert after["litellm_key_aliases"] == ["virtkey-abc-bob", "virtkey-abc-carl"]
    assert (after["litellm_user_count"], "litellm_ann_virtual_key" in after) == (2, False)
    assert result["facts"]["litellm_key_aliases"] == ["virtkey-abc-carl"]
    again = run(add_users=["carl"], remove_users=["ann", "nobody"], duration="7d")
    assert (again["changed"], proxy.aliases()) == (False, ["virtkey-abc-bob", "virtkey-abc-carl"])


def test_removed_users_are_left_out_of_the_named_ones(run, proxy):
    run(multi_user=True, user_count=3, remove_users=["user2"], add_users=["eve"])
    assert proxy.aliases() == ["virtkey-abc-eve", "virtkey-abc-user1", "virtkey-abc-user3"]
    assert proxy.row("virtkey-abc-user3")["metadata"]["user_number"] == 3


def test_the_key_of_another_environment_is_not_removed(run, proxy):
    proxy.add("virtkey-abc-ann", metadata={"guid": "other"})
    assert "belongs to environment other" in run(remove_users=["ann"])["msg"]
    assert proxy.aliases() == ["virtkey-abc-ann"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"add_users": ["ann"], "remove_users": ["ann"]}, "add_users and remove_users both contain 'ann'"),
        ({"users": ["ann"], "remove_users": ["ann"]}, "users and remove_users both contain 'ann'"),
        ({"remove_users": ["a", ""]}, "remove_users contains an empty name"),
        ({"add_users": ["ann"], "env_file": "/x/.env"}, "With several users, {user} must be part of env_file"),
    ],
)
def test_contradictions_about_users_are_refused(run, proxy, arguments, message):
    assert run(**arguments)["msg"].startswith(message)
    assert proxy.requests == []


# Rotation


def test_a_rotation_replaces_the_secret_and_nothing_else(run, proxy, tmp_path):
    old = run(models=["granite"], duration="7d", on_unknown_models="ignore", max_budget=5)["virtual_keys"][0]
    new = run("rotate")["virtual_keys"][0]
    assert (new["operation"], new["duration"], new["max_budget"]) == ("regenerated", old["duration"], 5)
    assert new["key"] != old["key"]
    assert list(proxy.rows) == [new["key_id"]]
    assert user_data(tmp_path)["litellm_virtual_key"] == new["key"]


def test_a_rotation_for_many_users_must_name_them(run, proxy):
    old = {entry["user"]: entry["key_id"] for entry in run(users=["ann", "bob"])["virtual_keys"]}
    assert run("rotate")["msg"] == (
        "Environment abc has 2 virtual keys, and no user is named. Name the users whose keys are replaced "
        "(users: ann), or replace all keys (users: all); the users are ann, bob"
    )
    result = run("rotate", users=["bob"])
    assert operations(result) == ["regenerated"]
    assert old["ann"] in proxy.rows
    assert old["bob"] not in proxy.rows
    assert operations(run("rotate", users=["all"])) == ["regenerated", "regenerated"]
    assert not set(old.values()) & set(proxy.rows)


def test_a_key_that_does_not_exist_cannot_be_rotated(run, proxy):
    assert run("rotate")["msg"].startswith("There is no virtual key in environment abc to replace")
    assert run("rotate", users=["eve"])["msg"].startswith(
        "There is no virtual key of eve in environment abc to replace"
    )
    run(users=["ann"])
    before = dict(proxy.rows)
    assert run("rotate", users=["ann", "eve"])["msg"].startswith("There is no virtual key of eve in environment abc")
    assert proxy.rows == before


# Extension by some time


def test_each_key_is_extended_by_the_same_time(run, proxy, warnings):
    run(users=["ann"], duration="7d")
    run(users=["bob"], duration="1d")
    run(users=["eve"])
    ends = {entry["user"]: entry["expires"] for entry in run("extend", extend_by="2d")["virtual_keys"]}
    created = parse_instant(proxy.row("virtkey-abc-ann")["created_at"])
    assert [round((parse_instant(ends[user]) - created) / DAY, 3) for user in ("ann", "bob")] == [9, 3]
    assert ends["eve"] is None
    assert "Virtual key virtkey-abc-eve is not extended, because it never expires" in warnings


def test_an_expired_key_is_extended_from_now(run, proxy):
    run(duration="7d")
    proxy.row(ALIAS)["expires"] = (proxy.now() - 3 * DAY).isoformat()
    (entry,) = run("extend", extend_by="2d")["virtual_keys"]
    assert round((parse_instant(entry["expires"]) - proxy.now()) / DAY, 3) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"extend_by": "7"}, "extend_by: '7' has no unit; write 7h for hours or 7d for days"),
        ({"extend_by": "soon"}, "extend_by: 'soon' is not a duration"),
        ({"extend_by": "7d", "runtime": 24}, "extend_by and runtime cannot both be given"),
    ],
)
def test_an_invalid_extension_is_refused(run, proxy, arguments, message):
    assert run("extend", **arguments)["msg"].startswith(message)
    assert proxy.requests == []


# The list of keys


def test_the_list_of_keys_follows_the_keys(run, proxy, tmp_path):
    path = tmp_path / "keys.csv"

    def listed():
        return [row.split(",")[:2] for row in path.read_text().splitlines()[1:]]

    keys = {entry["user"]: entry["key"] for entry in run(users=["ann", "bob"], keys_file=str(path))["virtual_keys"]}
    assert listed() == [["ann", keys["ann"]], ["bob", keys["bob"]]]
    assert not run(users=["ann", "bob"])["changed"]
    rotated = run("rotate", users=["bob"])["virtual_keys"][0]["key"]
    assert listed() == [["ann", keys["ann"]], ["bob", rotated]]
    run(add_users=["carl"], remove_users=["ann"])
    assert [user for user, _key in listed()] == ["bob", "carl"]
    run("destroy", users=["carl"])
    assert [user for user, _key in listed()] == ["bob"]
    assert "Removed" in run("destroy")["summary"][-1]
    assert not path.exists()


def test_the_page_to_print_follows_the_keys(run, proxy, tmp_path):
    path = tmp_path / "handout.html"

    def shown():
        return re.findall(r"<h2>(.*?)</h2>|<dd><code>(.*?)</code>", path.read_text())

    def cards(keys):
        return [card for user, key in keys.items() for card in ((user, ""), ("", key))]

    given = {"users": ["ann", "bob"], "duration": "7d"}
    assert run(**given, handout_file=str(path), check_mode=True)["changed"]
    assert not path.exists()
    result = run(**given, handout_file=str(path), diff=True)
    keys = {entry["user"]: entry["key"] for entry in result["virtual_keys"]}
    assert shown() == cards(keys)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ids = sorted(entry["key_id"] for entry in result["virtual_keys"])
    assert result["diff"][-1] == {
        "before_header": str(path),
        "after_header": str(path),
        "before": {"key_ids": []},
        "after": {"key_ids": ids},
    }
    again = run(**given, diff=True)
    assert (again["changed"], again["diff"]) == (False, [])
    path.chmod(0o640)
    assert run(**given, check_mode=True)["changed"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    keys["bob"] = run("rotate", users=["bob"])["virtual_keys"][0]["key"]
    assert shown() == cards(keys)
    for row in proxy.rows.values():
        row["created_at"] = "2020-01-01T00:00:00Z"
    rotated = run("rotate_old", rotate={"every": "30d", "overlap": "1d"})
    keys = {entry["user"]: entry["key"] for entry in rotated["virtual_keys"]}
    assert shown() == cards(keys)
    before = path.read_text()
    run("extend", extend_by="7d")
    assert shown() == cards(keys)
    assert path.read_text() != before
    run("destroy", users=["ann"])
    assert shown() == cards({"bob": keys["bob"]})
    path.unlink()
    run("rotate", users=["bob"])
    assert not path.exists(), "a page that somebody has removed is written again only if it is asked for"
    run(handout_file=str(path), users=["bob"])
    assert "Removed" in run("destroy")["summary"][-1]
    assert not path.exists()


def test_a_page_that_is_asked_for_needs_a_library_before_any_request(run, proxy, tmp_path, monkeypatch):
    path = tmp_path / "handout.html"
    monkeypatch.setattr(key_lists, "find_spec", lambda name: None)
    message = f"handout_file ({path}) needs the Python package segno for its QR codes"
    assert run(handout_file=str(path))["msg"].startswith(message)
    assert (path.exists(), proxy.requests) == (False, [])


@pytest.mark.parametrize("arguments", [{"regenerate": "always"}, {"operation": "extend", "extend_by": "7d"}])
@pytest.mark.parametrize("is_edited", [False, True])
def test_without_the_library_a_page_of_an_earlier_run_does_not_block_an_operation(
    run, tmp_path, monkeypatch, warnings, arguments, is_edited
):
    """A key that has leaked must be replaced, whatever can be printed."""
    path = tmp_path / "handout.html"
    run(handout_file=str(path), duration="7d")
    monkeypatch.setattr(key_lists, "find_spec", lambda name: None)
    assert not run(duration="7d")["changed"]
    assert (path.exists(), warnings) == (True, [])
    if is_edited:
        path.write_text(path.read_text().replace("<main>", "<main>Room 7"))
    operation = {"operation": "provision", **arguments}.pop("operation")
    more = {name: value for name, value in arguments.items() if name != "operation"}
    result = run(operation, **more, **({"duration": "7d"} if operation == "provision" else {}))
    assert "failed" not in result
    assert path.exists() == is_edited
    assert len(warnings) == 1
    expected = (
        "is out of date and was left as it is" if is_edited else "was out of date and was removed. A new page needs"
    )
    assert expected in warnings[0]
    assert not any("Page to print" in line for line in result["summary"])
    assert (f"Removed: {path}" in result["summary"]) == (not is_edited)


@pytest.mark.parametrize("option", ["keys_file", "handout_file"])
def test_a_list_under_another_name_replaces_the_former_one(run, tmp_path, option, warnings):
    first, second = tmp_path / "a", tmp_path / "b"
    run(users=["ann", "bob"], **{option: str(first)})
    result = run(users=["ann"], **{option: str(second)}, check_mode=True)
    assert first.exists()
    result = run(users=["ann"], **{option: str(second)})
    assert f"Removed: {first}" in result["summary"]
    assert (first.exists(), second.exists()) == (False, True)
    before = second.read_text()
    run("rotate", users=["bob"])
    assert second.read_text() != before, "the record of bob names the former file"
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    run(users=["ann", "bob"], **{option: str(link / "b")})
    assert second.exists()
    run("destroy")
    assert not second.exists()


@pytest.mark.parametrize("option", ["keys_file", "handout_file"])
def test_a_list_that_was_edited_is_not_overwritten_by_a_later_run(run, tmp_path, warnings, option):
    path = tmp_path / "list"
    run(**{option: str(path)})
    edited = "Room 7\n" + path.read_text()
    path.write_text(edited)
    warnings.clear()
    assert not run()["changed"]
    assert "is out of date" not in str(warnings)
    assert "failed" not in run("rotate")
    assert path.read_text() == edited
    assert any(text.startswith(f"{path} is out of date and was left as it is") for text in warnings)


def test_a_former_page_that_was_edited_is_kept_and_named(run, tmp_path, warnings):
    first = tmp_path / "a.html"
    run(handout_file=str(first))
    first.write_text(first.read_text().replace("<main>", "<main>Room 7"))
    run(handout_file=str(tmp_path / "b.html"))
    assert first.exists()
    assert "a.html is out of date and was left as it is" in warnings[-1]


def test_a_destroy_that_names_the_page_removes_it_without_saved_user_data(run, tmp_path):
    path = tmp_path / "handout.html"
    run(handout_file=str(path), save_user_data=False, key_seed=SEED)
    run("destroy", handout_file=str(path), save_user_data=False, key_seed=SEED)
    assert not path.exists()


def test_two_lists_cannot_be_one_file(run, proxy, tmp_path):
    path = str(tmp_path / "keys")
    result = run(keys_file=path, handout_file=path)
    assert result["msg"] == f"keys_file and handout_file are both {path}; name two files"
    assert proxy.requests == []


@pytest.mark.parametrize("option", ["keys_file", "handout_file"])
def test_without_user_data_the_keys_are_listed_all_the_same(run, tmp_path, option):
    path = tmp_path / "keys"
    arguments = {"save_user_data": False, "key_seed": SEED, option: str(path)}
    secret = run(**arguments)["virtual_keys"][0]["key"]
    assert secret in path.read_text()
    assert not run(**arguments)["changed"]


def test_check_mode_writes_no_list_and_a_list_of_something_else_stops_before_any_request(run, proxy, tmp_path):
    path = tmp_path / "keys.csv"
    assert run(keys_file=str(path), check_mode=True)["changed"]
    assert not path.exists()
    path.write_text("mine")
    assert "contains something else than the keys of this environment" in run(keys_file=str(path))["msg"]
    assert (proxy.requests, path.read_text()) == ([], "mine")


# Words


def test_a_secret_that_is_not_found_says_where_it_was_looked_for(run, proxy, tmp_path):
    proxy.add(ALIAS)
    assert run()["msg"] == (
        "Virtual key virtkey-abc exists, but its secret is not known: LiteLLM returns a secret only at creation, and "
        f"{tmp_path}/provision-user-data.yaml does not contain it. Run in the directory where the key was created "
        "(output_dir), delete the key first (ACTION: destroy), use another guid, derive secrets from a key_seed from "
        "the start, or replace the key (regenerate: if_unrecoverable)"
    )


def test_messages_name_what_set_the_connection(run, proxy):
    assert run(variables={"litellm_url": "ftp://x"})["msg"].startswith("litellm_url 'ftp://x' is invalid")
    assert run(url="ftp://x")["msg"].startswith("url 'ftp://x' is invalid")
    message = run(variables={"litellm_master_key": "sk-wrong"})["msg"]
    assert message.endswith("does not accept the master key (401); check litellm_master_key")


def test_the_status_warns_of_models_that_the_proxy_does_not_serve(run, proxy, warnings):
    proxy.models = ["granite-4"]
    proxy.add("virtkey-abc", models=["granite-3", "granite-4"], metadata={"guid": "abc"})
    assert statuses(run("status")) == ["active"]
    assert warnings == [
        "The virtual keys of environment abc refer to unknown models: 'granite-3' (did you mean 'granite-4'?). "
        "The proxy serves granite-4. To replace a model, run the playbook replace_model"
    ]
    # The status does not depend on this list.
    proxy.fault("GET /v1/models", Fault(status=403))
    assert statuses(run("status")) == ["active"]
    assert len(warnings) == 1


def statuses(result):
    assert result.get("msg") is None
    return [entry["status"] for entry in result["virtual_keys"]]
