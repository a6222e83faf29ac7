# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The budget that all keys of an environment share, as the action `litellm_environment` manages its team."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta

import pytest
import yaml
from ansible.utils.display import Display
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment import budget_team
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.budget_run import BudgetRun
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY, Fault

NAME = "rhpds.litellm_virtual_keys.litellm_environment"
TEAM = "virtkey-abc"
USERS = ["ann", "bob"]
DAY = timedelta(days=1)
METADATA = {"guid": "abc", "managed_by": "rhpds.litellm_virtual_keys"}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    for module in (reconcile, budget_team):
        monkeypatch.setattr(module, "_pause", lambda attempt: None)


@pytest.fixture
def run(run_action, proxy, tmp_path):
    def run_task(operation="provision", *, check_mode=False, diff=False, retries=0, folder=tmp_path, **arguments):
        variables = {
            "litellm_url": proxy.url,
            "litellm_master_key": MASTER_KEY,
            "litellm_retries": retries,
            "output_dir": str(folder),
        }
        arguments = {"operation": operation, "guid": "abc", **arguments}
        return run_action(NAME, arguments, check_mode=check_mode, diff=diff, variables=variables)

    return run_task


@pytest.fixture
def warnings(monkeypatch):
    texts = []
    monkeypatch.setattr(Display, "warning", lambda self, text, *args, **kwargs: texts.append(text))
    return texts


def budget(limit=100.0, spent=0.0, **further):
    left = None if limit is None else limit - spent
    values = {"limit": limit, "spent": spent, "left": left, "duration": None, "resets_at": None, "team_id": TEAM}
    return {**values, **further}


def written(proxy):
    return [request for request, _body in proxy.requests if request.startswith("POST")]


def teams_of_keys(proxy):
    return {row["key_alias"]: row["team_id"] for row in proxy.rows.values()}


def test_all_keys_of_an_environment_are_in_one_team_with_the_budget(run, proxy):
    result = run(users=USERS, shared_budget=100, shared_budget_duration="7 days")
    assert result["changed"], result
    assert result["shared_budget"] == budget(duration="7d")
    assert proxy.teams[TEAM] == {
        "team_id": TEAM,
        "team_alias": TEAM,
        "max_budget": 100.0,
        "budget_duration": "7d",
        "budget_reset_at": None,
        "spend": 0.0,
        "metadata": METADATA,
    }
    assert teams_of_keys(proxy) == {"virtkey-abc-ann": TEAM, "virtkey-abc-bob": TEAM}
    assert [entry["team_id"] for entry in result["virtual_keys"]] == [TEAM, TEAM]
    assert result["summary"][1:4] == [
        "Models: all models of the proxy, with a shared budget",
        "No end: they never expire",
        "Shared budget: 100.00 USD for all keys: 0.00 spent, 100.00 left",
    ]


def test_a_second_run_reads_the_team_once_and_writes_nothing(run, proxy):
    arguments = {"users": USERS, "shared_budget": 100, "shared_budget_duration": "7d"}
    run(**arguments)
    again = run(**arguments)
    assert (again["changed"], written(proxy)) == (False, [])
    without = run(users=USERS)
    assert (without["changed"], without["api_calls"], without["shared_budget"]) == (
        False,
        again["api_calls"],
        again["shared_budget"],
    )
    run("destroy")
    run(users=USERS)
    assert run(users=USERS)["api_calls"] == again["api_calls"] - 1


def test_the_budget_is_changed_and_what_is_not_given_is_left_alone(run, proxy):
    run(users=USERS, shared_budget=100, shared_budget_duration="7d")
    proxy.teams[TEAM] |= {"spend": 12.5, "budget_reset_at": "2026-12-01T00:00:00Z", "models": ["gpt-4o"]}
    result = run(users=USERS, shared_budget=50.25, diff=True)
    assert result["shared_budget"] == budget(50.25, 12.5, duration="7d", resets_at="2026-12-01T00:00:00Z")
    assert [body for request, body in proxy.requests if request.startswith("POST")] == [
        {"team_id": TEAM, "max_budget": 50.25}
    ]
    header = f"shared budget {TEAM}"
    before, after = ({"team_id": TEAM, "limit": limit, "duration": "7d"} for limit in (100.0, 50.25))
    assert result["diff"] == [{"before_header": header, "after_header": header, "before": before, "after": after}]
    extended = run("extend", extend_by="1d", shared_budget=60)
    assert (extended["shared_budget"]["limit"], proxy.teams[TEAM]["max_budget"]) == (60.0, 60.0)


def test_without_the_option_the_budget_is_left_alone(run, proxy):
    run(users=USERS, shared_budget=100)
    run(users=USERS, models=["gpt-4o"])
    run("extend", extend_by="1d")
    run("rotate", users=["all"])
    assert proxy.teams[TEAM]["max_budget"] == 100.0
    assert teams_of_keys(proxy) == {"virtkey-abc-ann": TEAM, "virtkey-abc-bob": TEAM}


def test_keys_that_are_added_later_are_in_the_team_without_the_option(run, proxy):
    run(users=USERS, shared_budget=100)
    result = run(users=[*USERS, "eve"])
    assert (result.get("msg"), result["shared_budget"]) == (None, budget())
    assert set(teams_of_keys(proxy).values()) == {TEAM}
    assert "Models: all models of the proxy, with a shared budget" in result["summary"]
    run(add_users=["joe"], check_mode=True)
    run(add_users=["joe"], settings={"on_create": {"max_budget": 1}})
    assert (set(teams_of_keys(proxy).values()), len(proxy.rows)) == ({TEAM}, 4)


@pytest.mark.parametrize("users", [None, ["ann"]])
def test_a_key_that_is_created_again_is_in_the_team_without_the_option(run, proxy, users):
    run(users=users, shared_budget=100)
    proxy.rows.clear()
    assert run(users=users).get("msg") is None
    assert list(teams_of_keys(proxy).values()) == [TEAM]


@pytest.mark.parametrize("metadata", [{"guid": "abc"}, {**METADATA, "guid": "other"}, None])
def test_a_later_key_is_not_put_into_the_team_of_somebody_else(run, proxy, metadata):
    if metadata:
        proxy.add_team(TEAM, metadata=metadata)
    proxy.add("virtkey-abc-ann", team_id=TEAM, metadata={"guid": "abc"})
    result = run(users=["eve"])
    assert (result.get("msg"), result["shared_budget"]) == (None, {})
    assert teams_of_keys(proxy)["virtkey-abc-eve"] is None


def test_a_later_key_that_says_where_it_is_gets_there(run, proxy):
    run(users=["ann"], shared_budget=100)
    proxy.add_team("other")
    run(users=["bob"], settings={"team_id": "other"})
    run(users=["eve"], settings={"unset": ["team_id"]})
    assert teams_of_keys(proxy) == {"virtkey-abc-ann": TEAM, "virtkey-abc-bob": "other", "virtkey-abc-eve": None}


def test_a_summary_does_not_say_that_keys_share_a_budget_if_one_does_not(run, proxy):
    run(users=USERS, shared_budget=100)
    proxy.row("virtkey-abc-bob")["team_id"] = None
    assert run(users=USERS)["summary"][1] == "Models: all models of the proxy, with no budget limit"


def test_a_team_that_is_deleted_while_later_keys_are_created_is_an_error(run, proxy):
    run(users=USERS, shared_budget=100)
    proxy.fault("POST /key/generate", Fault("nothing", before=proxy.teams.clear))
    result = run(users=[*USERS, "eve"])
    assert "is not certain: another run has deleted it meanwhile. Run again" in result["msg"]


@pytest.mark.parametrize("users", [None, USERS])
@pytest.mark.parametrize("is_saved", [True, False])
def test_each_run_shows_a_spent_budget(run, proxy, warnings, tmp_path, users, is_saved):
    folder = tmp_path / "other"
    folder.mkdir()
    arguments = {"users": users, "key_seed": "a seed of more than thirty-two characters"}
    run(shared_budget=1, **arguments)
    proxy.teams[TEAM]["spend"] = 2.0
    result = run(folder=tmp_path if is_saved else folder, **arguments)
    assert (result.get("msg"), result["changed"], result["shared_budget"]) == (None, False, budget(1.0, 2.0, left=0.0))
    assert "Shared budget: 1.00 USD for all keys: 2.00 spent, 0.00 left" in result["summary"]
    assert [text for text in warnings if "their shared budget of 1.00 USD is spent" in text] == warnings[-1:]
    warnings.clear()
    run("extend", extend_by="1d", folder=tmp_path if is_saved else folder, key_seed=arguments["key_seed"])
    assert any("their shared budget of 1.00 USD is spent" in text for text in warnings)


@pytest.mark.parametrize("operation", ["provision", "extend"])
def test_existing_keys_join_although_their_users_are_no_members(run, proxy, operation):
    run(users=USERS)
    further = {"users": USERS} if operation == "provision" else {"extend_by": "1d"}
    result = run(operation, shared_budget=100, **further)
    assert result.get("msg") is None
    assert teams_of_keys(proxy) == {"virtkey-abc-ann": TEAM, "virtkey-abc-bob": TEAM}
    assert [entry["user_id"] for entry in result["virtual_keys"]] == [f"{user}@lab.opentlc.com" for user in USERS]
    assert not run(users=USERS, shared_budget=100)["changed"]


def test_a_key_that_lost_its_user_on_the_way_to_the_team_gets_it_back(run, proxy):
    run(users=["ann"])
    refused = Fault("status", 403, "User=ann@lab.opentlc.com is not a member of the team=virtkey-abc.")
    proxy.fault("POST /key/update", refused, Fault("nothing"), Fault("status", 503))
    result = run(users=["ann"], shared_budget=100, retries=1)
    assert result.get("msg") is None
    row = proxy.row("virtkey-abc-ann")
    assert (row["team_id"], row["user_id"]) == (TEAM, "ann@lab.opentlc.com")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shared_budget": -1}, "shared_budget is -1; it must be at least 0 and less than 1e+18"),
        ({"shared_budget": "ten"}, "shared_budget must be a number"),
        (
            {"shared_budget": 1, "shared_budget_duration": "7 dogs"},
            "shared_budget_duration: '7 dogs' is not a duration",
        ),
        ({"shared_budget_duration": "7d"}, "shared_budget_duration needs shared_budget"),
        ({"shared_budget": 1, "settings": {"team_id": "t"}}, "shared_budget and team_id in settings cannot both"),
        ({"shared_budget": 1, "settings": {"unset": ["team_id"]}}, "shared_budget and team_id in unset cannot both"),
        (
            {"shared_budget": 1, "settings": {"on_create": {"team_id": "t"}}},
            "shared_budget and team_id in on_create cannot both",
        ),
    ],
)
def test_invalid_options_are_refused_before_any_request(run, proxy, arguments, message):
    result = run(**arguments)
    assert (result["failed"], proxy.requests) == (True, [])
    assert message in result["msg"]


@pytest.mark.parametrize("metadata", [{"guid": "abc"}, {**METADATA, "guid": "abc-1"}, {}, None, "abc"])
@pytest.mark.parametrize("operation", ["provision", "destroy"])
def test_a_team_of_somebody_else_is_not_touched(run, proxy, warnings, metadata, operation):
    before = dict(proxy.add_team(TEAM, max_budget=7.0, metadata=metadata))
    result = run(operation, users=USERS, shared_budget=100)
    if operation == "provision":
        assert result["failed"]
        assert "cannot hold the shared budget of environment abc, and is left as it is" in result["msg"]
    else:  # no key of the environment was in it
        assert (result.get("msg"), result["shared_budget"]) == (None, {})
        assert any("is left as it is" in text for text in warnings)
    assert (proxy.teams, written(proxy), proxy.rows) == ({TEAM: before}, [], {})


def test_a_destroy_leaves_a_team_of_somebody_else_that_keys_were_put_into(run, proxy, warnings):
    before = dict(proxy.add_team(TEAM, max_budget=0.0, metadata={"guid": "abc"}))
    created = run(users=USERS, settings={"team_id": TEAM})
    assert (created.get("msg"), created["shared_budget"], warnings) == (None, {}, [])
    result = run("destroy")
    assert (result.get("msg"), result["shared_budget"]) == (None, {})
    assert (proxy.aliases(), proxy.teams) == ([], {TEAM: before})
    assert ["belongs to no environment of this collection" in text for text in warnings] == [True]


# Destroy


@pytest.mark.parametrize("known_by", ["option", "keys", "records"])
def test_a_destroy_leaves_neither_key_nor_team(run, proxy, tmp_path, known_by):
    run(users=USERS, shared_budget=100)
    if known_by == "records":
        proxy.rows.clear()
    result = run("destroy", **({"shared_budget": 1} if known_by == "option" else {}))
    assert (result.get("msg"), result["changed"], result["shared_budget"]) == (None, True, {})
    assert (proxy.rows, proxy.teams) == ({}, {})
    assert "virtkey-abc" not in (tmp_path / "provision-user-data.yaml").read_text()
    again = run("destroy")
    assert (again["changed"], written(proxy)) == (False, [])


def test_a_destroy_with_the_option_finds_the_team_of_a_run_that_was_killed_before_the_first_key(run, proxy):
    proxy.add_team(TEAM, max_budget=100.0, metadata=METADATA)
    assert (run("destroy")["changed"], list(proxy.teams)) == (False, [TEAM])  # nothing shows that there is one
    assert (run("destroy", shared_budget=1)["changed"], proxy.teams) == (True, {})


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_destroy_says_that_the_team_was_deleted(run, proxy, check_mode):
    run(users=USERS, shared_budget=100)
    proxy.rows.clear()
    result = run("destroy", shared_budget=1, check_mode=check_mode)
    verb = "Would delete" if check_mode else "Deleted"
    assert (result["changed"], result["summary"][-1]) == (
        True,
        f"{verb} the shared budget of environment abc (team virtkey-abc)",
    )


@pytest.mark.parametrize("how", ["partial", "failing", "check mode"])
def test_a_destroy_does_not_ask_to_raise_the_budget(run, proxy, warnings, how):
    run(users=USERS, shared_budget=1)
    proxy.teams[TEAM]["spend"] = 2.0
    if how == "failing":
        proxy.fault("POST /team/delete", Fault("status", 500))
    run("destroy", users=["ann"] if how == "partial" else None, check_mode=how == "check mode")
    assert not [text for text in warnings if "is spent" in text]


def test_a_destroy_without_a_shared_budget_asks_for_no_team(run, proxy):
    run(users=USERS)
    run("destroy")
    assert not [request for request, _unused in proxy.requests if "team" in request]


def test_a_team_with_other_keys_is_left_and_they_are_named(run, proxy):
    run(users=USERS, shared_budget=100)
    proxy.add("a-key-of-somebody", team_id=TEAM)
    result = run("destroy")
    assert result["failed"]
    assert "other virtual keys are in team virtkey-abc: a-key-of-somebody" in result["msg"]
    assert (proxy.aliases(), list(proxy.teams)) == (["a-key-of-somebody"], [TEAM])
    proxy.rows.clear()
    assert run("destroy").get("msg") is None  # known by what was saved
    assert proxy.teams == {}


def test_the_team_stays_while_other_users_have_keys(run, proxy):
    run(users=USERS, shared_budget=100)
    assert run("destroy", users=["ann"]).get("msg") is None
    assert list(proxy.teams) == [TEAM]
    assert run("destroy", users=["bob"])["shared_budget"] == {}
    assert proxy.teams == {}


def test_the_team_is_deleted_when_the_last_key_leaves_it(run, proxy):
    run(users=USERS, shared_budget=100)
    run(users=["ann"], settings={"unset": ["team_id"]})
    assert list(proxy.teams) == [TEAM]
    result = run(users=USERS, settings={"unset": ["team_id"]})
    assert (result.get("msg"), result["shared_budget"], proxy.teams) == (None, {}, {})
    assert teams_of_keys(proxy) == {"virtkey-abc-ann": None, "virtkey-abc-bob": None}


def test_a_failed_deletion_is_reported_and_the_next_destroy_finishes_it(run, proxy, tmp_path):
    run(users=USERS, shared_budget=100)
    proxy.fault("POST /team/delete", Fault("status", 500))
    result = run("destroy")
    assert "may be left in team virtkey-abc: LiteLLM returned 500" in result["msg"]
    assert "ACTION: destroy again with shared_budget: 1" in result["msg"]
    assert (proxy.rows, list(proxy.teams)) == ({}, [TEAM])
    assert yaml.safe_load((tmp_path / "provision-user-data.yaml").read_text())["litellm_keys"]
    assert run("destroy").get("msg") is None
    assert proxy.teams == {}


@pytest.mark.parametrize("how", ["close", "half"])
@pytest.mark.parametrize("request_line", ["POST /team/new", "POST /team/update", "POST /team/delete"])
def test_a_lost_answer_is_found_out_by_reading(run, proxy, request_line, how):
    run(users=USERS, shared_budget=50) if request_line != "POST /team/new" else None
    proxy.fault(request_line, Fault(how, commit=True))
    operation = "destroy" if "delete" in request_line else "provision"
    result = run(operation, users=None if operation == "destroy" else USERS, shared_budget=100)
    assert result.get("msg") is None
    assert proxy.counts()[request_line] == 1
    assert bool(proxy.teams) == (operation == "provision")


def test_a_request_that_was_not_processed_is_repeated(run, proxy):
    for request in ("POST /team/new", "POST /team/delete"):
        proxy.fault(request, Fault("close"), Fault("status", 503))
    assert run(users=USERS, shared_budget=100, retries=2).get("msg") is None
    assert run("destroy", retries=2).get("msg") is None
    assert proxy.teams == {}


def test_a_budget_that_cannot_be_set_stops_the_run_before_any_key(run, proxy):
    proxy.fault("POST /team/new", Fault("status", 400, "License is over limit."))
    result = run(users=USERS, shared_budget=100)
    assert "Cannot set the shared budget of environment abc: LiteLLM returned 400" in result["msg"]
    assert (proxy.rows, proxy.teams) == ({}, {})


@pytest.mark.parametrize("fault", [Fault("status", 400, "No."), Fault("status", 500)])
def test_a_new_team_without_any_key_is_deleted_again(run, proxy, fault):
    proxy.fault("POST /key/generate", *[fault] * 20)
    assert run(users=USERS, shared_budget=100)["failed"]
    assert (proxy.rows, proxy.teams) == ({}, {})


def test_a_team_stays_with_the_keys_that_were_created(run, proxy):
    proxy.fault("POST /key/generate", Fault("status", 400, "No."))
    assert run(users=USERS, shared_budget=100)["failed"]
    assert (len(proxy.rows), list(proxy.teams)) == (1, [TEAM])


# Keys that litellm_key deletes, as the playbook cleanup_keys does


@pytest.fixture
def run_key(run_action, proxy):
    def delete(*aliases, **options):
        arguments = {"state": "absent", "virtual_keys": [{"key_alias": alias} for alias in aliases]}
        return run_action("rhpds.litellm_virtual_keys.litellm_key", arguments, **options)

    return delete


def test_the_team_is_deleted_with_its_last_key(run, run_key, proxy):
    run(users=USERS, shared_budget=100)
    assert run_key("virtkey-abc-ann").get("msg") is None
    assert list(proxy.teams) == [TEAM]
    assert run_key("virtkey-abc-bob", check_mode=True)["changed"]
    assert (list(proxy.teams), written(proxy)) == ([TEAM], [])
    assert run_key("virtkey-abc-bob").get("msg") is None
    assert proxy.teams == {}


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"guid": "abc"}},
        {"metadata": {"managed_by": "rhpds.litellm_virtual_keys"}},
        {"metadata": {"guid": "other", "managed_by": "rhpds.litellm_virtual_keys"}},
        {"team_id": "another-team"},
    ],
)
def test_another_team_is_left_without_a_key(run, run_key, proxy, change):
    run(users=["ann"], shared_budget=100)
    row = {**proxy.teams.pop(TEAM), **change}
    proxy.add_team(**row)
    for key in proxy.rows.values():
        key["team_id"] = row["team_id"]
    assert run_key("virtkey-abc-ann").get("msg") is None
    assert (proxy.rows, list(proxy.teams)) == ({}, [row["team_id"]])
    assert written(proxy) == ["POST /key/delete"]


def test_an_unused_team_that_cannot_be_deleted_is_an_error(run, run_key, proxy):
    run(users=["ann"], shared_budget=100)
    proxy.fault("POST /team/delete", Fault("status", 500))
    result = run_key("virtkey-abc-ann")
    assert (result["failed"], result["virtual_key"]["operation"]) == (True, "deleted")
    assert "The team virtkey-abc of environment abc, which no key is in any more, may be left" in result["msg"]
    assert "Run litellm_environment with operation destroy, guid abc and any shared_budget" in result["msg"]


# Check mode, status


@pytest.mark.parametrize("operation", ["provision", "provision again", "destroy"])
def test_check_mode_predicts_and_changes_nothing(run, proxy, operation):
    if operation != "provision":
        run(users=USERS, shared_budget=50)
    before = str(proxy.teams), str(proxy.rows)
    arguments = {} if operation == "destroy" else {"users": USERS, "shared_budget": 100}
    result = run(operation.split()[0], check_mode=True, diff=True, **arguments)
    assert (result.get("msg"), result["changed"], written(proxy)) == (None, True, [])
    assert result["shared_budget"] == ({} if operation == "destroy" else budget())
    before_of_diff, after_of_diff = (result["diff"][0][name].get("limit") for name in ("before", "after"))
    assert (before_of_diff, after_of_diff) == {
        "provision": (None, 100.0),
        "provision again": (50.0, 100.0),
        "destroy": (50.0, None),
    }[operation]
    assert (str(proxy.teams), str(proxy.rows)) == before


def test_the_status_shows_what_is_spent_and_left(run, proxy, warnings):
    run(users=USERS, shared_budget=100)
    proxy.teams[TEAM]["spend"] = 12.34
    result = run("status")
    assert (result["changed"], result["shared_budget"]) == (False, budget(100.0, 12.34, left=87.66))
    line = "Shared budget: 100.00 USD for all keys: 12.34 spent, 87.66 left"
    assert line in result["summary"]
    assert result["report"][-1] == line
    proxy.teams[TEAM]["spend"] = 100.5
    result = run("status")
    assert result["shared_budget"] == budget(100.0, 100.5, left=0.0)
    assert warnings[-1] == (
        "The virtual keys of environment abc do not work: their shared budget of 100.00 USD is spent. Raise "
        "shared_budget"
    )
    proxy.fault("GET /v2/team/list", Fault("status", 400, "No."))
    result = run("status")
    assert (result["shared_budget"], result.get("failed")) == ({}, None)
    assert "LiteLLM returned 400" in warnings[-1]


def test_the_status_without_a_shared_budget_asks_for_no_team(run, proxy):
    run(users=USERS)
    assert run("status")["shared_budget"] == {}
    assert proxy.counts()["GET /v2/team/list"] == 0


# Other runs at the same time


def test_two_runs_create_the_same_team(run, proxy):
    def other() -> None:
        proxy.add_team(TEAM, max_budget=50.0, metadata=METADATA)

    message = "Unique constraint failed on the fields: (`team_id`)"
    proxy.fault("POST /team/new", Fault("status", 500, message, before=other))
    result = run(users=USERS, shared_budget=100)
    assert (result.get("msg"), result["shared_budget"]) == (None, budget())
    assert proxy.teams[TEAM]["max_budget"] == 100.0


def test_a_team_that_is_deleted_while_keys_are_created_is_an_error(run, proxy):
    proxy.fault("POST /key/generate", Fault("nothing", before=proxy.teams.clear))
    result = run(users=USERS, shared_budget=100)
    assert "is not certain: another run has deleted it meanwhile. Run again" in result["msg"]
    again = run(users=USERS, shared_budget=100)
    assert (again.get("msg"), list(proxy.teams)) == (None, [TEAM])


def test_a_key_that_is_created_while_its_team_is_deleted_is_an_error(run, proxy):
    """LiteLLM deletes the keys of the team first, and then the team."""
    run(users=USERS, shared_budget=100)
    handle = proxy.handle

    def intercepted(method, path, params):
        response = handle(method, path, params)
        if path == "/team/delete":
            proxy.add("virtkey-abc-eve", team_id=TEAM, metadata={"guid": "abc"})
        return response

    proxy.handle = intercepted
    result = run("destroy")
    assert "another run has created virtkey-abc-eve in it meanwhile. Run ACTION: destroy again" in result["msg"]
    proxy.handle = handle
    assert run("destroy").get("msg") is None
    assert (proxy.rows, proxy.teams) == ({}, {})


def test_the_keys_in_the_database_keep_the_team_until_they_are_deleted(run, proxy):
    """What force_db_delete of the role does between the two runs."""
    run(users=USERS, shared_budget=100)
    proxy.undeletable = set(proxy.rows)
    result = run("destroy", force_db_delete=True)
    assert (result.get("msg"), len(result["not_deleted"]), result["shared_budget"]) == (None, 2, budget())
    proxy.rows.clear()
    assert run("destroy", shared_budget=result["shared_budget"]["limit"]).get("msg") is None
    assert proxy.teams == {}


def test_a_team_that_ignores_a_change_is_an_error(run, proxy):
    run(users=USERS, shared_budget=100)
    proxy._post_team_update = lambda body: {}
    result = run(users=USERS, shared_budget=50)
    assert "team virtkey-abc did not change after LiteLLM reported success" in result["msg"]


def test_a_team_that_others_change_again_and_again_is_an_error(run, proxy):
    limits = itertools.count(1)

    def other(body):
        proxy.add_team(TEAM, max_budget=float(next(limits)), metadata=METADATA)
        return {}

    proxy._post_team_new = proxy._post_team_update = other
    result = run(users=USERS, shared_budget=100)
    assert "other clients change team virtkey-abc at the same time; run again" in result["msg"]


def interruptions(run, proxy, operation, other, **arguments) -> Iterator[str]:
    """Run an operation again and again, with another run before each of its requests, and yield its message."""
    for number in itertools.count():
        proxy.rows.clear()
        proxy.teams.clear()
        proxy.forget_faults()
        prepare = {"provision": lambda: None, "destroy": lambda: run(users=USERS, shared_budget=100)}
        prepare[operation]()
        handle, count = proxy.handle, itertools.count()

        def intercepted(method, path, params, handle=handle, number=number, count=count):
            if next(count) == number:
                other()
            return handle(method, path, params)

        proxy.handle = intercepted
        try:
            result = run(operation, **arguments)
        finally:
            proxy.handle = handle
        yield str(result.get("msg") or "")
        if next(count) <= number:
            return


def test_a_destroy_before_each_request_of_a_provision(run, proxy, tmp_path):
    """A provision ends with keys in the team of their budget, or says so."""

    def destroy() -> None:
        for row in [row for row in proxy.rows.values() if row["team_id"] == TEAM]:
            del proxy.rows[row["token"]]
        proxy.teams.pop(TEAM, None)

    for message in interruptions(run, proxy, "provision", destroy, users=USERS, shared_budget=100):
        is_exact = set(teams_of_keys(proxy).values()) == {TEAM} and len(proxy.rows) == 2 and TEAM in proxy.teams
        is_later_destroy = not proxy.rows and not proxy.teams
        assert is_exact or is_later_destroy or message


def test_a_provision_before_each_request_of_a_destroy(run, proxy):
    """A destroy leaves nothing, or says so, or leaves exactly what another run has created later."""

    def provision() -> None:
        if TEAM not in proxy.teams:
            proxy.add_team(TEAM, max_budget=100.0, metadata=METADATA)
        if "virtkey-abc-ann" not in proxy.aliases():
            proxy.add("virtkey-abc-ann", team_id=TEAM, metadata={"guid": "abc"})

    for message in interruptions(run, proxy, "destroy", provision):
        teams = set(teams_of_keys(proxy).values())
        assert teams <= set(proxy.teams), "a key is in a team that does not exist"
        assert message or not proxy.teams or proxy.rows, "a team without a key"


@pytest.fixture
def overlap(run, proxy):
    """Create keys, and replace them with an overlap."""

    def start(**arguments):
        run(users=USERS, **arguments)
        for row in proxy.rows.values():
            row["created_at"] = (proxy.now() - 10 * DAY).isoformat()
        assert run("rotate_old", rotate={"every": "7d", "overlap": "24h"})["changed"]
        assert len(proxy.rows) == 4

    return start


def test_previous_keys_leave_the_team_with_the_keys(run, proxy, overlap):
    overlap(shared_budget=100)
    leave = {"users": USERS, "settings": {"unset": ["team_id"]}}
    assert run(check_mode=True, **leave)["shared_budget"] == {}
    assert len(proxy.teams) == 1
    result = run(**leave)
    assert (result.get("msg"), result["changed"], result["shared_budget"]) == (None, True, {})
    assert (set(teams_of_keys(proxy).values()), proxy.teams) == ({None}, {})
    assert not run(**leave)["changed"]


def test_a_previous_key_that_a_killed_run_has_left_leaves_the_team_later(run, proxy, overlap):
    overlap(shared_budget=100)
    for user in USERS:
        proxy.row(f"virtkey-abc-{user}")["team_id"] = None
    result = run(users=USERS, settings={"unset": ["team_id"]})
    assert (result.get("msg"), result["changed"], proxy.teams) == (None, True, {})


def test_previous_keys_join_the_team_with_the_keys(run, proxy, overlap):
    overlap()
    owners = {row["key_alias"]: row["user_id"] for row in proxy.rows.values()}
    result = run(users=USERS, shared_budget=100)
    assert (result.get("msg"), set(teams_of_keys(proxy).values())) == (None, {TEAM})
    assert {row["key_alias"]: row["user_id"] for row in proxy.rows.values()} == owners
    assert not run(users=USERS, shared_budget=100)["changed"]
    assert run("destroy").get("msg") is None
    assert (proxy.rows, proxy.teams) == ({}, {})


def test_a_previous_key_that_cannot_join_is_an_error(run, proxy, overlap):
    overlap()
    proxy.fault("POST /key/update", Fault("nothing"), *[Fault("nothing")] * 5, *[Fault("status", 400, "No.")] * 5)
    assert "virtkey-abc-ann.previous" in run(users=USERS, shared_budget=100)["msg"]


def test_keys_that_are_rotated_with_an_overlap_share_the_budget_and_leave_nothing(run, proxy):
    run(users=USERS, shared_budget=100)
    for row in proxy.rows.values():
        row["created_at"] = (proxy.now() - 10 * DAY).isoformat()
    result = run("rotate_old", rotate={"every": "7d", "overlap": "24h"})
    assert result.get("msg") is None
    assert [row["team_id"] for row in proxy.rows.values()] == [TEAM] * 4
    joined = run(users=USERS, shared_budget=50)
    assert (joined.get("msg"), joined["shared_budget"]["limit"], len(proxy.rows)) == (None, 50.0, 4)
    assert run("destroy").get("msg") is None
    assert (proxy.rows, proxy.teams) == ({}, {})


def test_keys_whose_secrets_are_not_saved_are_deleted_if_the_run_is_interrupted_after_them(run, proxy, monkeypatch):
    def interrupt(self, outcomes):
        raise KeyboardInterrupt

    monkeypatch.setattr(BudgetRun, "follow", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(users=USERS, shared_budget=100, save_user_data=False)
    assert proxy.rows == {}


@pytest.mark.parametrize("saves", [True, False])
def test_keys_whose_secrets_are_not_saved_are_deleted_if_the_budget_fails_after_them(run, proxy, monkeypatch, saves):
    def fail(self, outcomes):
        self.error = "The shared budget is not certain"

    monkeypatch.setattr(BudgetRun, "follow", fail)
    result = run(users=USERS, shared_budget=100, save_user_data=saves)
    assert result["failed"]
    assert len(proxy.rows) == (2 if saves else 0)
