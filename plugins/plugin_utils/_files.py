# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write files on the controller that only their owner can read.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..module_utils._file_trust import Trust, own_uids
from ..module_utils._paths import open_parent
from ._errors import OptionError, UserDataError


def check_file(path: Path, name: str) -> None:
    """Check before any request that a file can probably be written.

    :param name: what set the path, for messages.
    :raises OptionError: if it certainly cannot be.
    """
    problem = None
    try:
        if not path.parent.is_dir():
            problem = f"{name} is {path}, but the directory {path.parent} does not exist"
        elif path.is_dir():
            problem = f"{name} is {path}, which is a directory; name a file"
    except OSError as error:
        problem = f"{name} is {path}, which cannot be written: {error.strerror}"
    if problem:
        raise OptionError(problem)


def write_file(path: Path, content: bytes, *, is_strict: bool = True, check_mode: bool = False) -> bool:
    """Replace a file that does not have this content, or that others can read, and return whether it changes.

    :param is_strict: refuse an existing file, or a directory, that another user could change.
    :param check_mode: leave the file as it is.
    :raises UserDataError: if it cannot be written, or another user could have put a part of the path there.
    """
    try:
        with open_parent(str(path), Trust(own_uids(), is_strict=is_strict)) as (folder, name):
            status = folder.check(name)
            is_private = status is not None and status.st_uid == os.geteuid() and not status.st_mode & 0o077
            if status is not None and is_private and status.st_size == len(content):
                found = folder.read(name, len(content))
                if found is not None and found[0] == content:
                    return False
            if not check_mode:
                folder.replace(name, content)
    except OSError as error:
        raise UserDataError(f"Cannot write {path}: {error.strerror or error}") from None
    return True
