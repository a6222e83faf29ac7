# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The platform's files on a real disk: what is saved is found, nothing is lost, and nobody else can read it."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.records import (
    SavedKey,
    saved_keys,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.store import load, save
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.user_data import users_of
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import UserDataError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import ObservedKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

SECRET = "sk-0123456789abcdef"
DATA, INFO, BODY = (f"provision-user-{kind}.yaml" for kind in ("data", "info", "body"))

# What JSON knows: the action gives nothing else.
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXTS, values, max_size=3),
    max_leaves=6,
)
# `users` is where the platform keeps what belongs to one user.
DICTIONARIES = st.dictionaries(TEXTS.filter(lambda name: name != "users"), VALUES, max_size=5)


# Each example writes to the disk and waits for it.
on_disk = settings(max_examples=25, deadline=None)


def listed(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture
def _loose_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


# What is saved is there.


@on_disk
@given(DICTIONARIES)
@example({"party": "🎉", "lines": "a\nb\n", "no": "no", "date": "2026-11-30", "=": "<<", "control": "\0\x7f\x85\u2028"})
def test_what_was_saved_is_loaded(data: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), "provision", data=data)
        assert load(Path(folder)) == data


@on_disk
@given(DICTIONARIES, DICTIONARIES)
def test_what_was_there_is_kept_unless_it_is_said_anew(before: dict[str, Any], after: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), "provision", data=before)
        save(Path(folder), "provision", data=after)
        assert load(Path(folder)) == {**before, **after}


@on_disk
@given(st.lists(st.lists(TEXTS, max_size=3), max_size=3))
@example([["party 🎉"], ["two\nlines", "- not: a list", "'\"", "\0\x7f\x85\u2028", "x" * 300]])
def test_messages_are_appended_as_they_are(said: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for messages in said:
            save(Path(folder), "provision", messages=messages, bodies=messages)
        expected = [message for messages in said for message in messages]
        for name in (INFO, BODY):
            path = Path(folder, name)
            assert (listed(path) if path.exists() else []) == expected


@pytest.mark.parametrize("left", ["", "---", "---\n", "- before", "- before\n", "---\n- before\n"])
def test_messages_follow_whatever_the_platform_left(tmp_path: Path, left: str) -> None:
    (tmp_path / INFO).write_text(left)
    save(tmp_path, "provision", messages=["after"])
    assert listed(tmp_path / INFO) == (["before", "after"] if "before" in left else ["after"])


@pytest.mark.parametrize("left", ["", "---", "---\n", "--- {}\n", "null"])
def test_data_follow_whatever_the_platform_left(tmp_path: Path, left: str) -> None:
    (tmp_path / DATA).write_text(left)
    assert load(tmp_path) == {}
    save(tmp_path, "provision", data={"a": 1})
    assert load(tmp_path) == {"a": 1}


def test_what_is_for_one_user_goes_below_this_user(tmp_path: Path) -> None:
    save(tmp_path, "provision", data={"shared": 1})
    save(tmp_path, "provision", data={"a": 1}, messages=["hello"], bodies=["long"], user="user1")
    save(tmp_path, "provision", data={"b": 2}, messages=["again", "and again"], user="user1")
    save(tmp_path, "provision", user="user2")
    assert load(tmp_path) == {
        "shared": 1,
        "users": {"user1": {"a": 1, "b": 2, "msg": "hello\nagain\nand again", "body": "long"}, "user2": {}},
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == [DATA]


def test_each_action_has_its_own_files(tmp_path: Path) -> None:
    save(tmp_path, "destroy", data={"a": 1}, messages=["gone"], bodies=["all gone"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "destroy-user-body.yaml",
        "destroy-user-data.yaml",
        "destroy-user-info.yaml",
    ]
    assert load(tmp_path) == {}


def test_nothing_to_save_leaves_no_file(tmp_path: Path) -> None:
    save(tmp_path / "new" / "folder", "provision")
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_no_folder_holds_nothing(tmp_path: Path) -> None:
    assert load(tmp_path / "missing") == {}


# How it is written.


@pytest.mark.usefixtures("_loose_umask")
def test_only_the_owner_can_read(tmp_path: Path) -> None:
    (tmp_path / DATA).touch(0o666)
    save(tmp_path, "provision", data={"virtual_key": SECRET}, messages=["a"], bodies=["b"])
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == dict.fromkeys(
        (DATA, INFO, BODY), 0o600
    )


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    save(tmp_path, "provision", data={"a": 1})
    with (tmp_path / DATA).open(encoding="utf-8") as reader:  # who reads it meanwhile
        save(tmp_path, "provision", data={"b": 2})
        assert yaml.safe_load(reader) == {"a": 1}
    assert load(tmp_path) == {"a": 1, "b": 2}


@pytest.mark.parametrize("broken", ["os.replace", "os.fsync"])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "stopped"]
)
def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, error: BaseException
) -> None:
    save(tmp_path, "provision", data={"a": 1})

    def fail(*_arguments: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(broken, fail)
        with pytest.raises((UserDataError, KeyboardInterrupt)) as failed:
            save(tmp_path, "provision", data={"b": 2})
    if isinstance(error, OSError):
        assert str(failed.value) == f"User data cannot be saved in {tmp_path}: No space left on device"
    assert load(tmp_path) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == [DATA]
    save(tmp_path, "provision", data={"b": 2})  # and the lock is free again
    assert load(tmp_path) == {"a": 1, "b": 2}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_full_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, "provision", data={"a": 1})
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdopen", on_a_full_disk(os.fdopen))
        with pytest.raises(UserDataError, match=f"^User data cannot be saved in {tmp_path}: No space left on device$"):
            save(tmp_path, "provision", data={"b": 2})
    assert load(tmp_path) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == [DATA]


def on_a_full_disk(real: Callable[..., Any]) -> Callable[..., Any]:
    def fdopen(handle: int, *rest: Any, **named: Any) -> Any:
        os.close(handle)
        return real(os.open("/dev/full", os.O_WRONLY), *rest, **named)

    return fdopen


@pytest.mark.parametrize("exists", [True, False], ids=["there", "dangling"])
def test_a_link_stays_a_link(tmp_path: Path, exists: bool) -> None:
    # AgnosticD makes one: user-data.yaml → provision-user-data.yaml.
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "data.yaml"
    if exists:
        target.write_text("a: 1\n")
    (tmp_path / DATA).symlink_to("elsewhere/data.yaml")
    save(tmp_path, "provision", data={"b": 2})
    assert (tmp_path / DATA).is_symlink()
    assert listed(target) == ({"a": 1} if exists else {}) | {"b": 2}
    assert [path.name for path in target.parent.iterdir()] == ["data.yaml"]


@pytest.mark.parametrize(
    "executor",
    # Not forked: the threads of other tests' servers would not survive.
    [lambda: ProcessPoolExecutor(4, get_context("spawn")), lambda: ThreadPoolExecutor(4)],
    ids=["processes", "threads"],
)
def test_writers_at_the_same_time_lose_nothing(tmp_path: Path, executor: Callable[[], Executor]) -> None:
    names = [str(number) for number in range(20)]
    with executor() as writers:
        for result in [
            writers.submit(save, tmp_path, "provision", data={name: "x"}, messages=[name]) for name in names
        ]:
            result.result()
    assert sorted(load(tmp_path)) == sorted(listed(tmp_path / INFO)) == sorted(names)


# What cannot be read or written.


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (f"virtual_key: {SECRET}\n  : : [", "is not YAML; mend it or move it away"),
        (f"virtual_key: !vault {SECRET}", "is not YAML; mend it or move it away"),
        (f"- {SECRET}", "does not hold a dictionary; mend it or move it away"),
        (b"\xff\xfe\xff", "is not YAML; mend it or move it away"),
    ],
    ids=["broken", "tag", "list", "binary"],
)
def test_a_file_that_is_not_ours_is_named_not_quoted_and_kept(tmp_path: Path, content: Any, why: str) -> None:
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / DATA).write_bytes(content)
    for attempt in (lambda: load(tmp_path), lambda: save(tmp_path, "provision", data={"a": 1})):
        with pytest.raises(UserDataError) as failed:
            attempt()
        assert str(failed.value) == f"{tmp_path / DATA} {why}"
        assert failed.value.__cause__ is None
    assert (tmp_path / DATA).read_bytes() == content


def test_messages_that_are_not_text_are_kept(tmp_path: Path) -> None:
    (tmp_path / INFO).write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserDataError, match="is not text; mend it or move it away"):
        save(tmp_path, "provision", messages=["a"])
    assert (tmp_path / INFO).read_bytes() == b"\xff\xfe\xff"


@pytest.mark.parametrize(("users", "name"), [("[]", "users"), ("text", "users"), ("{user1: text}", "user1")])
def test_users_that_are_something_else_are_kept(tmp_path: Path, users: str, name: str) -> None:
    (tmp_path / DATA).write_text(f"users: {users}\n")
    with pytest.raises(UserDataError, match=f"^'{name}' in {tmp_path / DATA} does not hold a dictionary"):
        save(tmp_path, "provision", data={"a": 1}, user="user1")
    assert (tmp_path / DATA).read_text() == f"users: {users}\n"


@pytest.mark.parametrize("users", ["", "{user1: }"])
def test_users_without_anything_are_begun(tmp_path: Path, users: str) -> None:
    (tmp_path / DATA).write_text(f"users: {users}\n")
    save(tmp_path, "provision", data={"a": 1}, user="user1")
    assert load(tmp_path) == {"users": {"user1": {"a": 1}}}


def test_a_folder_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserDataError, match=f"^User data cannot be saved in {tmp_path}/file/x: Not a directory$"):
        save(tmp_path / "file" / "x", "provision", data={"a": 1})


def test_a_folder_in_the_files_place_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / DATA).mkdir()
    with pytest.raises(UserDataError, match=f"^User data cannot be read from {tmp_path}: Is a directory$"):
        load(tmp_path)
    with pytest.raises(UserDataError, match=f"^User data cannot be saved in {tmp_path}: Is a directory$"):
        save(tmp_path, "provision", data={"a": 1})


# Where a secret is found.

ALIAS = "virtkey-a"


def secrets(data: dict[str, Any]) -> list[str]:
    return [key.secret for key in saved_keys(data) if key.alias == ALIAS]


@pytest.mark.parametrize(
    "data",
    [
        {"key_alias": ALIAS, "virtual_key": SECRET},
        {"litellm_key_alias": ALIAS, "litellm_virtual_key": SECRET},
        {"hub_litellm_key_alias": ALIAS, "hub_litellm_virtual_key": SECRET, "litellm_virtual_key": "sk-another"},
        {"litellm_user1_key_alias": ALIAS, "litellm_user1_virtual_key": SECRET},
        {"users": {"user1": {"litellm_key_alias": ALIAS, "litellm_virtual_key": SECRET}}},
        {
            "litellm_key_alias": "virtkey-b",
            "litellm_virtual_key": "sk-another",
            "users": {"user1": None, "user2": {"x_key_alias": ALIAS, "x_virtual_key": SECRET}},
        },
        # An empty one is not what we look for.
        {"a_key_alias": ALIAS, "a_virtual_key": "", "b_key_alias": ALIAS, "b_virtual_key": SECRET},
        {"a_litellm_key_aliases": ["other", ALIAS], "a_litellm_virtual_keys": ["sk-other", SECRET]},
        {"a_key_alias": ALIAS, "users": {"user1": {"key_alias": ALIAS, "virtual_key": SECRET}}},
    ],
)
def test_a_secret_is_found_beside_its_alias(data: dict[str, Any]) -> None:
    assert secrets(data) == [SECRET]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"litellm_virtual_key": SECRET},
        {"litellm_key_alias": ALIAS},
        {"litellm_key_alias": ALIAS, "litellm_virtual_key": None},
        {"litellm_key_alias": ALIAS, "litellm_virtual_key": ["sk"]},
        {"litellm_key_alias": f"{ALIAS}b", "litellm_virtual_key": SECRET},
        {"a_key_alias": ALIAS, "b_virtual_key": SECRET},
        {"litellm_key_aliases": [ALIAS], "litellm_virtual_keys": SECRET},
        {"litellm_key_aliases": [ALIAS], "litellm_virtual_keys": [None, SECRET]},
        {1: ALIAS, "users": "text"},
        {"users": [{"key_alias": ALIAS, "virtual_key": SECRET}]},
    ],
)
def test_the_secret_of_another_key_is_never_taken(data: dict[str, Any]) -> None:
    assert secrets(data) == []


def test_every_key_is_found_and_those_at_the_top_first() -> None:
    users = {
        "user1": {"key_alias": "virtkey-b", "virtual_key": "sk-b"},
        "user2": {"key_alias": ALIAS, "virtual_key": "sk-2"},
    }
    data = {"users": users, "key_alias": ALIAS, "virtual_key": "sk-1"}
    assert [key[:2] for key in saved_keys(data)] == [(ALIAS, "sk-1"), ("virtkey-b", "sk-b"), (ALIAS, "sk-2")]


@on_disk
@given(DICTIONARIES, st.sampled_from([None, "user1"]))
def test_a_secret_that_was_saved_among_other_data_is_found(others: dict[str, Any], user: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), "provision", data=others)
        save(Path(folder), "provision", data={"litellm_key_alias": ALIAS, "litellm_virtual_key": SECRET}, user=user)
        assert secrets(load(Path(folder))) == [SECRET]


@pytest.mark.parametrize(
    "data",
    [
        {"key_alias": ALIAS, "virtual_key": SECRET, "available_models": ["a"], "user_email": "ann@x.org"},
        {
            "hub_key_alias": ALIAS,
            "hub_virtual_key": SECRET,
            "hub_available_models": ["a"],
            "hub_user_email": "ann@x.org",
        },
    ],
)
def test_models_and_user_are_those_that_stand_beside_the_alias(data: dict[str, Any]) -> None:
    expected = [SavedKey(ALIAS, SECRET, ["a"], "ann@x.org")]
    assert list(saved_keys(data)) == expected
    assert list(saved_keys({"available_models": ["b"], "user_email": "no", "users": {"ann": data}})) == expected


@pytest.mark.parametrize("ids", [["no@x.org", "ann@x.org"], ["no@x.org"], None, "ann@x.org"])
def test_of_lists_the_user_is_the_one_in_the_same_place(ids: Any) -> None:
    data = {"key_aliases": ["other", ALIAS], "virtual_keys": ["sk-other", SECRET], "user_ids": ids}
    (found,) = (key for key in saved_keys(data) if key.alias == ALIAS)
    assert found == SavedKey(ALIAS, SECRET, None, "ann@x.org" if isinstance(ids, list) and len(ids) == 2 else None)


@pytest.mark.parametrize("wrong", [None, "", 1, ["ann@x.org"]])
def test_a_user_that_is_no_text_is_none(wrong: Any) -> None:
    (found,) = saved_keys({"key_alias": ALIAS, "virtual_key": SECRET, "user_email": wrong})
    assert found.user_id is None


# Whose keys an environment has.


def key_of(alias: str, **metadata: Any) -> ObservedKey:
    return ObservedKey.from_row({"token": "0" * 64, "key_alias": alias, "metadata": metadata})


@pytest.mark.parametrize(
    ("keys", "users"),
    [
        ([], [None]),
        ([key_of("virtkey-a", guid="a")], [None]),
        ([key_of("virtkey-a-user1", guid="a", user="user1")], ["user1"]),
        # What somebody else made, or another guid's, or another tenant's whose alias begins with ours.
        ([key_of("virtkey-a-user1")], [None]),
        ([key_of("virtkey-a-user1", guid="b", user="user1")], [None]),
        ([key_of("virtkey-a-b", guid="a")], [None]),
        ([key_of("virtkey-a-b-user1", guid="a", user="user1")], [None]),
        ([key_of("virtkey-ab", guid="a", user="b")], [None]),
        ([key_of("virtkey-a", guid="a"), key_of("virtkey-a-ann", guid="a", user="ann")], [None, "ann"]),
        # A guid of digits is a number to YAML, and so is a user's.
        ([key_of("virtkey-a-7", guid="a", user=7)], ["7"]),
        ([key_of(f"virtkey-a-u{number}", guid="a", user=f"u{number}") for number in (10, 2, 1)], ["u1", "u2", "u10"]),
        # One that another run was replacing when it ended.
        (
            [
                key_of(
                    "virtkey-a-ann.replaced",
                    guid="a",
                    user="ann",
                    replaced_in_litellm_virtual_keys="virtkey-a-ann",
                )
            ],
            ["ann"],
        ),
    ],
)
def test_the_users_of_an_environment_are_those_whose_keys_say_so(
    keys: list[ObservedKey], users: list[str | None]
) -> None:
    assert users_of("a", "virtkey-a", [], keys) == users


def test_users_whose_keys_were_saved_are_users_too() -> None:
    saved = [SavedKey("virtkey-a-ann", SECRET), SavedKey("virtkey-ab", SECRET), SavedKey("virtkey-a", SECRET)]
    assert users_of("a", "virtkey-a", saved, [key_of("virtkey-a-bob", guid="a", user="bob")]) == [None, "ann", "bob"]
