# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of an environment are rotated by age: what the result says, and what is saved."""

from __future__ import annotations

from datetime import timedelta

import pytest
import yaml
from ansible.utils.display import Display
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import derive
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY

NAME = "rhpds.litellm_virtual_keys.litellm_environment"
INFO = "rhpds.litellm_virtual_keys.litellm_key_info"
SEED = "a seed of more than 32 characters, as required"
ALIAS = "virtkey-abc"
DAY = timedelta(days=1)
ROTATE = {"every": "1d", "overlap": "2h"}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(reconcile, "_pause", lambda attempt: None)


@pytest.fixture
def warnings(monkeypatch):
    texts: list[str] = []
    monkeypatch.setattr(Display, "warning", lambda self, text, *args, **kwargs: texts.append(text))
    return texts


@pytest.fixture
def run(run_action, proxy, tmp_path):
    def run_task(operation="provision", *, check_mode=False, **arguments):
        variables = {
            "litellm_url": proxy.url,
            "litellm_master_key": MASTER_KEY,
            "litellm_retries": 0,
            "output_dir": str(tmp_path),
        }
        arguments = {"operation": operation, "guid": "abc", **arguments}
        return run_action(NAME, arguments, check_mode=check_mode, variables=variables)

    return run_task


def age(proxy, *aliases):
    """Make keys two days old."""
    for row in proxy.rows.values():
        if row["key_alias"] in aliases:
            row["created_at"] = (proxy.now() - 2 * DAY).isoformat()


def user_data(folder):
    return yaml.safe_load((folder / "provision-user-data.yaml").read_text())


def entry_of(result):
    assert result.get("msg") is None
    (entry,) = result["virtual_keys"]
    return entry


@pytest.mark.parametrize("operation", ["provision", "rotate_old"])
def test_the_saved_secret_and_the_files_follow(run, proxy, tmp_path, operation):
    first = entry_of(run(duration="30d", keys_file=str(tmp_path / "keys.csv")))
    assert entry_of(run(operation, rotate=ROTATE, duration="30d"))["operation"] == "unchanged"
    age(proxy, ALIAS)
    check = run(operation, rotate=ROTATE, duration="30d", check_mode=True)
    assert (check["changed"], entry_of(check)["operation"]) == (True, "regenerated")
    result = run(operation, rotate=ROTATE, duration="30d")
    entry = entry_of(result)
    assert (entry["operation"], entry["previous"]["key_id"]) == ("regenerated", first["key_id"])
    assert entry["key"] not in (None, first["key"])
    assert result["facts"]["litellm_virtual_key"] == entry["key"]
    data = user_data(tmp_path)
    assert (data["litellm_virtual_key"], data["litellm_key_id"]) == (entry["key"], entry["key_id"])
    assert entry["key"] in (tmp_path / "keys.csv").read_text()
    assert first["key"] not in (tmp_path / "keys.csv").read_text()
    until = entry["previous"]["expires"]
    assert any(line.startswith(f"The previous secret works until {until}, in 1 hour") for line in result["summary"])
    assert any(entry["key"] in message for message in result["messages"])
    again = run(operation, rotate=ROTATE, duration="30d")
    assert (again["changed"], entry_of(again)["key"]) == (False, entry["key"])


def test_a_rotation_by_age_reports_that_nothing_is_old(run, proxy):
    run(duration="30d")
    result = run("rotate_old", rotate=ROTATE)
    assert (result["report"], result["messages"]) == ("Nothing is rotated: no virtual key is old enough", [])
    assert result["summary"][0] == f"Left as it is (not old enough): virtual key {ALIAS}"
    age(proxy, ALIAS)
    until = entry_of(run("rotate_old", rotate=ROTATE))["previous"]["expires"]
    report = run("rotate_old", rotate=ROTATE)["report"]
    assert report == f"Nothing is rotated: no virtual key is old enough, and previous secrets work until {until}"


def test_a_rotation_by_age_reports_that_the_last_overlap_has_not_ended(run, proxy):
    run(users=["ann", "bob"], duration="30d")
    age(proxy, f"{ALIAS}-ann")
    run("rotate_old", rotate=ROTATE)
    age(proxy, f"{ALIAS}-ann")
    until = proxy.row(f"{ALIAS}-ann.previous")["expires"]
    result = run("rotate_old", rotate=ROTATE)
    assert result["report"].startswith(
        "Nothing is rotated: no virtual key can be rotated now, and previous secrets work "
    )
    assert until[:16] in result["report"]
    assert result["summary"][:2] == [
        f"Left as it is (not old enough): virtual key {ALIAS}-bob",
        f"Left as it is (cannot be rotated now): virtual key {ALIAS}-ann",
    ]


def test_only_the_old_keys_of_an_environment_are_rotated(run, proxy, tmp_path):
    run(users=["ann", "bob", "cat"])
    age(proxy, f"{ALIAS}-ann", f"{ALIAS}-cat")
    result = run("rotate_old", rotate=ROTATE, users=["ann", "bob"])
    assert [entry["operation"] for entry in result["virtual_keys"]] == ["regenerated", "unchanged"]
    result = run("rotate_old", rotate=ROTATE)
    assert [(entry["user"], entry["operation"]) for entry in result["virtual_keys"]] == [
        ("ann", "unchanged"),
        ("bob", "unchanged"),
        ("cat", "regenerated"),
    ]
    assert set(user_data(tmp_path)["users"]) == {"ann", "bob", "cat"}
    # The previous keys are no users, and are not shown as keys of their own.
    status = run("status")
    assert [(entry["user"], bool(entry["previous"])) for entry in status["virtual_keys"]] == [
        ("ann", True),
        ("bob", False),
        ("cat", True),
    ]
    assert [("previous secret until" in line) for line in status["report"]] == [False, True, False, True]
    assert run("provision", users=["ann", "bob", "cat"])["changed"] is False


def test_a_destroy_deletes_both_keys(run, proxy, warnings):
    run(duration="30d")
    age(proxy, ALIAS)
    run("rotate_old", rotate=ROTATE)
    assert proxy.aliases() == [ALIAS, f"{ALIAS}.previous"]
    result = run("destroy")
    assert (entry_of(result)["operation"], result["facts"]["litellm_key_deleted"], proxy.aliases()) == (
        "deleted",
        True,
        [],
    )
    assert warnings == []


def test_a_destroy_finds_a_previous_key_that_is_left_alone(run, proxy):
    run(users=["ann"])
    age(proxy, f"{ALIAS}-ann")
    run("rotate_old", rotate=ROTATE)
    del proxy.rows[proxy.row(f"{ALIAS}-ann")["token"]]
    assert run("destroy")["changed"]
    assert proxy.aliases() == []


def test_a_stop_blocks_both_keys(run, proxy):
    run()
    age(proxy, ALIAS)
    run("rotate_old", rotate=ROTATE)
    assert run("stop", block_on_stop=True)["changed"]
    assert [row["blocked"] for row in proxy.rows.values()] == [True, True]
    assert run("stop", block_on_stop=True)["changed"] is False
    assert run("start", block_on_stop=True)["changed"]
    assert [bool(row["blocked"]) for row in proxy.rows.values()] == [False, False]


def test_an_extension_extends_the_new_key_only(run, proxy):
    run(duration="3d")
    age(proxy, ALIAS)
    entry = entry_of(run("rotate_old", rotate=ROTATE))
    extended = entry_of(run("extend", extend_by="7d"))
    assert extended["previous"] == entry["previous"]
    assert extended["expires"] > entry["expires"]


def test_a_replacement_at_once_revokes_the_previous_secret_too(run, proxy):
    run()
    age(proxy, ALIAS)
    run("rotate_old", rotate=ROTATE)
    assert entry_of(run("rotate", rotate=ROTATE))["previous"] is None
    assert proxy.aliases() == [ALIAS]


def test_another_controller_knows_the_derived_secret(run, proxy, tmp_path):
    run(key_seed=SEED)
    age(proxy, ALIAS)
    assert entry_of(run("rotate_old", rotate=ROTATE, key_seed=SEED))["key"] == derive(SEED, ALIAS, 2).value
    (tmp_path / "provision-user-data.yaml").unlink()
    for found in tmp_path.glob("*"):
        found.unlink()
    result = run(key_seed=SEED)
    assert (result["changed"], entry_of(result)["key"]) == (False, derive(SEED, ALIAS, 2).value)


def test_a_later_run_reports_that_the_new_secret_was_lost(run, proxy, tmp_path, warnings):
    run(duration="30d")
    saved = (tmp_path / "provision-user-data.yaml").read_text()
    age(proxy, ALIAS)
    run("rotate_old", rotate=ROTATE)
    # The run was killed before it saved the secret, more than 15 minutes ago.
    (tmp_path / "provision-user-data.yaml").write_text(saved)
    proxy.row(ALIAS)["created_at"] = (proxy.now() - timedelta(minutes=16)).isoformat()
    sentence = f"Virtual key {ALIAS} exists, but its secret is not known"
    for _overlap in ("runs", "has ended", "has ended"):
        warnings.clear()
        assert run("rotate_old", rotate=ROTATE)["msg"].startswith(sentence)
        run("status")
        assert [text.startswith(sentence) for text in warnings] == [True]
        proxy.row(f"{ALIAS}.previous")["expires"] = (proxy.now() - DAY).isoformat()
    entry = entry_of(run("provision", rotate=ROTATE, regenerate="if_unrecoverable"))
    assert entry_of(run("rotate_old", rotate=ROTATE))["key"] == entry["key"]


def test_a_previous_key_without_an_expiry_gets_its_end_again(run, proxy):
    run(duration="30d")
    age(proxy, ALIAS)
    entry = entry_of(run("rotate_old", rotate=ROTATE))
    proxy.row(f"{ALIAS}.previous")["expires"] = None
    status = run("status")
    assert entry_of(status)["previous"]["expires"] is None
    assert "previous secret until it is deleted" in "".join(status["report"])
    summary = run("provision", duration="30d", check_mode=True)["summary"]
    assert "The previous secret works without an end" in summary
    assert entry_of(run("rotate_old", rotate=ROTATE))["previous"]["expires"][:16] == entry["previous"]["expires"][:16]


def test_a_foreign_key_without_an_expiry_is_not_shown(run, proxy):
    key = entry_of(run())
    foreign = {"guid": "other", "replaced_by_in_litellm_virtual_keys": key["key_id"]}
    proxy.add(f"{ALIAS}.previous", metadata=foreign)
    for operation in ("provision", "status", "rotate_old", "stop"):
        result = run(operation, rotate=ROTATE, block_on_stop=True)
        assert entry_of(result)["previous"] is None
    age(proxy, ALIAS)
    assert f"key {ALIAS}.previous" in run("rotate_old", rotate=ROTATE)["msg"]
    assert (proxy.row(f"{ALIAS}.previous")["metadata"], proxy.row(ALIAS)["token"]) == (foreign, key["key_id"])


def test_an_environment_without_keys_has_nothing_to_rotate(run, proxy, warnings):
    result = run("rotate_old", rotate=ROTATE)
    assert (result["changed"], result["report"]) == (False, "There is no virtual key of environment abc")
    assert warnings == ["There is no virtual key of environment abc"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "rotate is not set; it must say how old a secret can become"),
        ({"rotate": {}}, "rotate is not set; it must say how old a secret can become"),
        ({"rotate": {"every": "soon"}}, "rotate.every: 'soon' is not a duration"),
        ({"rotate": "30d"}, "rotate must be a dictionary, but is '30d'"),
    ],
)
def test_an_invalid_rotation_is_refused(run, proxy, arguments, message):
    assert message in run("rotate_old", **arguments)["msg"]
    assert proxy.requests == []


def test_the_information_about_a_key_includes_the_one_that_it_has_replaced(run, run_action, proxy):
    run()
    age(proxy, ALIAS)
    run("rotate_old", rotate=ROTATE)
    for arguments in ({"guid": "abc"}, {"alias_prefix": "virtkey-"}):
        keys = run_action(INFO, arguments)["virtual_keys"]
        assert {(key["key_alias"], key["guid"], key["is_previous"]) for key in keys} == {
            (ALIAS, "abc", False),
            (f"{ALIAS}.previous", "abc", True),
        }
        assert {key["key_alias"]: (key["previous"] or {}).get("key_alias") for key in keys} == {
            ALIAS: f"{ALIAS}.previous",
            f"{ALIAS}.previous": None,
        }
