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
import functools
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .._errors import UserDataError
from .lock import lock_folder

# libyaml, if PyYAML has it: ten times as fast, which matters with many users.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

# Temporary files are named `.<file>.rhpds-litellm-<8 random characters>.tmp`, so that no backup, and no temporary file
# of another program, is taken for one of them.
_TEMPORARY_MARKER = "rhpds-litellm-"
_TEMPORARY_SUFFIX = ".tmp"
# Seconds after which no process is still writing a temporary file.
_STALE_FILE_SECONDS = 3600.0

Data = dict[str, Any]


def load(folder: Path, action: str = "provision") -> Data:
    """Return the user data that an action saved; empty if there are none. Do not change the returned dictionary.

    :raises UserDataError: if the file exists and cannot be read.
    """
    path = _data_file(folder, action)
    try:
        state = path.stat() if path.exists() else None
        return _cached(path, state.st_mtime_ns, state.st_size, state.st_ino) if state else {}
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
    with _locked(folder) as write:
        # Data first: they cannot be recreated, and saving them twice does no harm.
        if data or user or users:
            path = _data_file(folder, action)
            sections = {**(users or {}), **({user: data or {}} if user else {})}
            lines = {user: {"msg": messages, "body": bodies}} if user else {}
            before, after = _load(path), _load(path)
            _merge(path, after, {} if user else data or {}, sections, lines)
            write(path, yaml.dump(after, Dumper=_Dumper, explicit_start=True))
        if not user:
            _append(folder / f"{action}-user-info.yaml", messages, write)
            _append(folder / f"{action}-user-body.yaml", bodies, write)
    return before, after


def merge(folder: Path, action: str, build: Callable[[Data], tuple[Mapping[str, Any], Mapping[str, Data]]]) -> Data:
    """Add data that depend on the present ones, which no other writer changes meanwhile, and return the data after.

    :param build: returns the data for the environment and for each user, from the present data.
    :raises UserDataError: if the file cannot be read or written.
    """
    path = _data_file(folder, action)
    with _locked(folder) as write:
        present = _load(path)
        data, users = build(present)
        if data or users:
            _merge(path, present, data, users, {})
            write(path, yaml.dump(present, Dumper=_Dumper, explicit_start=True))
    return present


def update(folder: Path, action: str, change: Callable[[Data], bool]) -> None:
    """Change the data of an action's file, if it exists.

    :param change: changes the data in place, and returns whether there is anything to write.
    :raises UserDataError: if the file cannot be read or written.
    """
    path = _data_file(folder, action)
    if not path.exists():
        return
    with _locked(folder) as write:
        data = _load(path)
        if change(data):
            write(path, yaml.dump(data, Dumper=_Dumper, explicit_start=True))


def check_writable(folder: Path, action: str) -> None:
    """Check that data can be saved, by writing the present ones again: a disk may be full.

    :raises UserDataError: if the file cannot be written.
    """
    path = _data_file(folder, action)
    with _locked(folder) as write:
        if path.exists():
            write(path, path.read_text(encoding="utf-8"))
        else:
            with tempfile.TemporaryFile(dir=folder):
                pass


def remove_messages(folder: Path, action: str, texts: Collection[str]) -> None:
    """Remove the messages of an action that contain one of these texts.

    :raises UserDataError: if a file cannot be read or written.
    """
    for kind in ("info", "body"):
        path = folder / f"{action}-user-{kind}.yaml"
        if not texts or not path.exists():
            continue
        with _locked(folder) as write:
            lines = _load_lines(path)
            kept = [line for line in lines if not any(text in str(line) for text in texts)]
            if len(kept) < len(lines):
                write(path, yaml.dump(kept, Dumper=_Dumper) if kept else "---\n")


def _data_file(folder: Path, action: str) -> Path:
    return folder / f"{action}-user-data.yaml"


@functools.lru_cache(maxsize=8)
def _cached(path: Path, changed: int, size: int, inode: int) -> Data:
    """Return the file as it was at that time: a template with many lookups reads it once.

    Some file systems have coarse times, but each write creates a file with another inode.
    """
    return _load(path)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[Callable[[Path, str], None]]:
    """Exclude other writers, and return the function that writes a file.

    :raises UserDataError: if the operating system reports an error inside of the context.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock_folder(folder) as confirm:
            yield functools.partial(_write, confirm=confirm)
    except OSError as error:
        raise UserDataError(f"Cannot save user data in {folder}: {error.strerror or error}") from None


def _append(path: Path, lines: Sequence[str], write: Callable[[Path, str], None]) -> None:
    if not lines:
        return
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except UnicodeDecodeError:
        raise UserDataError(f"{path} is not a text file; repair it or move it away") from None
    if text and not text.endswith("\n"):
        text += "\n"
    write(path, text + yaml.dump(list(lines), Dumper=_Dumper))


def _merge(
    path: Path,
    saved: Data,
    data: Mapping[str, Any],
    users: Mapping[str, Mapping[str, Any]],
    lines: Mapping[str, Mapping[str, Sequence[str]]],
) -> None:
    saved.update(data)
    for user, of_user in users.items():
        section = _section(path, _section(path, saved, "users"), user)
        section.update(of_user)
        for name, further in lines.get(user, {}).items():
            if further:
                section[name] = "\n".join([str(section[name]), *further] if name in section else further)


def _section(path: Path, data: Data, name: str) -> Data:
    section = data[name] = {} if data.get(name) is None else data[name]
    if not isinstance(section, dict):
        raise UserDataError(f"'{name}' in {path} is not a dictionary; repair it or move the file away")
    return section


def _load(path: Path) -> Data:
    saved = _parse(path) if path.exists() else None
    if saved is None:
        return {}
    if not isinstance(saved, dict):
        raise UserDataError(f"{path} does not contain a dictionary; repair it or move it away")
    return saved


def _load_lines(path: Path) -> list[Any]:
    saved = _parse(path)
    return saved if isinstance(saved, list) else []


def _parse(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError):
        # The message of the parser would quote the file, which contains secrets.
        raise UserDataError(f"{path} is not valid YAML; repair it or move it away") from None


def _write(path: Path, text: str, *, confirm: Callable[[], None]) -> None:
    """Replace the file atomically; only its owner can read it.

    :param confirm: raises a UserDataError if another writer may have changed the file meanwhile.
    """
    path = path.resolve()  # a symbolic link is kept
    prefix = f".{path.name}.{_TEMPORARY_MARKER}"
    _remove_stale(path.parent, prefix)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=_TEMPORARY_SUFFIX)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        confirm()
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise


def _remove_stale(folder: Path, prefix: str) -> None:
    """Remove the temporary files of writers that were killed. Keep everything that a writer may not have created."""
    own_name = re.compile(re.escape(prefix) + "[a-z0-9_]{8}" + re.escape(_TEMPORARY_SUFFIX))
    for path in folder.iterdir():
        if own_name.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):  # another writer has removed it
                state = path.lstat()
                is_own = stat.S_ISREG(state.st_mode) and state.st_uid == os.geteuid()
                if is_own and state.st_mtime < time.time() - _STALE_FILE_SECONDS:
                    path.unlink()
