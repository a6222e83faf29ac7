# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the user data files on a real disk: complete, atomic, and readable by their owner only."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment import store
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.documents import parse
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.store import (
    check_writable,
    load,
    merge,
    protect,
    remove_messages,
    save,
    update,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import UserDataError
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._environment.outcomes import (
    DICTIONARIES,
    TEXTS,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

SECRET = "sk-0123456789abcdef"
DATA, INFO, BODY = (f"provision-user-{kind}.yaml" for kind in ("data", "info", "body"))

# Each example writes to the disk and waits until the data are stored.
on_disk = settings(max_examples=25)


def listed(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def written(path: Path) -> tuple[int, int]:
    """Return what is different after each write. Reading a file changes its other times."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


@pytest.fixture
def _loose_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


# Saving and loading


@on_disk
@given(DICTIONARIES)
@example({"party": "🎉", "lines": "a\nb\n", "no": "no", "date": "2026-11-30", "=": "<<", "control": "\0\x7f\x85\u2028"})
def test_saved_data_are_loaded_unchanged(data: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), "provision", data=data)
        assert load(Path(folder)) == data


@on_disk
@given(DICTIONARIES, DICTIONARIES)
def test_saving_again_overrides_only_the_given_names(before: dict[str, Any], after: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), "provision", data=before)
        save(Path(folder), "provision", data=after)
        assert load(Path(folder)) == {**before, **after}


@on_disk
@given(st.lists(st.lists(TEXTS, max_size=3), max_size=3))
@example([["party 🎉"], ["two\nlines", "- not: a list", "'\"", "\0\x7f\x85\u2028", "x" * 300]])
def test_messages_are_appended_unchanged(calls: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for messages in calls:
            save(Path(folder), "provision", messages=messages, bodies=messages)
        expected = [message for messages in calls for message in messages]
        for name in (INFO, BODY):
            path = Path(folder, name)
            assert (listed(path) if path.exists() else []) == expected


@pytest.mark.parametrize("content", ["", "---", "---\n", "- before", "- before\n", "---\n- before\n"])
def test_messages_are_appended_to_existing_files(tmp_path: Path, content: str) -> None:
    (tmp_path / INFO).write_text(content)
    save(tmp_path, "provision", messages=["after"])
    assert listed(tmp_path / INFO) == (["before", "after"] if "before" in content else ["after"])


@pytest.mark.parametrize("content", ["", "---", "---\n", "--- {}\n", "null"])
def test_data_are_added_to_an_empty_file(tmp_path: Path, content: str) -> None:
    (tmp_path / DATA).write_text(content)
    assert load(tmp_path) == {}
    save(tmp_path, "provision", data={"a": 1})
    assert load(tmp_path) == {"a": 1}


def test_data_and_messages_for_a_user_are_stored_below_the_user(tmp_path: Path) -> None:
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
    save(tmp_path, "destroy", data={"a": 1}, messages=["deleted"], bodies=["all deleted"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "destroy-user-body.yaml",
        "destroy-user-data.yaml",
        "destroy-user-info.yaml",
    ]
    assert load(tmp_path) == {}


def test_saving_nothing_creates_no_file(tmp_path: Path) -> None:
    save(tmp_path / "new" / "folder", "provision")
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_a_missing_folder_has_no_data(tmp_path: Path) -> None:
    assert load(tmp_path / "missing") == {}


# Writing


@pytest.mark.usefixtures("_loose_umask")
def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    (tmp_path / DATA).touch(0o644)
    save(tmp_path, "provision", data={"virtual_key": SECRET}, messages=["a"], bodies=["b"])
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == dict.fromkeys(
        (DATA, INFO, BODY), 0o600
    )


def test_a_file_is_replaced_atomically(tmp_path: Path) -> None:
    save(tmp_path, "provision", data={"a": 1})
    with (tmp_path / DATA).open(encoding="utf-8") as reader:  # a concurrent reader
        save(tmp_path, "provision", data={"b": 2})
        assert yaml.safe_load(reader) == {"a": 1}
    assert load(tmp_path) == {"a": 1, "b": 2}


@pytest.mark.parametrize("broken", ["os.replace", "os.fsync"])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["disk-full", "interrupted"]
)
def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, error: BaseException
) -> None:
    save(tmp_path, "provision", data={"a": 1})

    def fail(*_arguments: Any, **_named: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(broken, fail)
        with pytest.raises((UserDataError, KeyboardInterrupt)) as failed:
            save(tmp_path, "provision", data={"b": 2})
    if isinstance(error, OSError):
        assert str(failed.value) == f"Cannot save user data in {tmp_path}: No space left on device"
    assert load(tmp_path) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == [DATA]
    save(tmp_path, "provision", data={"b": 2})  # the lock was released
    assert load(tmp_path) == {"a": 1, "b": 2}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_keeps_the_old_file_and_leaves_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, "provision", data={"a": 1})
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdopen", on_a_full_disk(os.fdopen))
        with pytest.raises(UserDataError, match=f"^Cannot save user data in {tmp_path}: No space left on device$"):
            save(tmp_path, "provision", data={"b": 2})
    assert load(tmp_path) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == [DATA]


def on_a_full_disk(real: Callable[..., Any]) -> Callable[..., Any]:
    def fdopen(handle: int, *rest: Any, **named: Any) -> Any:
        os.close(handle)
        return real(os.open("/dev/full", os.O_WRONLY), *rest, **named)

    return fdopen


@pytest.mark.parametrize("exists", [True, False], ids=["existing", "dangling"])
def test_a_symbolic_link_is_kept(tmp_path: Path, exists: bool) -> None:
    # AgnosticD creates one: user-data.yaml → provision-user-data.yaml.
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
    # A forked process would not have the threads of the servers that other tests started.
    [lambda: ProcessPoolExecutor(4, get_context("spawn")), lambda: ThreadPoolExecutor(4)],
    ids=["processes", "threads"],
)
def test_concurrent_writers_lose_nothing(tmp_path: Path, executor: Callable[[], Executor]) -> None:
    names = [str(number) for number in range(20)]
    with executor() as writers:
        for result in [
            writers.submit(save, tmp_path, "provision", data={name: "x"}, messages=[name]) for name in names
        ]:
            result.result()
    assert sorted(load(tmp_path)) == sorted(listed(tmp_path / INFO)) == sorted(names)


# Temporary files that writers left behind


def temporary_of_a_killed_writer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the temporary file that a writer leaves if it is killed right before it replaces the file."""
    before = set(folder.iterdir())
    with monkeypatch.context() as patched:
        for name in ("replace", "unlink"):
            patched.setattr(os, name, lambda *_arguments, **_named: None)
        save(folder, "provision", data={"killed": SECRET})
    (left,) = set(folder.iterdir()) - before
    return left


def age(path: Path, hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(path, (then, then), follow_symlinks=False)


def test_the_temporary_file_of_a_killed_writer_is_removed_after_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = temporary_of_a_killed_writer(tmp_path, monkeypatch)
    age(left, 0.9)
    save(tmp_path, "provision", data={"a": 1})
    assert left.exists()
    age(left, 1.1)
    save(tmp_path, "destroy", data={"a": 1})  # another file: the left one is not one of its temporary files
    assert left.exists()
    save(tmp_path, "provision", data={"a": 1})
    assert not left.exists()
    assert load(tmp_path) == {"a": 1}


@pytest.mark.parametrize(
    "name",
    [
        f".{DATA}.before-migration.bak",
        f".{DATA}.swp",  # Vim
        f".{DATA}.orig",
        f".{DATA}.a1b2c3_d",  # mkstemp of another program
        f".{DATA}.Xy12Zq",  # rsync
        f".{DATA}.",
        f".{DATA}.rhpds-litellm-notes.tmp",
        f".{DATA}.rhpds-litellm-before-migration.tmp",
        f".{DATA}.rhpds-litellm-a1b2c3_d.tmp.bak",
        f".{DATA}.old.rhpds-litellm-a1b2c3_d.tmp",
    ],
)
def test_an_old_file_of_somebody_else_is_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    age(tmp_path / name, 2)
    save(tmp_path, "provision", data={"a": 1})
    assert (tmp_path / name).read_text() == "precious"


@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
def test_only_regular_files_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    left = temporary_of_a_killed_writer(tmp_path, monkeypatch)
    left.unlink()
    (tmp_path / "precious").write_text("precious")
    age(tmp_path / "precious", 2)
    {
        "directory": left.mkdir,
        "link": lambda: left.symlink_to("precious"),
        "pipe": lambda: os.mkfifo(left),
    }[kind]()
    age(left, 2)
    save(tmp_path, "provision", data={"a": 1})
    assert left.exists()
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to create a file of another user")
def test_a_temporary_file_of_another_user_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = temporary_of_a_killed_writer(tmp_path, monkeypatch)
    age(left, 2)
    os.chown(left, 12345, 12345)
    save(tmp_path, "provision", data={"a": 1})
    assert left.exists()


def test_a_name_that_looks_like_a_pattern_is_taken_literally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / DATA).symlink_to("data-[a-z]*.yaml")
    left = temporary_of_a_killed_writer(tmp_path, monkeypatch)
    age(left, 2)
    other = tmp_path / left.name.replace("[a-z]*", "b")
    other.write_text("precious")
    age(other, 2)
    save(tmp_path, "provision", data={"a": 1})
    assert (left.exists(), other.exists()) == (False, True)


def test_a_temporary_file_that_another_writer_removes_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    age(temporary_of_a_killed_writer(tmp_path, monkeypatch), 2)
    real_unlink = os.unlink

    def unlink_twice(path: str, **folder: int) -> None:
        real_unlink(path, **folder)
        real_unlink(path, **folder)

    monkeypatch.setattr(os, "unlink", unlink_twice)
    save(tmp_path, "provision", data={"a": 1})
    assert load(tmp_path) == {"a": 1}


def test_saving_returns_the_data_before_and_after(tmp_path: Path) -> None:
    assert save(tmp_path, "provision", data={"a": 1}) == ({}, {"a": 1})
    assert save(tmp_path, "provision", data={"b": 2}, users={"ann": {"c": 3}}) == (
        {"a": 1},
        {"a": 1, "b": 2, "users": {"ann": {"c": 3}}},
    )


def test_data_of_several_users_are_saved_at_once(tmp_path: Path) -> None:
    save(tmp_path, "provision", data={"shared": 1}, users={"ann": {"a": 1}, "bob": {"a": 2}})
    save(tmp_path, "provision", data={"b": 0}, messages=["hello"], user="ann", users={"bob": {"b": 3}, "eve": {}})
    assert load(tmp_path) == {
        "shared": 1,
        "users": {"ann": {"a": 1, "b": 0, "msg": "hello"}, "bob": {"a": 2, "b": 3}, "eve": {}},
    }


def test_a_change_is_loaded_even_if_time_and_size_of_the_file_are_the_same(tmp_path: Path) -> None:
    save(tmp_path, "provision", data={"a": 1})
    before = (tmp_path / DATA).stat()
    assert load(tmp_path) == {"a": 1}
    save(tmp_path, "provision", data={"a": 2})
    # The clock of a file system can be coarse.
    os.utime(tmp_path / DATA, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load(tmp_path) == {"a": 2}


def test_a_file_is_parsed_once_for_reading_and_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []

    def counted(content: bytes) -> Any:
        parsed.append(content)
        return parse(content)

    monkeypatch.setattr(store, "parse", counted)
    save(tmp_path, "provision", data={"a": 1})
    load(tmp_path)
    merge(tmp_path, "provision", lambda _data: ({"b": 2}, {}))
    assert len(parsed) == 1
    assert load(tmp_path) == {"a": 1, "b": 2}


def test_a_file_that_is_changed_in_place_is_parsed_again_before_it_is_written(tmp_path: Path) -> None:
    save(tmp_path, "provision", data={"a": 1})
    path, before = tmp_path / DATA, (tmp_path / DATA).stat()
    load(tmp_path)
    path.write_text(path.read_text().replace("1", "2"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # the clock of a file system can be coarse
    assert merge(tmp_path, "provision", lambda _data: ({"b": 3}, {}))[1] == {"a": 2, "b": 3}


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: save(folder, "provision", data={"b": 2}, users={"ann": {"c": 3}}),
        lambda folder: merge(folder, "provision", lambda _data: ({"b": 2}, {"ann": {"c": 3}})),
        lambda folder: update(folder, "provision", lambda data: data["users"]["ann"].clear() is None),
    ],
    ids=["save", "merge", "update"],
)
def test_data_that_were_loaded_do_not_change(tmp_path: Path, change: Callable[[Path], object]) -> None:
    save(tmp_path, "provision", data={"a": 1}, users={"ann": {"b": 2}})
    loaded = load(tmp_path)
    change(tmp_path)
    assert loaded == {"a": 1, "users": {"ann": {"b": 2}}}


# Merging


@pytest.mark.parametrize(("data", "is_written"), [({"a": 1}, False), ({"a": True}, True), ({"a": 2}, True)])
def test_merging_what_is_saved_already_writes_nothing(tmp_path: Path, data: dict[str, Any], is_written: bool) -> None:
    save(tmp_path, "provision", data={"a": 1}, users={"ann": {"b": 2}})
    before = written(tmp_path / DATA)
    merge(tmp_path, "provision", lambda _data: (data, {"ann": {"b": 2}}))
    assert (written(tmp_path / DATA) != before) == is_written


def test_merging_what_is_saved_already_makes_the_file_private(tmp_path: Path) -> None:
    save(tmp_path, "provision", data={"a": 1})
    (tmp_path / DATA).chmod(0o644)
    merge(tmp_path, "provision", lambda _data: ({"a": 1}, {}))
    assert stat.S_IMODE((tmp_path / DATA).stat().st_mode) == 0o600


# Updating


def test_an_update_changes_the_file(tmp_path: Path) -> None:
    save(tmp_path, "provision", data={"a": 1, "b": 2})
    update(tmp_path, "provision", lambda data: data.pop("a") == 1)
    assert load(tmp_path) == {"b": 2}
    assert stat.S_IMODE((tmp_path / DATA).stat().st_mode) == 0o600


def test_an_update_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    save(tmp_path, "provision", data={"a": 1})
    before = written(tmp_path / DATA)
    update(tmp_path, "provision", lambda _data: False)
    assert written(tmp_path / DATA) == before


def test_an_update_creates_neither_a_file_nor_a_folder(tmp_path: Path) -> None:
    def change(data: dict[str, Any]) -> bool:
        data["a"] = 1
        return True

    update(tmp_path / "missing", "provision", change)
    update(tmp_path, "provision", change)
    assert list(tmp_path.iterdir()) == []


def test_an_update_of_an_invalid_file_is_an_error_and_keeps_it(tmp_path: Path) -> None:
    (tmp_path / DATA).write_text(f"- {SECRET}")
    with pytest.raises(UserDataError, match="does not contain a dictionary; repair it or move it away"):
        update(tmp_path, "provision", lambda _data: True)
    assert (tmp_path / DATA).read_text() == f"- {SECRET}"


def test_concurrent_updates_lose_nothing(tmp_path: Path) -> None:
    save(tmp_path, "provision", data={"count": 0})

    def increase(data: dict[str, Any]) -> bool:
        data["count"] += 1
        return True

    with ThreadPoolExecutor(4) as writers:
        for result in [writers.submit(update, tmp_path, "provision", increase) for _unused in range(20)]:
            result.result()
    assert load(tmp_path) == {"count": 20}


# Checking


def test_the_check_keeps_the_data(tmp_path: Path) -> None:
    save(tmp_path, "provision", data={"a": 1})
    check_writable(tmp_path, "provision")
    assert load(tmp_path) == {"a": 1}


def test_the_check_creates_the_folder_but_no_file(tmp_path: Path) -> None:
    check_writable(tmp_path / "new", "provision")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_the_check_finds_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, "provision", data={"a": 1})
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdopen", on_a_full_disk(os.fdopen))
        with pytest.raises(UserDataError, match=r"No space left on device$"):
            check_writable(tmp_path, "provision")
    assert load(tmp_path) == {"a": 1}


def test_the_check_finds_a_file_instead_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserDataError, match=r"^Cannot save user data in "):
        check_writable(tmp_path / "file", "provision")


# Files that cannot be read or written


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (f"virtual_key: {SECRET}\n  : : [", "is not valid YAML; repair it or move it away"),
        (f"virtual_key: !vault {SECRET}", "is not valid YAML; repair it or move it away"),
        (f"- {SECRET}", "does not contain a dictionary; repair it or move it away"),
        (b"\xff\xfe\xff", "is not valid YAML; repair it or move it away"),
    ],
    ids=["broken", "tag", "list", "binary"],
)
def test_an_invalid_file_is_kept_and_not_quoted(tmp_path: Path, content: Any, why: str) -> None:
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
    with pytest.raises(UserDataError, match="is not a text file; repair it or move it away"):
        save(tmp_path, "provision", messages=["a"])
    assert (tmp_path / INFO).read_bytes() == b"\xff\xfe\xff"


@pytest.mark.parametrize(("users", "name"), [("[]", "users"), ("text", "users"), ("{user1: text}", "user1")])
def test_users_that_are_not_dictionaries_are_kept(tmp_path: Path, users: str, name: str) -> None:
    (tmp_path / DATA).write_text(f"users: {users}\n")
    with pytest.raises(
        UserDataError, match=f"^'{name}' in {tmp_path / DATA} is not a dictionary; repair it or move the file away$"
    ):
        save(tmp_path, "provision", data={"a": 1}, user="user1")
    assert (tmp_path / DATA).read_text() == f"users: {users}\n"


@pytest.mark.parametrize("users", ["", "{user1: }"])
def test_empty_users_are_filled(tmp_path: Path, users: str) -> None:
    (tmp_path / DATA).write_text(f"users: {users}\n")
    save(tmp_path, "provision", data={"a": 1}, user="user1")
    assert load(tmp_path) == {"users": {"user1": {"a": 1}}}


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserDataError, match=f"^Cannot save user data in {tmp_path}/file/x: Not a directory$"):
        save(tmp_path / "file" / "x", "provision", data={"a": 1})


def test_a_folder_instead_of_the_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / DATA).mkdir()
    with pytest.raises(
        UserDataError,
        match=f"^Cannot read user data from {tmp_path}: {tmp_path / DATA} is not a regular file; move it away$",
    ):
        load(tmp_path)
    with pytest.raises(
        UserDataError,
        match=f"^Cannot save user data in {tmp_path}: {tmp_path / DATA} is not a regular file; move it away$",
    ):
        save(tmp_path, "provision", data={"a": 1})


def test_messages_with_a_revoked_secret_are_removed(tmp_path: Path) -> None:
    save(tmp_path, "provision", messages=["Models: a", f"Key: {SECRET}", "Have fun"], bodies=[f"use {SECRET}"])
    remove_messages(tmp_path, "provision", {SECRET})
    assert yaml.safe_load((tmp_path / INFO).read_text()) == ["Models: a", "Have fun"]
    assert SECRET not in (tmp_path / BODY).read_text()
    save(tmp_path, "provision", bodies=["more"])
    assert yaml.safe_load((tmp_path / BODY).read_text()) == ["more"]


def test_no_message_is_removed_without_a_revoked_secret(tmp_path: Path) -> None:
    remove_messages(tmp_path, "provision", {SECRET})
    save(tmp_path, "provision", messages=["Models: a"])
    before = written(tmp_path / INFO)
    for texts in (set(), {SECRET}):
        remove_messages(tmp_path, "provision", texts)
    assert written(tmp_path / INFO) == before


# Files and folders of other users

other_users = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to create files of another user")
ATTACKER = 12345


@other_users
@pytest.mark.parametrize("kind", ["file", "link", "pipe", "hard link"])
@pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777])
def test_what_another_user_planted_is_neither_read_nor_written(tmp_path: Path, kind: str, mode: int) -> None:
    folder, precious, path = tmp_path / "output", tmp_path / "precious", tmp_path / "output" / DATA
    folder.mkdir()
    folder.chmod(mode)
    precious.write_text(f"virtual_key: {SECRET}\n")
    {
        "file": lambda: path.write_text(f"virtual_key: {SECRET}\n"),
        "link": lambda: path.symlink_to(precious),
        "pipe": lambda: os.mkfifo(path),
        "hard link": lambda: path.hardlink_to(precious),
    }[kind]()
    os.chown(path, ATTACKER, ATTACKER, follow_symlinks=False)
    for use in (
        load,
        lambda folder: save(folder, "provision", data={"a": 1}),
        lambda folder: merge(folder, "provision", lambda _data: ({"a": 1}, {})),
        lambda folder: update(folder, "provision", lambda _data: True),
        lambda folder: check_writable(folder, "provision"),
        lambda folder: protect(folder, [DATA]),
    ):
        with pytest.raises(UserDataError, match=r"^Cannot (read|save) user data (from|in) .*provision-user-data.yaml "):
            use(folder)
    assert precious.read_text() == f"virtual_key: {SECRET}\n"
    assert [one.name for one in folder.iterdir()] == [DATA]


@other_users
@pytest.mark.parametrize("name", [INFO, BODY])
def test_messages_are_not_appended_to_the_file_of_another_user(tmp_path: Path, name: str) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / name).symlink_to("precious")
    os.lchown(tmp_path / name, ATTACKER, ATTACKER)
    with pytest.raises(UserDataError, match="is a symbolic link of another user"):
        save(tmp_path, "provision", messages=[SECRET], bodies=[SECRET])
    with pytest.raises(UserDataError, match="is a symbolic link of another user"):
        remove_messages(tmp_path, "provision", [SECRET])
    assert (tmp_path / "precious").read_text() == "precious"


@other_users
def test_a_folder_that_another_user_created_in_a_shared_one_is_refused(tmp_path: Path) -> None:
    shared, folder = tmp_path / "tmp", tmp_path / "tmp" / "output_dir"
    shared.mkdir()
    shared.chmod(0o1777)
    folder.mkdir()
    os.chown(folder, ATTACKER, ATTACKER)
    with pytest.raises(
        UserDataError,
        match=r"output_dir belongs to another user, who could have put it there; use a directory of your own$",
    ):
        save(folder, "provision", data={"a": SECRET})
    with pytest.raises(UserDataError, match="belongs to another user"):
        load(folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o777, 0o1777])
def test_own_files_are_used_in_any_own_folder(tmp_path: Path, mode: int) -> None:
    """Others may be able to write there, but nobody can create files of this user."""
    tmp_path.chmod(mode)
    save(tmp_path, "provision", data={"a": 1})
    save(tmp_path, "provision", data={"b": 2})
    assert load(tmp_path) == {"a": 1, "b": 2}


@other_users
def test_the_folder_of_a_user_can_be_used_by_root(tmp_path: Path) -> None:
    """As in a container whose root works in a directory of the user who started it."""
    os.chown(tmp_path, ATTACKER, ATTACKER)
    save(tmp_path, "provision", data={"a": 1})
    assert load(tmp_path) == {"a": 1}


def test_a_file_that_others_could_change_is_refused(tmp_path: Path) -> None:
    save(tmp_path, "provision", data={"a": 1})
    (tmp_path / DATA).chmod(0o666)
    with pytest.raises(UserDataError, match="can be changed by other users; check its content, and make it writable"):
        load(tmp_path)


# Documents that would take too much memory or time


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with (tmp_path / DATA).open("wb") as file:
        file.truncate(1 << 34)
    with pytest.raises(UserDataError, match=rf"^Cannot read user data from {tmp_path}: .* is larger than 16 MB$"):
        load(tmp_path)


def test_a_document_that_contains_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / DATA).write_text(f"users: &users\n  a: *users\n  key: {SECRET}\n")
    with pytest.raises(UserDataError) as failed:
        load(tmp_path)
    assert str(failed.value) == (
        f"{tmp_path / DATA} contains an alias of a part that contains the alias; repair it or move it away"
    )
