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
# The minimum and maximum seconds between two attempts.
_POLL_SECONDS = 0.02, 0.1


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[Callable[[], None]]:
    """Lock an existing folder, and return a function to call right before a file in it is replaced.

    The function raises a UserDataError if another writer has taken over the lock, because this one stalled.

    :raises OSError: if no lock can be created.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        with _folder_lock(handle) or _lock_file(folder) as confirm:
            yield confirm
    finally:
        os.close(handle)


def _folder_lock(handle: int) -> AbstractContextManager[Callable[[], None]] | None:
    """Lock a folder until the handle is closed. Return None if its file system refuses that."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        return None
    return contextlib.nullcontext(lambda: None)  # nobody can take over this lock


@contextlib.contextmanager
def _lock_file(folder: Path) -> Iterator[Callable[[], None]]:
    path, token = folder / _LOCK_FILE, secrets.token_bytes(16)

    def confirm() -> None:
        if _read(path) != token:
            raise UserDataError(
                f"Cannot save user data in {folder}: another run has taken over the lock because this one stalled; "
                "run again"
            )

    try:
        _create(path, token)
        yield confirm
    finally:
        with contextlib.suppress(OSError):
            if _read(path) == token:
                path.unlink()


def _create(path: Path, token: bytes) -> None:
    """Create the lock file as soon as no other writer has one."""
    found, unchanged = None, 0.0
    while not _create_exclusively(path, token):
        # Waiting for a file server that does not respond does not count.
        pause = random.uniform(*_POLL_SECONDS)
        time.sleep(pause)
        before, found = found, _read(path)
        unchanged = unchanged + pause if found == before else 0.0
        if found is not None and unchanged >= _STALE_LOCK_SECONDS:
            _remove(path, found)


def _create_exclusively(path: Path, token: bytes) -> bool:
    try:
        # Unlike other ways to create a file, this is atomic on network file systems, too.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return False
    try:
        os.write(handle, token)
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(handle)
    return True


def _read(path: Path) -> bytes | None:
    """Return the content of a lock file, from the file server and not from a cache; None if there is none.

    :raises OSError: if it cannot be read.
    """
    try:
        # Nothing is followed or waited for, whatever somebody has put there.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return os.read(handle, 64)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):  # the other writer has just removed it
            return None
        if error.errno != errno.ELOOP:
            raise
    raise OSError(errno.EEXIST, f"{path} is not a regular file; move it away")


def _remove(path: Path, stale: bytes) -> None:
    """Remove the lock file of a writer that was killed, unless it is another one by now."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        path.rename(aside)  # of several writers, only one can do this
    except FileNotFoundError:
        return
    if _read(aside) != stale:  # a lock of this very moment
        with contextlib.suppress(OSError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)
