# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open, read and replace files that another user of the machine must not be able to forge, to redirect or to read.

The module `_paths` opens a path part by part, and `_file_trust` decides about each part.

Managed nodes run this module, too: it uses nothing but the standard library of Python 3.6.

Private to this collection: names and behaviour may change in any release.
"""

import contextlib
import errno
import os
import re
import secrets
import stat
import time
from typing import Callable, FrozenSet, List, Optional, Tuple

from ansible_collections.rhpds.litellm_virtual_keys.plugins.module_utils._file_trust import (
    Trust,
    UnsafeFileError,
    directory_problem,
    file_problem,
    is_controlled,
    is_kept,
    is_private_to,
    link_problem,
)

# Temporary files are named `.<file>.rhpds-litellm-<8 random characters>.tmp`, so that no backup, and no temporary file
# of another program, is taken for one of them.
TEMPORARY_MARKER = "rhpds-litellm-"
TEMPORARY_SUFFIX = ".tmp"

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# A directory that cannot be listed can be passed all the same.
_PASSED = (getattr(os, "O_PATH", 0) or os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW
# A pipe is not waited for.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class Folder:
    """An open directory. Its entries are opened relative to it, so that nobody can replace a part of its path.

    :ivar is_fixed: no other user can make its path lead elsewhere.
    """

    def __init__(self, handle: int, path: str, trust: Trust, uids: FrozenSet[int], is_fixed: bool = True) -> None:
        self.handle = handle
        self.path = path
        self.trust = trust
        self.is_fixed = is_fixed
        self._uids = uids  # the users who are trusted up to here
        self._status = os.fstat(handle)

    def copy(self) -> "Folder":
        return Folder(os.dup(self.handle), self.path, self.trust, self._uids, self.is_fixed)

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
        return is_controlled(self._status, uids, is_private_to(uids, self.handle))

    def is_kept(self, entry: os.stat_result) -> bool:
        """Return whether no other user can make the path of an entry lead elsewhere."""
        uids = self.trust.uids
        return self.is_fixed and is_kept(entry, self._status, uids, self.is_exclusive_to(uids))

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

    def protect(self, name: str, max_bytes: int) -> bool:
        """Make a file readable by its owner only, before another program writes to it. Create it if there is none.

        Return whether the path leads that program to this file, whatever other users do.

        :raises UnsafeFileError: if it is not a regular file of a trusted user.
        """
        with contextlib.suppress(FileExistsError):
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self.handle))
        found = self.read(name, max_bytes)
        if found and found[1].st_mode & 0o077:
            self.replace(name, found[0])  # others could have opened the old one
        status = self.check(name)
        if status is None:  # removed meanwhile
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self.is_kept(status)

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

    def remove_stale(self, name: str, seconds: float) -> None:
        """Remove the temporary files of writers that were killed. Keep everything that a writer may not have created.

        :param seconds: the age after which no process is still writing such a file.
        """
        own_name = re.compile(re.escape(f".{name}.{TEMPORARY_MARKER}") + "[a-z0-9_]{8}" + re.escape(TEMPORARY_SUFFIX))
        for found in self.names():
            status = self.status(found) if own_name.fullmatch(found) else None
            if status:
                is_own = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
                if is_own and status.st_mtime < time.time() - seconds:
                    with contextlib.suppress(FileNotFoundError):  # another writer has removed it
                        self.remove(found)

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
            self._check_file(name, handle)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _check_file(self, name: str, handle: int) -> None:
        status, owners = os.fstat(handle), self.trust.uids
        if not self.trust.is_strict:
            owners = self._uids | ({status.st_uid} if self.is_exclusive_to(self._uids) else set())
        is_private = is_private_to(self.trust.uids, handle) if self.trust.is_strict else None
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
            if name in (".", ".."):
                path = self.path if name == "." else os.path.dirname(self.path)
                return Folder(handle, path, self.trust, self._uids, self.is_fixed)
            path, status = self.path_of(name), os.fstat(handle)
            problem = directory_problem(status, self._uids, self.is_exclusive_to(self._uids))
            if problem:
                raise UnsafeFileError(f"{path} {problem}")
            return Folder(handle, path, self.trust, self._uids | {status.st_uid}, self.is_kept(status))
        except BaseException:
            os.close(handle)
            raise
