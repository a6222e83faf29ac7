# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open, read and replace files that another user of the machine must not be able to forge, to redirect or to read.

A path is opened part by part, each relative to the directory before it, so that nobody can replace a part meanwhile. A
part must belong to a trusted user, or be in a directory that only trusted users can change. Symbolic links are followed
only if they belong to root or to the user who runs this.

Managed nodes run this module, too: it uses nothing but the standard library of Python 3.6.

Private to this collection: names and behaviour may change in any release.
"""

import contextlib
import errno
import grp
import os
import pwd
import secrets
import stat
from typing import Callable, FrozenSet, Iterator, List, NamedTuple, Optional, Tuple

MAX_LINKS = 40  # as Linux
# Temporary files are named `.<file>.rhpds-litellm-<8 random characters>.tmp`, so that no backup, and no temporary file
# of another program, is taken for one of them.
TEMPORARY_MARKER = "rhpds-litellm-"
TEMPORARY_SUFFIX = ".tmp"

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# A directory that cannot be listed can be passed all the same.
_PASSED = (getattr(os, "O_PATH", 0) or os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW
# A pipe is not waited for.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class UnsafeFileError(PermissionError):
    """Another user could have put something there. `strerror` is a sentence that says what."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EPERM, reason)


class User(NamedTuple):
    """A user of the machine; without a name if no such account exists, as in many containers."""

    uid: int
    name: str = ""
    gid: int = -1


class Group(NamedTuple):
    """A group of the machine, and the users who were added to it."""

    gid: int
    name: str = ""
    members: Tuple[str, ...] = ()


# Decisions


def is_private_group(group: Group, users: Tuple[User, ...]) -> bool:
    """Return whether a group has no other members than these users: most systems have such a group for each user."""
    names = {user.name for user in users if user.name}
    return set(group.members) <= names and any(
        group.name == user.name if group.name and user.name else group.gid == user.uid for user in users
    )


def is_controlled(status: os.stat_result, uids: FrozenSet[int], is_private: Callable[[int], bool]) -> bool:
    """Return whether nobody but these users can write to a file, or change the entries of a directory."""
    return (
        status.st_uid in uids
        and not status.st_mode & stat.S_IWOTH
        and (not status.st_mode & stat.S_IWGRP or is_private(status.st_gid))
    )


def link_problem(link: os.stat_result, folder: os.stat_result, uids: FrozenSet[int], is_exclusive: bool) -> str:
    """Return why a symbolic link must not be followed; empty if it may be.

    :param folder: the directory that contains it.
    :param uids: root and the user who runs this.
    :param is_exclusive: whether only they can change the entries of the directory.
    """
    if link.st_uid not in uids:
        return "is a symbolic link of another user; remove it, or use another path"
    is_fixed = folder.st_mode & stat.S_ISVTX and folder.st_uid in uids and link.st_nlink == 1
    if is_exclusive or is_fixed:
        return ""
    return "is a symbolic link in a directory that other users can change; use another path"


def directory_problem(directory: os.stat_result, uids: FrozenSet[int], is_exclusive: bool) -> str:
    """Return why a directory must not be used; empty if it may be.

    :param uids: the trusted users.
    :param is_exclusive: whether only they can change the entries of the directory that contains it.
    """
    if is_exclusive or directory.st_uid in uids:
        return ""
    return "belongs to another user, who could have put it there; use a directory of your own"


def file_problem(
    file: os.stat_result, uids: FrozenSet[int], is_exclusive: bool, is_private: Optional[Callable[[int], bool]] = None
) -> str:
    """Return why a file must not be used; empty if it may be.

    :param uids: the users to whom it may belong.
    :param is_exclusive: whether only root and the user who runs this can change the entries of its directory.
    :param is_private: whether a group has only trusted members. Without it, the file may be writable by others.
    """
    if not stat.S_ISREG(file.st_mode):
        return "is not a regular file; move it away"
    if file.st_uid not in uids:
        return "belongs to another user, who could have put it there; move it away, or change its owner"
    if file.st_nlink != 1 and not is_exclusive:
        return "has another name (a hard link), and could be a file from elsewhere; move it away"
    if is_private and not is_controlled(file, uids, is_private):
        return "can be changed by other users; check its content, and make it writable by its owner only"
    return ""


# Users and groups of this machine


def user_of(uid: int) -> User:
    try:
        found = pwd.getpwuid(uid)
    except (KeyError, OverflowError):
        return User(uid)
    return User(uid, found.pw_name, found.pw_gid)


def group_of(gid: int) -> Group:
    try:
        found = grp.getgrgid(gid)
    except (KeyError, OverflowError):
        return Group(gid)
    return Group(gid, found.gr_name, tuple(found.gr_mem))


def own_uids() -> FrozenSet[int]:
    """Return root, and the user who runs this. In a container, root of the machine can have another number."""
    return frozenset({0, os.geteuid(), os.lstat("/").st_uid})


def _is_private_to(uids: FrozenSet[int]) -> Callable[[int], bool]:
    return lambda gid: is_private_group(group_of(gid), tuple(user_of(uid) for uid in sorted(uids)))


class Trust(NamedTuple):
    """Who may own the files.

    :ivar uids: root, and the user who runs this; they alone may redirect paths with symbolic links.
    :ivar owner: another user, whom the file is for.
    :ivar is_strict: a file must belong to `uids`, and others must not be able to write to it. Otherwise, it may also
        belong to a user to whom one of the trusted users gave a directory of the path, such as a home directory.
    """

    uids: FrozenSet[int]
    owner: Optional[int] = None
    is_strict: bool = True


class Folder:
    """An open directory. Its entries are opened relative to it, so that nobody can replace a part of its path."""

    def __init__(self, handle: int, path: str, trust: Trust, uids: FrozenSet[int]) -> None:
        self.handle = handle
        self.path = path
        self.trust = trust
        self._uids = uids  # the users who are trusted up to here
        self._status = os.fstat(handle)

    def copy(self) -> "Folder":
        return Folder(os.dup(self.handle), self.path, self.trust, self._uids)

    def close(self) -> None:
        os.close(self.handle)

    def make_listable(self) -> None:
        """Reopen the directory to list and to lock it, if that is permitted."""
        with contextlib.suppress(PermissionError):
            listable = os.open(".", _DIRECTORY, dir_fd=self.handle)
            os.close(self.handle)
            self.handle = listable

    def path_of(self, name: str) -> str:
        return os.path.join(self.path, name)

    def is_exclusive_to(self, uids: FrozenSet[int]) -> bool:
        """Return whether only these users can change the entries."""
        return is_controlled(self._status, uids, _is_private_to(uids))

    def status(self, name: str) -> Optional[os.stat_result]:
        """Return what an entry is, and None if there is none."""
        try:
            return os.stat(name, dir_fd=self.handle, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def target_of(self, name: str) -> Optional[str]:
        """Return where a symbolic link leads, and None if it is something else.

        :raises UnsafeFileError: if another user could have put it there.
        """
        status = self.status(name)
        if not status or not stat.S_ISLNK(status.st_mode):
            return None
        problem = link_problem(status, self._status, self.trust.uids, self.is_exclusive_to(self.trust.uids))
        if problem:
            raise UnsafeFileError(f"{self.path_of(name)} {problem}")
        return os.readlink(name, dir_fd=self.handle)

    def names(self) -> List[str]:
        return os.listdir(self.handle)

    def read(self, name: str, max_bytes: int) -> Optional[Tuple[bytes, os.stat_result]]:
        """Return the content of a file and what it is, and None if there is none.

        :raises UnsafeFileError: if it is not a regular file of a trusted user.
        """
        handle = self._open(name)
        if handle is None:
            return None
        try:
            content = b""
            while len(content) <= max_bytes:
                part = os.read(handle, max_bytes + 1 - len(content))
                if not part:
                    return content, os.fstat(handle)
                content += part
        finally:
            os.close(handle)
        raise UnsafeFileError(f"{self.path_of(name)} is larger than {max_bytes >> 20} MB")

    def check(self, name: str) -> Optional[os.stat_result]:
        """Return what a file is, and None if there is none.

        :raises UnsafeFileError: if it is not a regular file of a trusted user.
        """
        handle = self._open(name)
        if handle is None:
            return None
        try:
            return os.fstat(handle)
        finally:
            os.close(handle)

    def protect(self, name: str) -> None:
        """Make a file readable by its owner only, before another program writes to it. Create it if there is none.

        :raises UnsafeFileError: if it is not a regular file of a trusted user.
        """
        with contextlib.suppress(FileExistsError):
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self.handle))
        handle = self._open(name)
        if handle is None:  # removed meanwhile
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        try:
            if os.fstat(handle).st_uid == os.geteuid():
                os.fchmod(handle, 0o600)
        finally:
            os.close(handle)

    def check_writable(self) -> None:
        """Check that a file can be created.

        :raises OSError: if it cannot be.
        """
        name = f".{TEMPORARY_MARKER}{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self.handle))
        self.remove(name)

    def replace(
        self,
        name: str,
        content: bytes,
        mode: int = 0o600,
        owner: Tuple[int, int] = (-1, -1),
        confirm: Callable[[], None] = lambda: None,
    ) -> None:
        """Replace a file atomically. It has its mode and its owner before it has any content.

        :param owner: the user and the group of the file; -1 for those of this process.
        :param confirm: called right before the file is replaced; an exception keeps the old one.
        """
        temporary = f".{name}.{TEMPORARY_MARKER}{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        handle = os.open(temporary, flags, 0o600, dir_fd=self.handle)
        try:
            with os.fdopen(handle, "wb") as file:
                if owner != (-1, -1):
                    os.fchown(handle, *owner)
                if mode != 0o600:
                    os.fchmod(handle, mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            confirm()
            os.replace(temporary, name, src_dir_fd=self.handle, dst_dir_fd=self.handle)
        except BaseException:
            os.unlink(temporary, dir_fd=self.handle)
            raise

    def remove(self, name: str) -> None:
        os.unlink(name, dir_fd=self.handle)

    def _open(self, name: str) -> Optional[int]:
        """Return a descriptor of a file, and None if there is none.

        :raises UnsafeFileError: if it is not a regular file of a trusted user.
        """
        try:
            handle = os.open(name, _FILE, dir_fd=self.handle)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EOPNOTSUPP):  # a link, or a socket
                raise UnsafeFileError(f"{self.path_of(name)} is not a regular file; move it away") from None
            raise
        try:
            self._check_file(name, os.fstat(handle))
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _check_file(self, name: str, status: os.stat_result) -> None:
        owners = self.trust.uids
        if not self.trust.is_strict:
            owners = self._uids | ({status.st_uid} if self.is_exclusive_to(self._uids) else set())
        is_private = _is_private_to(self.trust.uids) if self.trust.is_strict else None
        problem = file_problem(status, owners, self.is_exclusive_to(self.trust.uids), is_private)
        if problem:
            raise UnsafeFileError(f"{self.path_of(name)} {problem}")

    def enter(self, name: str, create: bool = False) -> "Folder":
        """Return a directory in this one.

        :raises UnsafeFileError: if another user could have put it there.
        """
        try:
            handle = os.open(name, _PASSED, dir_fd=self.handle)
        except FileNotFoundError:
            if not create:
                raise
            with contextlib.suppress(FileExistsError):  # another process was faster
                os.mkdir(name, dir_fd=self.handle)
            handle = os.open(name, _PASSED, dir_fd=self.handle)
        try:
            if name == ".":
                return Folder(handle, self.path, self.trust, self._uids)
            if name == "..":
                return Folder(handle, os.path.dirname(self.path), self.trust, self._uids)
            path, status = self.path_of(name), os.fstat(handle)
            problem = directory_problem(status, self._uids, self.is_exclusive_to(self._uids))
            if problem:
                raise UnsafeFileError(f"{path} {problem}")
            return Folder(handle, path, self.trust, self._uids | {status.st_uid})
        except BaseException:
            os.close(handle)
            raise


@contextlib.contextmanager
def open_folder(path: str, trust: Trust, create: bool = False) -> Iterator[Folder]:
    """Open a directory.

    :param create: create it, and the directories above it, if they do not exist.
    :raises UnsafeFileError: if another user could have put a part of the path there.
    """
    parent, name = _walk(None, os.path.join(os.getcwd(), path), trust, create)
    try:
        folder = parent.enter(name, create)
        try:
            folder.make_listable()
            yield folder
        finally:
            folder.close()
    finally:
        parent.close()


@contextlib.contextmanager
def open_parent(path: str, trust: Trust) -> Iterator[Tuple[Folder, str]]:
    """Open the directory of a file, which need not exist, and return it with the file's name in it.

    :raises UnsafeFileError: if another user could have put a part of the path there.
    """
    folder, name = _walk(None, os.path.join(os.getcwd(), path), trust)
    try:
        yield folder, name
    finally:
        folder.close()


@contextlib.contextmanager
def locate(folder: Folder, name: str) -> Iterator[Tuple[Folder, str]]:
    """Return the directory and the name of a file: others than these if the file is a symbolic link."""
    found, its_name = _walk(folder, name, folder.trust)
    try:
        found.make_listable()
        yield found, its_name
    finally:
        found.close()


def _root(trust: Trust) -> Folder:
    uids = trust.uids if trust.owner is None else trust.uids | {trust.owner}
    return Folder(os.open("/", _DIRECTORY), "/", trust, uids)


def _parts(path: str) -> List[str]:
    return [part for part in path.split("/")[::-1] if part not in ("", ".")]


def _walk(start: Optional[Folder], path: str, trust: Trust, create: bool = False) -> Tuple[Folder, str]:
    """Return the directory that contains the last part of a path, and the name of that part."""
    folder = start.copy() if start else _root(trust)
    waiting = _parts(path)
    links = 0
    try:
        while waiting:
            name = waiting.pop()
            target = None if name == ".." else folder.target_of(name)
            if target is not None:
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                waiting.extend(_parts(target))
                following = _root(trust) if target.startswith("/") else folder.copy()
            elif not waiting and name != "..":
                return folder, name
            else:
                following = folder.enter(name, create)
            folder.close()
            folder = following
        return folder, "."
    except BaseException:
        folder.close()
        raise
