# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open a path part by part, each relative to the directory before it, so that nobody can replace a part meanwhile.

Managed nodes run this module, too: it uses nothing but the standard library of Python 3.6.

Private to this collection: names and behaviour may change in any release.
"""

import contextlib
import errno
import os
from typing import Iterator, List, Optional, Tuple

from ansible_collections.rhpds.litellm_virtual_keys.plugins.module_utils._file_trust import Trust
from ansible_collections.rhpds.litellm_virtual_keys.plugins.module_utils._files import Folder

MAX_LINKS = 40  # as Linux


@contextlib.contextmanager
def open_folder(path: str, trust: Trust, create: bool = False) -> Iterator[Folder]:
    """Open a directory.

    :param create: create it, and the directories above it, if they do not exist.
    :raises UnsafeFileError: if another user could have put a part of the path there.
    """
    parent, name = _walk(None, os.path.join(os.getcwd(), path), trust, create)
    with contextlib.closing(parent), contextlib.closing(parent.enter(name, create)) as folder:
        folder.make_listable()
        yield folder


@contextlib.contextmanager
def open_parent(path: str, trust: Trust) -> Iterator[Tuple[Folder, str]]:
    """Open the directory of a file, which need not exist, and return it with the file's name in it.

    :raises UnsafeFileError: if another user could have put a part of the path there.
    """
    folder, name = _walk(None, os.path.join(os.getcwd(), path), trust)
    with contextlib.closing(folder):
        yield folder, name


@contextlib.contextmanager
def locate(folder: Folder, name: str) -> Iterator[Tuple[Folder, str]]:
    """Return the directory and the name of a file: others than these if the file is a symbolic link."""
    found, its_name = _walk(folder, name, folder.trust)
    with contextlib.closing(found):
        found.make_listable()
        yield found, its_name


def _root(trust: Trust) -> Folder:
    uids = trust.uids if trust.owner is None else trust.uids | {trust.owner}
    return Folder(os.open("/", os.O_RDONLY | os.O_DIRECTORY), "/", trust, uids)


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
                link = folder.status(name)
                following.is_fixed = folder.is_fixed and link is not None and folder.is_kept(link)
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
