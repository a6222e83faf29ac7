# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writers exclude each other, also in a folder whose file system refuses `flock`."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment import lock
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.store import (
    load,
    merge,
    save,
    update,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import UserDataError
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._environment.writers import (
    refuse_flock,
    save_section,
)

REFUSALS = {
    "nfs": errno.EBADF,  # NFS emulates flock by a lock for writing, for which a folder cannot be opened
    "no lock server": errno.ENOLCK,
    "not supported": errno.EOPNOTSUPP,
    "not implemented": errno.ENOSYS,
    "invalid": errno.EINVAL,
    "cifs": errno.EACCES,
}
LOCK_FILE = ".rhpds-litellm.lock"


@pytest.fixture
def _refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", fcntl.flock)
    refuse_flock(errno.ENOLCK)


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[Callable[[], None]]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        with lock.lock_folder(handle, folder) as confirm:
            yield confirm
    finally:
        os.close(handle)


class Sleeps:
    """Replace `time.sleep`, and do something at each call instead of waiting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None] = lambda _number: None) -> None:
        self.seconds: list[float] = []
        self._act = act
        monkeypatch.setattr(time, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self._act(len(self.seconds))


# Several writers


def write_sections(writers: Executor, folder: Path, count: int) -> None:
    """Save sections and messages of users at the same time, and check that none is lost."""
    for result in [writers.submit(save_section, folder, number) for number in range(count)]:
        result.result()
    assert load(folder) == {"users": {f"user{number}": {"a": number} for number in range(count)}}
    messages = yaml.safe_load((folder / "provision-user-info.yaml").read_text())
    assert sorted(messages, key=int) == [str(number) for number in range(count)]
    assert sorted(path.name for path in folder.iterdir()) == ["provision-user-data.yaml", "provision-user-info.yaml"]


@pytest.mark.parametrize("number", REFUSALS.values(), ids=REFUSALS)
def test_four_writers_lose_nothing_if_flock_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", fcntl.flock)  # restores it
    refuse_flock(number)
    with ThreadPoolExecutor(4) as writers:
        write_sections(writers, tmp_path, 20)


def test_four_processes_lose_nothing_if_flock_is_refused(tmp_path: Path) -> None:
    # A forked process would not have the threads of the servers that other tests started.
    with ProcessPoolExecutor(4, get_context("spawn"), refuse_flock, (errno.ENOLCK,)) as writers:
        write_sections(writers, tmp_path, 40)


@pytest.mark.usefixtures("_refused")
def test_updates_and_merges_lose_nothing_if_flock_is_refused(tmp_path: Path) -> None:
    save(tmp_path, "provision", data={"count": 0})

    def increase(data: dict[str, Any]) -> bool:
        data["count"] += 1
        return True

    def add(data: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"count": data["count"] + 1}, {}

    changes = [lambda: update(tmp_path, "provision", increase), lambda: merge(tmp_path, "provision", add)]
    with ThreadPoolExecutor(4) as writers:
        for result in [writers.submit(change) for change in 10 * changes]:
            result.result()
    assert load(tmp_path) == {"count": 20}


@pytest.mark.usefixtures("_refused")
def test_only_the_owner_can_read_the_lock_file(tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        (path,) = tmp_path.iterdir()
        assert path.name == LOCK_FILE
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == []


def test_no_lock_file_is_created_if_flock_works(tmp_path: Path) -> None:
    with lock_folder(tmp_path) as confirm:
        assert list(tmp_path.iterdir()) == []
        confirm()


@pytest.mark.usefixtures("_refused")
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_the_lock_file_is_removed_after_an_error(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), lock_folder(tmp_path):
        raise error
    assert list(tmp_path.iterdir()) == []


# Lock files of writers that were killed


@pytest.mark.usefixtures("_refused")
@pytest.mark.parametrize("content", [b"", b"0123", b"\xff\xfe\0", b"x" * 1000], ids=["empty", "text", "binary", "long"])
def test_the_lock_file_of_a_killed_writer_is_replaced_after_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (tmp_path / LOCK_FILE).write_bytes(content)
    sleeps = Sleeps(monkeypatch)
    save(tmp_path, "provision", data={"a": 1})
    assert 60 <= sum(sleeps.seconds) < 61
    assert load(tmp_path) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["provision-user-data.yaml"]


@pytest.mark.usefixtures("_refused")
def test_many_short_locks_of_others_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not one lock of a killed writer, however long they take together."""
    path = tmp_path / LOCK_FILE
    path.write_text("other 0")

    def work(number: int) -> None:
        if number == 1500:
            path.unlink()
        elif number % 10 == 0:
            path.write_text(f"other {number}")

    sleeps = Sleeps(monkeypatch, work)
    save(tmp_path, "provision", data={"a": 1})
    assert len(sleeps.seconds) == 1500
    assert load(tmp_path) == {"a": 1}


@pytest.mark.usefixtures("_refused")
def test_the_lock_of_another_writer_is_waited_for(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        with lock_folder(tmp_path) as confirm:
            other = threads.submit(save, tmp_path, "provision", data={"a": 1})
            time.sleep(0.5)
            assert not other.done()
            confirm()
            assert load(tmp_path) == {}
        other.result()
    assert load(tmp_path) == {"a": 1}


@pytest.mark.usefixtures("_refused")
def test_four_writers_that_find_the_lock_file_of_a_killed_writer_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_STALE_LOCK_SECONDS", 4.0)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)  # it can take as long on a busy disk
    (tmp_path / LOCK_FILE).write_text("killed")
    with ThreadPoolExecutor(4) as writers:
        write_sections(writers, tmp_path, 20)


@pytest.mark.usefixtures("_refused")
def test_a_lock_that_is_created_while_a_stale_one_is_removed_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / LOCK_FILE
    path.write_text("killed")
    real_replace = os.replace

    def replace(source: str, target: str, **folders: int) -> None:
        if source == LOCK_FILE:
            path.write_text("other")  # another writer was faster
        real_replace(source, target, **folders)

    with monkeypatch.context() as patched:
        patched.setattr(lock, "_STALE_LOCK_SECONDS", 5.0)
        patched.setattr(os, "replace", replace)
        sleeps = Sleeps(patched, lambda number: path.unlink() if number == 120 else None)
        save(tmp_path, "provision", data={"a": 1})
    assert len(sleeps.seconds) == 120
    assert load(tmp_path) == {"a": 1}


@pytest.mark.usefixtures("_refused")
def test_a_writer_that_lost_its_lock_writes_nothing(tmp_path: Path) -> None:
    save(tmp_path, "provision", data={"a": 1})

    def stall(data: dict[str, Any]) -> bool:
        """Take so long that another writer takes over the lock, and writes."""
        (tmp_path / LOCK_FILE).unlink()
        save(tmp_path, "provision", data={"b": 2})
        data["c"] = 3
        return True

    with pytest.raises(
        UserDataError,
        match=f"^Cannot save user data in {tmp_path}: another run has taken over the lock because this one stalled; "
        "run again$",
    ):
        update(tmp_path, "provision", stall)
    assert load(tmp_path) == {"a": 1, "b": 2}


@pytest.mark.usefixtures("_refused")
def test_a_writer_that_lost_its_lock_keeps_the_lock_of_the_other(tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        (tmp_path / LOCK_FILE).unlink()
        (tmp_path / LOCK_FILE).write_text("other")
    assert (tmp_path / LOCK_FILE).read_text() == "other"


@pytest.mark.parametrize("refuses", [False, True], ids=["flock", "lock file"])
def test_a_lock_that_is_never_released_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: bool
) -> None:
    """Any user who can read the folder can lock it."""
    if refuses:
        monkeypatch.setattr(fcntl, "flock", fcntl.flock)
        refuse_flock(errno.ENOLCK)
    path = tmp_path / LOCK_FILE

    def write(number: int) -> None:
        if refuses:
            path.write_text(f"other {number}")

    write(0)
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        if not refuses:
            fcntl.flock(handle, fcntl.LOCK_EX)
        sleeps = Sleeps(monkeypatch, write)
        with pytest.raises(UserDataError) as failed:
            save(tmp_path, "provision", data={"a": 1})
    finally:
        os.close(handle)
    assert 600 <= sum(sleeps.seconds) < 601
    assert str(failed.value) == (
        f"Cannot save user data in {tmp_path}: other processes have locked it for 10 minutes; find out which ones "
        "(lsof), and run again"
    )
    assert load(tmp_path) == {}


# Folders in which no lock can be created


@pytest.mark.usefixtures("_refused")
@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
def test_something_else_with_the_name_of_the_lock_file_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / LOCK_FILE
    (tmp_path / "precious").write_text("precious")
    {"directory": path.mkdir, "link": lambda: path.symlink_to("precious"), "pipe": lambda: os.mkfifo(path)}[kind]()
    with pytest.raises(UserDataError) as failed:
        save(tmp_path, "provision", data={"a": 1})
    assert str(failed.value) == f"Cannot save user data in {tmp_path}: {path} is not a regular file; move it away"
    assert load(tmp_path) == {}
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.usefixtures("_refused")
def test_a_folder_without_write_permission_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserDataError, match=f"^Cannot save user data in {tmp_path}: Permission denied$"):
        save(tmp_path, "provision", data={"a": 1})
