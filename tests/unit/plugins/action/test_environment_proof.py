# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What `litellm_environment` does about keys that cannot be deleted, and about user data that cannot be used."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.action import litellm_environment
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY, FakeLiteLLM, Fault
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._environment.outcomes import VALUES
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.run_action import run_action as run_task
from hypothesis import example, given, settings
from hypothesis import strategies as st

NAME = "rhpds.litellm_virtual_keys.litellm_environment"
DATA = "provision-user-data.yaml"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "_pause", lambda attempt: None)


def run(proxy: FakeLiteLLM, folder: Path, operation: str = "provision", **arguments: Any) -> dict[str, Any]:
    variables = {
        "litellm_url": proxy.url,
        "litellm_master_key": MASTER_KEY,
        "litellm_retries": 0,
        "output_dir": str(folder),
    }
    return run_task(NAME, {"operation": operation, "guid": "abc", **arguments}, variables)


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for part in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(part)


def saved_ids(folder: Path) -> set[str]:
    saved = yaml.safe_load((folder / DATA).read_text()) if (folder / DATA).exists() else {}
    return {hashlib.sha256(text.encode()).hexdigest() for text in texts(saved)}


# Keys that cannot be deleted


@pytest.mark.parametrize("later", [1, 10], ids=["once", "always"])
def test_every_key_that_is_left_is_returned_for_deletion_in_the_database(
    proxy: FakeLiteLLM, tmp_path: Path, later: int
) -> None:
    """LiteLLM reports success for one of 150 keys and keeps it; the deletion of the last 50 is answered by 500."""
    number: dict[str, Any] = {"multi_user": True, "user_count": 150}
    assert not run(proxy, tmp_path, **number).get("failed")
    proxy.undeletable.add(proxy.row("virtkey-abc-user7")["token"])
    proxy.fault("POST /key/delete", Fault("nothing"), *(Fault(status=500) for _time in range(later)))
    result = run(proxy, tmp_path, "destroy", force_db_delete=True, **number)
    assert not result.get("failed")
    assert set(result["not_deleted"]) == set(proxy.rows)
    assert 1 <= len(result["not_deleted"]) <= 51  # a request that fails is repeated with fewer keys
    assert result["follow_up"] == ["force_db_delete"]
    assert set(proxy.rows) <= saved_ids(tmp_path)
    assert all(key_id in result["delete_statement"] for key_id in proxy.rows)

    proxy.rows.clear()  # the database
    verified = run(proxy, tmp_path, "destroy", **number)
    assert (verified.get("failed"), verified["changed"], verified["not_deleted"]) == (None, False, [])
    assert not (saved_ids(tmp_path) & set(proxy.deleted))


def test_without_force_such_keys_are_a_failure(proxy: FakeLiteLLM, tmp_path: Path) -> None:
    run(proxy, tmp_path, users=["ann", "bob"])
    proxy.undeletable.add(proxy.row("virtkey-abc-ann")["token"])
    result = run(proxy, tmp_path, "destroy")
    assert result["msg"].startswith("1 of 2 keys failed") or "virtkey-abc-ann" in result["msg"]
    assert result["not_deleted"] == list(proxy.rows)
    assert set(proxy.rows) <= saved_ids(tmp_path)


# User data


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AnsibleError("no such user"), "no such user"),
        (ValueError("sk-a-secret"), "because of a bug in this collection, ValueError"),
    ],
    ids=["Ansible", "bug"],
)
def test_whatever_prevents_saving_loses_no_secret(
    proxy: FakeLiteLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*_arguments: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(litellm_environment, "merge_user_data_files", fail)
        result = run(proxy, tmp_path, users=["ann", "bob"])
    assert reason in result["msg"]
    assert "sk-a-secret" not in str(result)
    assert proxy.rows == {}
    assert not run(proxy, tmp_path, users=["ann", "bob"]).get("failed")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("sk-a-secret"), "because of a bug in this collection, ValueError; please report it"),
        (KeyboardInterrupt(), None),
    ],
    ids=["bug", "interruption"],
)
def test_without_user_data_a_key_whose_result_is_lost_is_deleted_again(
    proxy: FakeLiteLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, reason: str | None
) -> None:
    def fail(*_arguments: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(litellm_environment, "_follow_up", fail)
        if reason:
            result = run(proxy, tmp_path, save_user_data=False)
            assert reason in result["msg"]
            assert "so the key was deleted again" in result["msg"]
            assert "sk-" not in str(result)
        else:
            with pytest.raises(KeyboardInterrupt):
                run(proxy, tmp_path, save_user_data=False)
        assert proxy.rows == {}
        with pytest.raises(type(error)):
            run(proxy, tmp_path)  # the secret is saved
    assert saved_ids(tmp_path) >= set(proxy.rows)
    assert len(proxy.rows) == 1


# Keys of users, whose aliases look like those of other environments


def test_a_key_of_a_user_without_a_guid_is_not_touched(proxy: FakeLiteLLM, tmp_path: Path) -> None:
    key_id = proxy.add("virtkey-abc-ann", metadata={"owner": "somebody"})
    before = dict(proxy.rows[key_id])
    for operation in ("provision", "extend", "stop", "start", "destroy"):
        options = {"users": ["ann"], "block_on_stop": True, "runtime": 24}
        result = run(proxy, tmp_path, operation, **options)
        assert result["msg"] == (
            "Virtual key virtkey-abc-ann is not changed, because its metadata contain no guid, so it may belong to "
            "another environment than abc. Add the guid to its metadata, or use another user name"
        )
        assert proxy.rows == {key_id: before}
    assert run(proxy, tmp_path, "destroy", multi_user=True, user_count=1, user_base="ann")["changed"] is False


def test_a_key_of_a_user_that_was_saved_with_the_guid_is_its_own(proxy: FakeLiteLLM, tmp_path: Path) -> None:
    run(proxy, tmp_path, users=["ann"])
    (row,) = proxy.rows.values()
    row["metadata"] = {}  # somebody overwrote them
    result = run(proxy, tmp_path, users=["ann"])
    assert [key["operation"] for key in result["virtual_keys"]] == ["updated"]
    row["metadata"] = {}
    assert run(proxy, tmp_path, "destroy", users=["ann"])["changed"]
    assert proxy.rows == {}


def test_the_key_of_the_environment_needs_no_guid(proxy: FakeLiteLLM, tmp_path: Path) -> None:
    proxy.add("virtkey-abc")
    other = proxy.add("virtkey-abc-ann")  # of another environment, whose alias starts alike
    assert run(proxy, tmp_path, "destroy")["facts"]["litellm_key_deleted"]
    assert set(proxy.rows) == {other}


NAMES = st.sampled_from([
    "litellm_keys", "hub_litellm_keys", "users", "ann", "bob", "litellm_key_aliases", "litellm_virtual_keys",
    "litellm_key_alias", "litellm_virtual_key", "litellm_ann_key_alias", "litellm_user_count", "litellm_user_ids",
    "virtkey-abc-ann", "virtkey-abc", "virtual_key", "unconfirmed_virtual_key", "guid", "user", "key_id", "models",
    "settings", "expires", "lifetime_start", "user_id", "duration",
])  # fmt: skip
TEXTS = st.sampled_from(["virtkey-abc-ann", "virtkey-abc", "ann", "abc", "sk-0123456789abcdef", "2026-01-01T00:00:00Z"])
SAVED = st.recursive(
    VALUES | TEXTS, lambda parts: st.lists(parts, max_size=3) | st.dictionaries(NAMES, parts, max_size=4), max_leaves=12
)


@settings(max_examples=25)
@given(st.dictionaries(NAMES, SAVED, max_size=5))
@example({"litellm_keys": {"virtkey-abc-ann": {"guid": "abc", "user": "ann", "key_id": "x", "models": 5}}})
@example({"litellm_keys": {"virtkey-abc-bob": {"guid": "abc", "user": ["ann"], "key_id": "x", "virtual_key": "sk-1"}}})
def test_user_data_that_anybody_edited_lose_no_secret(saved: dict[str, Any]) -> None:
    with FakeLiteLLM().running() as proxy, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / DATA).write_text(yaml.safe_dump(saved))
        for operation in ("provision", "extend", "status", "destroy"):
            lifetime = {} if operation in ("status", "destroy") else {"duration": "7d"}
            result = run(proxy, folder, operation, **lifetime, **({"users": ["ann", "bob"]} if lifetime else {}))
            assert not str(result.get("msg", "")).startswith("Unexpected")
            assert set(proxy.rows) <= saved_ids(folder), result
            if result.get("failed"):
                assert "bug" not in result["msg"], result["msg"]
        assert proxy.rows == {}
        assert not (saved_ids(folder) & set(proxy.deleted))
