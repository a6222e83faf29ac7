# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read and write AgnosticD's user data files: locked, merged, and replaced atomically.

The files are those of AgnosticD's own `agnosticd_user_info`: `<action>-user-info.yaml` and `<action>-user-body.yaml`
are lists of messages, `<action>-user-data.yaml` is a dictionary, with a dictionary for each user below `users`.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ...module_utils._file_trust import Trust, own_uids
from ...module_utils._files import Folder
from ...module_utils._paths import locate, open_folder
from .._errors import UserDataError
from .._keys.values import is_same_json
from .documents import MAX_BYTES, DocumentError, format_document, format_list, parse
from .lock import lock_folder

# Seconds after which no process is still writing a temporary file.
_STALE_FILE_SECONDS = 3600.0
# How many files are remembered.
_MAX_CACHED = 8

Data = dict[str, Any]

# The files as they were at some time: a template with many lookups reads a file once. Some file systems have coarse
# times, but each write creates a file with another inode. The data are never changed, only copied.
_cache: dict[tuple[int, ...], tuple[bytes, Data]] = {}


def load(folder: Path, action: str = "provision") -> Data:
    """Return the user data that an action saved; empty if there are none. Do not change the returned dictionary.

    :raises UserDataError: if the file exists and cannot be read.
    """
    name = data_file(action)
    try:
        with _opened(folder) as opened, locate(opened, name) as (parent, own_name):
            status = parent.check(own_name)
            if status is None:
                return {}
            if cached := _cache.get(_cache_key(status)):
                return cached[1]
            found = parent.read(own_name, MAX_BYTES)
            return _dictionary(folder / name, *found) if found else {}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UserDataError(f"Cannot read user data from {folder}: {error.strerror or error}") from None


def save(
    folder: Path,
    action: str,
    *,
    messages: Sequence[str] = (),
    bodies: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    user: str | None = None,
    users: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[Data, Data]:
    """Add messages and data to the files, and return the data before and after.

    :param user: the user that messages and data are for; None if they are for the whole environment.
    :param users: further data, for each of these users.
    :raises UserDataError: if a file cannot be read or written.
    """
    before, after = {}, {}
    with _locked(folder) as files:
        # Data first: they cannot be recreated, and saving them twice does no harm.
        if data or user or users:
            name = data_file(action)
            sections = {**(users or {}), **({user: data or {}} if user else {})}
            lines = {user: {"msg": messages, "body": bodies}} if user else {}
            before = files.data(name)
            after = _merged(folder / name, before, {} if user else data or {}, sections, lines)
            files.write(name, format_document(after))
        if not user:
            files.append(f"{action}-user-info.yaml", messages)
            files.append(f"{action}-user-body.yaml", bodies)
    return before, after


def merge(
    folder: Path, action: str, build: Callable[[Data], tuple[Mapping[str, Any], Mapping[str, Data]]]
) -> tuple[Data, Data]:
    """Add data that depend on the present ones, which no other writer changes meanwhile.

    Return the data before and after.

    :param build: returns the data for the environment and for each user, from the present data.
    :raises UserDataError: if the file cannot be read or written.
    """
    name = data_file(action)
    with _locked(folder) as files:
        before = files.data(name)
        data, users = build(before)
        after = _merged(folder / name, before, data, users, {})
        if (data or users) and not (is_same_json(after, before) and files.is_private(name)):
            files.write(name, format_document(after))
    return before, after


def update(folder: Path, action: str, change: Callable[[Data], bool]) -> None:
    """Change the data of an action's file, if it exists.

    :param change: changes the data in place, and returns whether there is anything to write.
    :raises UserDataError: if the file cannot be read or written.
    """
    name = data_file(action)
    if not _exists(folder, name):
        return
    with _locked(folder) as files:
        data = copy.deepcopy(files.data(name))
        if change(data):
            files.write(name, format_document(data))


def check_writable(folder: Path, action: str) -> None:
    """Check that data can be saved, by writing the present ones again: a disk may be full.

    :raises UserDataError: if the file cannot be written.
    """
    name = data_file(action)
    with _locked(folder) as files:
        present = files.content(name)
        if present is None:
            files.folder.check_writable()
        else:
            files.write(name, present)


def protect(folder: Path, names: Collection[str]) -> bool:
    """Make files readable by their owner only, before another program writes to them. Create those that do not exist.

    Return whether the paths lead that program to these files, whatever other users do.

    :raises UserDataError: if another user could have put one of them there, or it cannot be created.
    """
    with _locked(folder) as files:
        is_kept = True
        for name in names:
            with locate(files.folder, name) as (parent, own_name):
                is_kept &= parent.protect(own_name, MAX_BYTES)
    return is_kept


def remove_messages(folder: Path, action: str, texts: Collection[str]) -> None:
    """Remove the messages of an action that contain one of these texts.

    :raises UserDataError: if a file cannot be read or written.
    """
    for name in message_files(action):
        if not texts or not _exists(folder, name):
            continue
        with _locked(folder) as files:
            lines = files.lines(name)
            kept = [line for line in lines if not any(text in str(line) for text in texts)]
            if len(kept) < len(lines):
                files.write(name, format_list(kept) if kept else "---\n")


def data_file(action: str) -> str:
    return f"{action}-user-data.yaml"


def message_files(action: str) -> tuple[str, str]:
    """Return the names of the files of short and of long messages."""
    return f"{action}-user-info.yaml", f"{action}-user-body.yaml"


class _Files:
    """The user data files of a folder that is locked.

    :ivar folder: the open folder.
    """

    def __init__(self, path: Path, folder: Folder, confirm: Callable[[], None]) -> None:
        self.folder = folder
        self._path = path
        self._confirm = confirm

    def content(self, name: str) -> bytes | None:
        """Return the content of a file, and None if there is none."""
        with locate(self.folder, name) as (parent, own_name):
            found = parent.read(own_name, MAX_BYTES)
            return found[0] if found else None

    def data(self, name: str) -> Data:
        """Return the data of a file. Do not change them."""
        with locate(self.folder, name) as (parent, own_name):
            found = parent.read(own_name, MAX_BYTES)
            return _dictionary(self._path / name, *found) if found else {}

    def is_private(self, name: str) -> bool:
        """Return whether nobody but the owner of a file can open it."""
        with locate(self.folder, name) as (parent, own_name):
            status = parent.check(own_name)
            return status is not None and not status.st_mode & 0o077

    def lines(self, name: str) -> list[Any]:
        saved = _parsed(self._path / name, self.content(name) or b"")
        return saved if isinstance(saved, list) else []

    def append(self, name: str, lines: Sequence[str]) -> None:
        if not lines:
            return
        try:
            text = (self.content(name) or b"").decode("utf-8")
        except UnicodeDecodeError:
            raise UserDataError(f"{self._path / name} is not a text file; repair it or move it away") from None
        if text and not text.endswith("\n"):
            text += "\n"
        self.write(name, text + format_list(list(lines)))

    def write(self, name: str, content: str | bytes) -> None:
        """Replace a file atomically; only its owner can read it. A symbolic link is kept."""
        with locate(self.folder, name) as (parent, own_name):
            parent.remove_stale(own_name, _STALE_FILE_SECONDS)
            parent.check(own_name)
            parent.replace(
                own_name, content if isinstance(content, bytes) else content.encode("utf-8"), confirm=self._confirm
            )


def _opened(folder: Path, *, create: bool = False) -> AbstractContextManager[Folder]:
    return open_folder(str(folder), Trust(own_uids()), create)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[_Files]:
    """Exclude other writers, and return the files.

    :raises UserDataError: if the operating system reports an error inside of the context.
    """
    try:
        with _opened(folder, create=True) as opened, lock_folder(opened.handle, folder) as confirm:
            yield _Files(folder, opened, confirm)
    except OSError as error:
        raise UserDataError(f"Cannot save user data in {folder}: {error.strerror or error}") from None


def _exists(folder: Path, name: str) -> bool:
    try:
        with _opened(folder) as opened, locate(opened, name) as (parent, own_name):
            return parent.check(own_name) is not None
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UserDataError(f"Cannot read user data from {folder}: {error.strerror or error}") from None


def _cache_key(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _merged(
    path: Path,
    saved: Data,
    data: Mapping[str, Any],
    users: Mapping[str, Mapping[str, Any]],
    lines: Mapping[str, Mapping[str, Sequence[str]]],
) -> Data:
    """Return the saved data with further ones. The saved ones stay as they are."""
    merged = {**saved, **data}
    if users:
        merged["users"] = sections = dict(_section(path, merged, "users"))
        for user, of_user in users.items():
            sections[user] = section = {**_section(path, sections, user), **of_user}
            for name, further in lines.get(user, {}).items():
                if further:
                    section[name] = "\n".join([str(section[name]), *further] if name in section else further)
    return merged


def _section(path: Path, data: Data, name: str) -> Data:
    section = data.get(name)
    if not isinstance(section, dict | None):
        raise UserDataError(f"'{name}' in {path} is not a dictionary; repair it or move the file away")
    return section or {}


def _dictionary(path: Path, content: bytes, status: os.stat_result) -> Data:
    """Return the data of a file, which is parsed only if it has changed."""
    key = _cache_key(status)
    if key in _cache and _cache[key][0] == content:
        return _cache[key][1]
    saved = _parsed(path, content)
    if not isinstance(saved, dict | None):
        raise UserDataError(f"{path} does not contain a dictionary; repair it or move it away")
    while len(_cache) >= _MAX_CACHED:
        _cache.pop(next(iter(_cache)), None)
    _cache[key] = content, saved or {}
    return saved or {}


def _parsed(path: Path, content: bytes) -> Any:
    try:
        return parse(content)
    except DocumentError as error:
        raise UserDataError(f"{path} {error}") from None
