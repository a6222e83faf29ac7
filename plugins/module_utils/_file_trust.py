# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decide which files and directories another user of the machine could have forged or redirected.

A part of a path must belong to a trusted user, or be in a directory that only trusted users can change. Symbolic links
are followed only if they belong to root or to the user who runs this.

Managed nodes run this module, too: it uses nothing but the standard library of Python 3.6.

Private to this collection: names and behaviour may change in any release.
"""

import errno
import grp
import os
import pwd
import stat
from typing import Callable, FrozenSet, NamedTuple, Optional, Tuple


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


def is_kept(entry: os.stat_result, folder: os.stat_result, uids: FrozenSet[int], is_exclusive: bool) -> bool:
    """Return whether nobody but these users can remove or replace an entry of a directory.

    :param is_exclusive: whether only they can change the entries of the directory.
    """
    is_sticky = bool(folder.st_mode & stat.S_ISVTX) and folder.st_uid in uids
    return is_exclusive or (is_sticky and entry.st_uid in uids)


def link_problem(link: os.stat_result, folder: os.stat_result, uids: FrozenSet[int], is_exclusive: bool) -> str:
    """Return why a symbolic link must not be followed; empty if it may be.

    :param folder: the directory that contains it.
    :param uids: root and the user who runs this.
    :param is_exclusive: whether only they can change the entries of the directory.
    """
    if link.st_uid not in uids:
        return "is a symbolic link of another user; remove it, or use another path"
    if is_exclusive or (is_kept(link, folder, uids, is_exclusive) and link.st_nlink <= 1):
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
    if file.st_nlink > 1 and not is_exclusive:
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


def is_private_to(uids: FrozenSet[int], handle: int) -> Callable[[int], bool]:
    """Return whether the permissions of a group are those of these users alone, for an open file or directory."""
    return lambda gid: (
        not _has_acl(handle) and is_private_group(group_of(gid), tuple(user_of(uid) for uid in sorted(uids)))
    )


def _has_acl(handle: int) -> bool:
    """Return whether there is an access control list. The permissions of the group are then the most that it grants."""
    try:
        # By this path, because a directory that was opened to pass it has no attributes.
        return bool(os.getxattr(f"/proc/self/fd/{handle}", "system.posix_acl_access"))
    except (OSError, AttributeError):  # AttributeError: not Linux
        return False


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
