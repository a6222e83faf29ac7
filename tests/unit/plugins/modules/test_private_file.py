# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module that writes keys to files of managed nodes, and the files of other users that it refuses."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import stat
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.modules.private_file import (
    Refused,
    run,
    with_block,
    without_block,
)

SECRET = "OPENAI_API_KEY=sk-0123456789abcdef"
HEADER = "# Virtual key virtkey-abc, written by rhpds.litellm_virtual_keys"
GROUP = str(os.getgid())
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to create files of other users")
# Two accounts that every system has.
ANN, EVE = pwd.getpwnam("daemon"), pwd.getpwnam("nobody")


def act(path: Path, *, is_check: bool = False, **options: Any) -> tuple[bool, str]:
    defaults = dict.fromkeys(("header", "block", "owner", "group"))
    given = {"state": "present", "content": SECRET, "former_headers": [], "mode": "0600", **defaults, **options}
    return run({**given, "path": str(path)}, is_check)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return the home directory of a user, which root created."""
    folder = tmp_path / "ann"
    folder.mkdir()
    os.chown(folder, ANN.pw_uid, ANN.pw_gid)
    return folder


# Text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "# BEGIN a\nX=1\n# END a\n"),
        ("B=2\n", "B=2\n# BEGIN a\nX=1\n# END a\n"),
        ("B=2", "B=2\n# BEGIN a\nX=1\n# END a\n"),
        ("B=2\n# BEGIN a\nold\n\n# END a\nC=3\n", "B=2\n# BEGIN a\nX=1\n# END a\nC=3\n"),
        ("# BEGIN a\n# END a", "# BEGIN a\nX=1\n# END a\n"),
        ("# BEGIN a\nopen", "# BEGIN a\nopen\n# BEGIN a\nX=1\n# END a\n"),
        ("# BEGIN ab\n# END ab\n", "# BEGIN ab\n# END ab\n# BEGIN a\nX=1\n# END a\n"),
    ],
)
def test_a_block_is_replaced_or_appended(before: str, after: str) -> None:
    assert with_block(before, "a", "X=1\n") == after
    assert with_block(after, "a", "X=1") == after
    assert "X=1" not in without_block(after, "a")


@pytest.mark.parametrize("text", ["", "B=2", "# BEGIN a\nopen", "# END a\n# BEGIN a\n", "# BEGIN ab\n# END ab\n"])
def test_without_a_complete_block_nothing_is_removed(text: str) -> None:
    assert without_block(text, "a") == text


# Files of the user who runs the module


def test_a_block_is_written_and_removed_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"B=\xff\n")
    path.chmod(0o644)
    assert act(path, block="virtkey-abc", is_check=True) == (True, "")
    assert path.read_bytes() == b"B=\xff\n"
    assert act(path, block="virtkey-abc") == (True, "")
    assert path.read_bytes() == f"B=\xff\n# BEGIN virtkey-abc\n{SECRET}\n# END virtkey-abc\n".encode("latin-1")
    assert mode(path) == 0o600
    assert act(path, block="virtkey-abc") == (False, "")
    assert act(path, block="virtkey-abc", state="absent", is_check=True) == (True, "")
    assert act(path, block="virtkey-abc", state="absent") == (True, "")
    assert act(path, block="virtkey-abc", state="absent") == (False, "")
    assert path.read_bytes() == b"B=\xff\n"


def test_a_whole_file_is_written_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "profile.sh"
    options: dict[str, Any] = {"header": HEADER, "group": GROUP, "mode": "0640"}
    assert act(path, **options, is_check=True) == (True, "")
    assert not path.exists()
    assert act(path, **options) == (True, "")
    assert path.read_text() == f"{HEADER}\n{SECRET}\n"
    assert (mode(path), path.stat().st_gid) == (0o640, os.getgid())
    assert act(path, **options) == (False, "")
    path.chmod(0o644)
    assert act(path, **options) == (True, "")
    assert mode(path) == 0o640
    assert act(path, **options, state="absent", is_check=True) == (True, "")
    assert path.exists()
    assert act(path, **options, state="absent") == (True, "")
    assert act(path, **options, state="absent") == (False, "")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_an_earlier_release_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "profile.sh"
    path.write_text("export LITELLM_API_URL=x\n")
    assert act(path, header=HEADER, state="absent") == (
        False,
        f"{path} was not removed, because its first line is not: {HEADER}",
    )
    assert act(path, header=HEADER, state="absent", former_headers=["export LITELLM_"]) == (True, "")


@pytest.mark.parametrize("kind", ["directory", "foreign", "empty", "other key", "pipe"])
def test_nothing_but_a_file_of_the_module_is_removed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "profile"
    if kind == "directory":
        path.mkdir()
        (path / "precious.sh").write_text(HEADER)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        other_key = HEADER.replace("abc", "other")
        path.write_text({"foreign": f"export A=1\n{HEADER}\n", "empty": "", "other key": f"{other_key}\n"}[kind])
    changed, warning = act(path, header=HEADER, state="absent")
    assert changed is False
    assert "was not removed, because its first line is not" in warning or "is not a regular file" in warning
    assert path.exists()
    if kind == "directory":
        assert (path / "precious.sh").exists()


def test_a_directory_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "profile").mkdir()
    with pytest.raises(Refused, match="is not a regular file; move it away"):
        act(tmp_path / "profile", header=HEADER)


def test_the_directory_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "missing" / ".env"
    assert act(path, is_check=True) == (True, "")
    with pytest.raises(Refused, match=f"^The directory of {path} does not exist; create it first$"):
        act(path)
    assert act(path, state="absent", block="a") == (False, "")


@pytest.mark.parametrize(("option", "what"), [("owner", "User"), ("group", "Group")])
def test_unknown_names_are_refused(tmp_path: Path, option: str, what: str) -> None:
    options: dict[str, Any] = {option: "no-such-name"}
    with pytest.raises(Refused, match=f"^{what} 'no-such-name' does not exist on this host; create it first$"):
        act(tmp_path / "file", **options)


def test_a_link_of_this_user_is_kept(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("B=2\n")
    (tmp_path / ".env").symlink_to("real")
    assert act(tmp_path / ".env", block="a")[0]
    assert (tmp_path / ".env").is_symlink()
    assert SECRET in (tmp_path / "real").read_text()


# Files of other users


@as_root
def test_a_new_file_of_a_user_belongs_to_the_user(home: Path) -> None:
    path = home / ".env"
    assert act(path, block="a", owner=ANN.pw_name) == (True, "")
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (ANN.pw_uid, ANN.pw_gid, 0o600)
    assert act(path, block="a", owner=ANN.pw_name) == (False, "")


@as_root
def test_an_existing_file_of_a_user_stays_with_the_user(home: Path) -> None:
    path = home / ".env"
    path.write_text("A=1\n")
    os.chown(path, ANN.pw_uid, ANN.pw_gid)
    assert act(path, block="a") == (True, "")
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (ANN.pw_uid, ANN.pw_gid, 0o600)
    assert act(path, block="a", state="absent") == (True, "")
    assert (path.stat().st_uid, path.read_text()) == (ANN.pw_uid, "A=1\n")


@as_root
@pytest.mark.parametrize("owner", [None, ANN.pw_name])
@pytest.mark.parametrize("by", [ANN, EVE], ids=["own", "of another user"])
@pytest.mark.parametrize("is_parent", [False, True], ids=["file", "directory"])
def test_root_does_not_follow_the_links_of_users(
    home: Path, tmp_path: Path, owner: str | None, by: pwd.struct_passwd, is_parent: bool
) -> None:
    target = tmp_path / "eve"
    target.mkdir()
    (target / ".env").write_text("precious\n")
    link = home / ("project" if is_parent else ".env")
    link.symlink_to(target if is_parent else target / ".env")
    os.lchown(link, by.pw_uid, by.pw_gid)
    path = link / ".env" if is_parent else link
    with pytest.raises(
        Refused,
        match=f"^Cannot write {path}: {link} is a symbolic link of another user; remove it, or use another path$",
    ):
        act(path, block="a", owner=owner)
    with pytest.raises(Refused, match="is a symbolic link of another user"):
        act(path, header=HEADER, owner=owner)
    changed, warning = act(path, block="a", owner=owner, state="absent")
    assert (changed, warning) == (
        False,
        f"Nothing was removed: {link} is a symbolic link of another user; remove it, or use another path",
    )
    assert (target / ".env").read_text() == "precious\n"


@as_root
def test_a_file_that_another_user_planted_gets_no_key(tmp_path: Path, home: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    home.chmod(0o777)
    for path in (shared / "ann.env", home / ".env"):
        path.touch()
        os.chown(path, EVE.pw_uid, EVE.pw_gid)
        for owner in (None, ANN.pw_name):
            with pytest.raises(Refused, match="belongs to another user, who could have put it there"):
                act(path, block="a", owner=owner)
        assert path.read_text() == ""


@as_root
def test_the_content_of_a_file_of_root_is_not_given_to_the_user_who_could_have_moved_it(home: Path) -> None:
    path = home / ".env"
    path.write_text("secret of root\n")
    path.chmod(0o600)
    with pytest.raises(Refused, match=f"{path} does not belong to {ANN.pw_name}, who could have put it there"):
        act(path, block="a", owner=ANN.pw_name)
    assert path.stat().st_uid == 0


@as_root
def test_a_user_of_a_directory_cannot_link_the_file_of_another(home: Path, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("precious\n")
    (tmp_path / "shadow").chmod(0o600)
    (home / ".env").hardlink_to(tmp_path / "shadow")
    with pytest.raises(Refused, match="has another name"):
        act(home / ".env", block="a", owner=ANN.pw_name)
    assert (tmp_path / "shadow").stat().st_uid == 0


@as_root
def test_nobody_can_read_a_new_file_at_any_moment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the umask, it has its owner and its mode while it is still empty."""
    seen = []
    for name in ("fchown", "fchmod"):
        real = getattr(os, name)

        def record(handle: int, *rest: int, real: Any = real) -> None:
            real(handle, *rest)
            status = os.fstat(handle)
            seen.append((status.st_size, status.st_uid, stat.S_IMODE(status.st_mode)))

        monkeypatch.setattr(os, name, record)
    before = os.umask(0)
    try:
        act(home / "profile.sh", header=HEADER, owner=ANN.pw_name, mode="0640")
    finally:
        os.umask(before)
    assert seen == [(0, ANN.pw_uid, 0o600), (0, ANN.pw_uid, 0o640)]


@as_root
def test_a_user_who_swaps_files_all_the_time_cannot_lead_root_astray() -> None:
    """The user can write to the directory; links to a file of root appear there at any moment."""
    with tempfile.TemporaryDirectory() as name:  # the directories of pytest are private
        Path(name).chmod(0o755)
        precious, home = Path(name, "precious"), Path(name, "home")
        precious.write_text("precious\n")
        precious.chmod(0o600)
        (home / "project").mkdir(parents=True)
        for folder in (home, home / "project"):
            os.chown(folder, ANN.pw_uid, ANN.pw_gid)
        before = precious.stat()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(ANN.pw_gid)
                os.setuid(ANN.pw_uid)
                swap_until_killed(home, precious)
            finally:
                os._exit(1)
        written = refused = 0
        try:
            end = time.monotonic() + 2
            while time.monotonic() < end or not (written and refused):
                try:
                    written += act(home / "project" / ".env", block="a", owner=ANN.pw_name)[0]
                except (Refused, OSError):
                    refused += 1
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        after = precious.stat()
        assert (after.st_uid, after.st_mode, after.st_ino, after.st_mtime_ns) == (
            0,
            before.st_mode,
            before.st_ino,
            before.st_mtime_ns,
        )
        for path in home.rglob("*"):
            assert path.is_symlink() or path.is_dir() or path.stat().st_uid != 0
            assert path.is_symlink() or path.is_dir() or "precious" not in path.read_text()


def swap_until_killed(home: Path, precious: Path) -> None:
    """Replace a file and its directory by links, and back, as fast as possible."""
    aside, link = home / "aside", home / "link"
    link.symlink_to(precious.parent)
    while True:
        for target in (None, precious):
            temporary = home / "temporary"
            if target:
                temporary.symlink_to(target)
            else:
                temporary.write_text("A=1\n")
            with contextlib.suppress(OSError):
                temporary.rename(home / "project" / ".env")
        (home / "project").rename(aside)
        link.rename(home / "project")
        (home / "project").rename(link)
        aside.rename(home / "project")
