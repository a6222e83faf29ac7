# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Exclude other writers of a folder.

The folder itself is locked with `flock`. If the file system refuses that, as NFS and other network file systems do for
folders, a lock file excludes the other writers. All writers of a folder use the same file system, and therefore the
same kind of lock.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from .._errors import UserDataError

_LOCK_FILE = ".rhpds-litellm.lock"
# Seconds that a lock file must stay the same until its writer counts as killed. A writer needs less than a second.
# Clocks are not compared: those of a file server and its clients may differ.
_STALE_LOCK_SECONDS = 60.0
# Seconds that other writers may have the lock, however many they are.
_MAX_WAIT_SECONDS = 600.0
# The minimum and maximum seconds between two attempts.
_POLL_SECONDS = 0.02, 0.1


@contextlib.contextmanager
def lock_folder(handle: int, folder: Path) -> Iterator[Callable[[], None]]:
    """Lock an open folder, and return a function to call right before a file in it is replaced.

    The function raises a UserDataError if another writer has taken over the lock, because this one stalled.

    :param folder: its path, for messages.
    :raises OSError: if no lock can be created.
    """
    with _folder_lock(handle, folder) or _LockFile(handle, folder).locked() as confirm:
        yield confirm


class _Wait:
    """The time between attempts to get a lock. Any user who can read a folder can lock it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waited = 0.0

    def pause(self) -> float:
        """Wait, and return for how long.

        :raises UserDataError: if other processes have had the lock for too long.
        """
        if self._waited >= _MAX_WAIT_SECONDS:
            raise UserDataError(
                f"Cannot save user data in {self._folder}: other processes have locked it for "
                f"{_MAX_WAIT_SECONDS / 60:g} minutes; find out which ones (lsof), and run again"
            )
        # Waiting for a file server that does not respond does not count.
        pause = random.uniform(*_POLL_SECONDS)
        time.sleep(pause)
        self._waited += pause
        return pause


def _folder_lock(handle: int, folder: Path) -> AbstractContextManager[Callable[[], None]] | None:
    """Lock a folder until the handle is closed. Return None if its file system refuses that."""
    wait = _Wait(folder)
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait.pause()
        except OSError:
            return None
        else:
            return contextlib.nullcontext(lambda: None)  # nobody can take over this lock


class _LockFile:
    """The lock file of an open folder."""

    def __init__(self, handle: int, folder: Path) -> None:
        self._handle = handle
        self._folder = folder
        self._token = secrets.token_bytes(16)

    @contextlib.contextmanager
    def locked(self) -> Iterator[Callable[[], None]]:
        try:
            self._create()
            yield self._confirm
        finally:
            with contextlib.suppress(OSError):
                if self._read(_LOCK_FILE) == self._token:
                    os.unlink(_LOCK_FILE, dir_fd=self._handle)

    def _confirm(self) -> None:
        if self._read(_LOCK_FILE) != self._token:
            raise UserDataError(
                f"Cannot save user data in {self._folder}: another run has taken over the lock because this one "
                "stalled; run again"
            )

    def _create(self) -> None:
        """Create the lock file as soon as no other writer has one."""
        found, unchanged, wait = None, 0.0, _Wait(self._folder)
        while not self._create_exclusively():
            pause = wait.pause()
            before, found = found, self._read(_LOCK_FILE)
            unchanged = unchanged + pause if found == before else 0.0
            if found is not None and unchanged >= _STALE_LOCK_SECONDS:
                self._remove(found)

    def _create_exclusively(self) -> bool:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            # Unlike other ways to create a file, this is atomic on network file systems, too.
            file = os.open(_LOCK_FILE, flags, 0o600, dir_fd=self._handle)
        except FileExistsError:
            return False
        try:
            os.write(file, self._token)
        except BaseException:
            os.unlink(_LOCK_FILE, dir_fd=self._handle)
            raise
        finally:
            os.close(file)
        return True

    def _read(self, name: str) -> bytes | None:
        """Return the content of a lock file, from the file server and not from a cache; None if there is none.

        :raises OSError: if it cannot be read.
        """
        try:
            # Nothing is followed or waited for, whatever somebody has put there.
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._handle)
            try:
                if stat.S_ISREG(os.fstat(file).st_mode):
                    return os.read(file, 64)
            finally:
                os.close(file)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):  # the other writer has just removed it
                return None
            if error.errno != errno.ELOOP:
                raise
        raise OSError(errno.EEXIST, f"{self._folder / name} is not a regular file; move it away")

    def _remove(self, stale: bytes) -> None:
        """Remove the lock file of a writer that was killed, unless it is another one by now."""
        aside = f"{_LOCK_FILE}.{secrets.token_hex(8)}"
        try:
            os.replace(
                _LOCK_FILE, aside, src_dir_fd=self._handle, dst_dir_fd=self._handle
            )  # of several writers, only one can do this
        except FileNotFoundError:
            return
        if self._read(aside) != stale:  # a lock of this very moment
            with contextlib.suppress(OSError):
                os.link(aside, _LOCK_FILE, src_dir_fd=self._handle, dst_dir_fd=self._handle)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside, dir_fd=self._handle)
