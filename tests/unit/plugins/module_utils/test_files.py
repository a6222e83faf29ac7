# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that another user could have forged or redirected are refused; all usual ones are not."""

from __future__ import annotations

import ast
import contextlib
import os
import stat
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.module_utils._file_trust import (
    Group,
    Trust,
    UnsafeFileError,
    User,
    directory_problem,
    file_problem,
    is_controlled,
    is_private_group,
    link_problem,
    own_uids,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.module_utils._files import Folder
from ansible_collections.rhpds.litellm_virtual_keys.plugins.module_utils._paths import locate, open_folder, open_parent

PLUGINS = Path(__file__).parents[4] / "plugins"
ROOT, OWN, OTHER = 0, 1000, 12345
TRUSTED = frozenset({ROOT, OWN})
ATTACKER = 54321
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to create files of other users")


def status(mode: int, uid: int = OWN, gid: int = OWN, links: int = 1) -> os.stat_result:
    return os.stat_result((mode, 1, 1, links, uid, gid, 0, 0, 0, 0))


# Decisions


@pytest.mark.parametrize(
    ("group", "is_private"),
    [
        (Group(OWN, "ann"), True),
        (Group(OWN, "ann", ("ann",)), True),
        (Group(OWN, "ann", ("ann", "root")), True),
        (Group(OWN, "ann", ("ann", "eve")), False),
        (Group(100, "users"), False),
        (Group(100, "users", ("ann",)), False),
        (Group(ROOT, "root"), True),
        (Group(ROOT, "wheel", ("root", "eve")), False),
        (Group(OWN), True),  # a container without an entry for the group
        (Group(OWN + 1), False),
    ],
)
def test_a_group_is_private_if_it_has_no_other_members(group: Group, is_private: bool) -> None:
    assert is_private_group(group, (User(ROOT, "root", 0), User(OWN, "ann", OWN))) is is_private


def test_without_accounts_a_group_is_private_to_the_user_of_the_same_number() -> None:
    assert is_private_group(Group(OWN), (User(ROOT), User(OWN)))
    assert is_private_group(Group(ROOT, "root"), (User(ROOT, "root", 0), User(1000680000)))  # OpenShift
    assert not is_private_group(Group(OWN), (User(ROOT), User(OWN + 1)))


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "is_exclusive"),
    [
        (0o755, OWN, 100, True),
        (0o755, ROOT, ROOT, True),
        (0o775, OWN, OWN, True),
        (0o775, OWN, 100, False),
        (0o777, OWN, OWN, False),
        (0o1777, ROOT, ROOT, False),
        (0o700, OTHER, OTHER, False),
    ],
)
def test_who_can_change_a_directory(mode: int, uid: int, gid: int, is_exclusive: bool) -> None:
    assert is_controlled(status(stat.S_IFDIR | mode, uid, gid), TRUSTED, lambda group: group == OWN) is is_exclusive


@pytest.mark.parametrize(
    ("uid", "folder_mode", "folder_uid", "is_exclusive", "is_followed"),
    [
        (OWN, 0o755, OWN, True, True),
        (ROOT, 0o755, ROOT, True, True),
        (OTHER, 0o755, OWN, True, False),  # somebody who could write here before
        (OWN, 0o1777, ROOT, False, True),
        (OTHER, 0o1777, ROOT, False, False),
        (OWN, 0o777, OWN, False, False),
        (ROOT, 0o755, OTHER, False, False),  # moved there
        (ROOT, 0o1755, OTHER, False, False),
    ],
)
def test_which_links_are_followed(
    uid: int, folder_mode: int, folder_uid: int, is_exclusive: bool, is_followed: bool
) -> None:
    link, folder = status(stat.S_IFLNK | 0o777, uid), status(stat.S_IFDIR | folder_mode, folder_uid)
    assert (link_problem(link, folder, TRUSTED, is_exclusive) == "") is is_followed


def test_which_directories_are_entered() -> None:
    of_other, own = status(stat.S_IFDIR | 0o755, OTHER), status(stat.S_IFDIR | 0o777)
    assert directory_problem(of_other, TRUSTED, is_exclusive=True) == ""  # root put it there: a home directory
    assert directory_problem(own, TRUSTED, is_exclusive=False) == ""
    assert "belongs to another user" in directory_problem(of_other, TRUSTED, is_exclusive=False)


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (status(stat.S_IFREG | 0o644), ""),
        (status(stat.S_IFREG | 0o600, ROOT, ROOT), ""),
        (status(stat.S_IFREG | 0o664), ""),
        (status(stat.S_IFREG | 0o664, gid=100), "can be changed by other users"),
        (status(stat.S_IFREG | 0o646), "can be changed by other users"),
        (status(stat.S_IFREG | 0o600, OTHER), "belongs to another user"),
        (status(stat.S_IFREG | 0o644, links=2), "has another name"),
        (status(stat.S_IFDIR | 0o755), "is not a regular file"),
        (status(stat.S_IFIFO | 0o600), "is not a regular file"),
        (status(stat.S_IFLNK | 0o777), "is not a regular file"),
        (status(stat.S_IFSOCK | 0o600), "is not a regular file"),
    ],
)
def test_which_files_are_read(file: os.stat_result, problem: str) -> None:
    found = file_problem(file, TRUSTED, False, lambda group: group == OWN)
    assert found.startswith(problem) if problem else found == ""
    assert file_problem(status(stat.S_IFREG | 0o644, links=2), TRUSTED, True, lambda group: group == OWN) == ""


# A real disk


@contextlib.contextmanager
def opened(path: Path, *, owner: int | None = None, is_strict: bool = True, create: bool = False) -> Iterator[Folder]:
    with open_folder(str(path), Trust(own_uids(), owner, is_strict), create) as folder:
        yield folder


def read(path: Path, *, owner: int | None = None, is_strict: bool = True) -> bytes | None:
    with open_parent(str(path), Trust(own_uids(), owner, is_strict)) as (folder, name):
        found = folder.read(name, 1 << 20)
        return found[0] if found else None


def given_to(path: Path, uid: int, mode: int | None = None) -> Path:
    os.chown(path, uid, uid, follow_symlinks=False)
    if mode is not None:
        path.chmod(mode)
    return path


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a directory in which everybody can create files, like /tmp."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def test_own_links_are_followed(tmp_path: Path) -> None:
    real = tmp_path / "real" / "deep"
    real.mkdir(parents=True)
    (real / "file").write_text("content")
    (tmp_path / "absolute").symlink_to(real)
    (tmp_path / "relative").symlink_to("absolute/../deep/.")
    (tmp_path / "name").symlink_to("relative//file")
    for path in ("absolute/file", "relative/file", "name", "real/../absolute/./file"):
        assert read(Path(f"{tmp_path}/{path}")) == b"content", path
    with opened(tmp_path) as folder, locate(folder, "name") as (parent, name):
        assert (parent.path, name) == (str(real), "file")


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        read(tmp_path / "a" / "file")


def test_paths_are_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("content")
    assert read(Path("file")) == b"content"
    with opened(Path()) as folder:
        assert folder.names() == ["file"]
    with opened(Path("/")) as folder:
        assert folder.path_of("x") == "/x"


def test_missing_directories_are_created(tmp_path: Path) -> None:
    with opened(tmp_path / "new" / "folder", create=True) as folder:
        assert folder.names() == []
    with pytest.raises(FileNotFoundError), opened(tmp_path / "other" / "folder"):
        pass


@as_root
def test_a_file_of_another_user_is_refused_wherever_it_is(tmp_path: Path, shared: Path) -> None:
    for folder in (tmp_path, shared):
        given_to(folder, folder.stat().st_uid)
        (folder / "file").write_text("forged")
        given_to(folder / "file", ATTACKER, 0o600)
        with pytest.raises(UnsafeFileError, match="belongs to another user, who could have put it there"):
            read(folder / "file")


@as_root
@pytest.mark.parametrize("mode", [0o1777, 0o777])
def test_a_directory_of_another_user_in_a_shared_one_is_refused(shared: Path, mode: int) -> None:
    shared.chmod(mode)
    folder = shared / "output"
    folder.mkdir()
    given_to(folder, ATTACKER)
    with pytest.raises(UnsafeFileError, match="output belongs to another user"), opened(folder):
        pass
    given_to(folder, os.geteuid())
    with opened(folder) as found:
        assert found.names() == []


@as_root
@pytest.mark.parametrize("is_parent", [True, False])
def test_a_link_of_another_user_is_refused(tmp_path: Path, is_parent: bool) -> None:
    home = tmp_path / "home"
    home.mkdir()
    target = tmp_path / "target"
    target.mkdir()
    (target / ".env").write_text("precious")
    link = home / ("project" if is_parent else ".env")
    link.symlink_to(target if is_parent else target / ".env")
    given_to(home, OTHER)
    given_to(link, OTHER)
    with pytest.raises(UnsafeFileError, match="is a symbolic link of another user"):
        read(link / ".env" if is_parent else link, is_strict=False)


@as_root
def test_a_link_of_root_in_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    """The user could have moved it there."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to("/root")
    given_to(home, OTHER)
    with pytest.raises(UnsafeFileError, match="is a symbolic link in a directory that other users can change"):
        read(home / "link" / "file", is_strict=False)


@as_root
def test_the_user_of_a_home_directory_can_own_files_in_it_and_others_cannot(tmp_path: Path, shared: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".env").write_text("A=1")
    given_to(home, OTHER, 0o750)
    given_to(home / ".env", OTHER)
    assert read(home / ".env", is_strict=False) == b"A=1"
    with pytest.raises(UnsafeFileError, match="belongs to another user"):
        read(home / ".env")
    home.chmod(0o777)
    given_to(home / ".env", ATTACKER)
    with pytest.raises(UnsafeFileError, match="belongs to another user"):
        read(home / ".env", is_strict=False)
    (shared / "ann.env").write_text("A=1")
    given_to(shared / "ann.env", ATTACKER)
    with pytest.raises(UnsafeFileError, match="belongs to another user"):
        read(shared / "ann.env", is_strict=False)
    given_to(shared / "ann.env", OTHER)
    assert read(shared / "ann.env", owner=OTHER, is_strict=False) == b"A=1"


def test_a_hard_link_in_a_shared_directory_is_refused(tmp_path: Path, shared: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (shared / "file").hardlink_to(tmp_path / "precious")
    with pytest.raises(UnsafeFileError, match="has another name"):
        read(shared / "file")
    assert read(tmp_path / "precious") == b"precious"  # such as a backup with hard links


def test_a_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("forged")
    (tmp_path / "file").chmod(0o666)
    with pytest.raises(UnsafeFileError, match="can be changed by other users"):
        read(tmp_path / "file")
    assert read(tmp_path / "file", is_strict=False) == b"forged"


def test_a_user_with_an_access_control_list_counts_as_another_user(tmp_path: Path) -> None:
    """Its mode looks like that of a private group."""
    (tmp_path / "file").write_text("forged")
    (tmp_path / "file").chmod(0o660)
    entries = [(1, 6, -1), (2, 6, OTHER), (4, 4, -1), (16, 6, -1), (32, 0, -1)]  # owner, user, group, mask, others
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    assert read(tmp_path / "file") == b"forged" or os.getegid() != os.geteuid()
    try:
        os.setxattr(tmp_path / "file", "system.posix_acl_access", acl)
    except OSError as error:
        pytest.skip(f"the file system has no access control lists: {error.strerror}")
    with pytest.raises(UnsafeFileError, match="can be changed by other users"):
        read(tmp_path / "file")


@pytest.mark.parametrize("kind", ["directory", "pipe", "socket", "device"])
def test_something_that_is_no_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    else:
        path = Path("/dev/zero")
    with pytest.raises(UnsafeFileError, match=f"^.Errno 1. {path} is not a regular file; move it away$"):
        read(path)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(UnsafeFileError, match="is larger than 1 MB"):
        read(tmp_path / "file")


def test_a_new_file_has_its_mode_before_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "file").chmod(0o666)
    seen: list[tuple[Path, int]] = []
    before = os.umask(0)

    def confirm() -> None:
        seen.extend((path, path.stat().st_size) for path in tmp_path.iterdir() if path.name != "file")

    real = os.fchmod

    def fchmod(handle: int, mode: int) -> None:
        real(handle, mode)
        assert (os.fstat(handle).st_size, stat.S_IMODE(os.fstat(handle).st_mode)) == (0, 0o640)

    monkeypatch.setattr(os, "fchmod", fchmod)
    try:
        with opened(tmp_path) as folder:
            folder.replace("file", b"secret", 0o640, (-1, os.getegid()), confirm)
    finally:
        os.umask(before)
    assert [size for _path, size in seen] == [6]
    assert (tmp_path / "file").read_text() == "secret"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_files_are_protected_before_another_program_writes_to_them(tmp_path: Path) -> None:
    (tmp_path / "present").write_text("content")
    (tmp_path / "present").chmod(0o644)
    with (tmp_path / "present").open() as opened_before, opened(tmp_path) as folder:
        assert folder.protect("present", 100)
        assert folder.protect("new", 100)
        (tmp_path / "present").write_text("secret")  # as the other program does
        assert opened_before.read() == "content"
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {
        "present": 0o600,
        "new": 0o600,
    }


@pytest.mark.parametrize("mode", [0o755, 0o1777, 0o777])
@pytest.mark.parametrize("where", ["here", "above", "at a link", "behind a link"])
def test_whether_others_can_replace_a_protected_file(tmp_path: Path, mode: int, where: str) -> None:
    (tmp_path / "private").mkdir()
    changed = tmp_path / "changed"
    (changed / "inner").mkdir(parents=True)
    folder = {"here": changed, "above": changed / "inner"}.get(where, tmp_path / "private")
    if where == "at a link":
        folder = changed / "link"
        folder.symlink_to(tmp_path / "private")
    elif where == "behind a link":
        folder = tmp_path / "link"
        folder.symlink_to("changed")
    changed.chmod(mode)
    is_kept = mode != 0o777
    is_refused = where == "at a link" and not is_kept
    with pytest.raises(UnsafeFileError) if is_refused else contextlib.nullcontext(), opened(folder) as one:
        assert one.protect("file", 100) is is_kept


@as_root
def test_directories_that_cannot_be_listed_can_be_passed() -> None:
    """As another user, for whom permissions count."""
    with tempfile.TemporaryDirectory() as name:  # the directories of pytest are private
        own = Path(name, "own")
        own.mkdir()
        given_to(own, OTHER)
        Path(name).chmod(0o711)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgroups([])
                os.setgid(OTHER)
                os.setuid(OTHER)
                with opened(own) as folder:
                    folder.replace("file", b"content")
                code = 0 if read(own / "file") == b"content" else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    "path",
    ["module_utils/_files.py", "module_utils/_paths.py", "module_utils/_file_trust.py", "modules/private_file.py"],
)
def test_managed_nodes_with_an_old_python_can_compile_it(path: str) -> None:
    source = (PLUGINS / path).read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 6))
    assert "from __future__ import annotations" not in source  # Python 3.7
