# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AgnosticD tells the users of an environment: its files, how they are written, and which keys are in them.

The files are those of AgnosticD's own `agnosticd_user_info`: `<action>-user-info.yaml` and `<action>-user-body.yaml`
are lists of messages, `<action>-user-data.yaml` is a dictionary, with one more for each user below `users`.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import UserDataError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import REPLACED, Observed

# Where the secret stands that belongs to an alias: a name beside a name, or a list beside a list.
_ALIAS, _SECRET = "key_alias", "virtual_key"
_ALIASES, _SECRETS = "key_aliases", "virtual_keys"


def save(
    folder: Path,
    action: str,
    *,
    messages: Sequence[str] = (),
    bodies: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    user: str | None = None,
) -> None:
    """Add messages and data to what the files hold. Each file is written whole or not at all.

    :raises UserDataError: when a file cannot be read or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            if not user:
                _append(folder / f"{action}-user-info.yaml", messages)
                _append(folder / f"{action}-user-body.yaml", bodies)
            if data or user:
                _merge(folder / f"{action}-user-data.yaml", data or {}, user, messages, bodies)
    except OSError as error:
        raise UserDataError(f"User data cannot be saved in {folder}: {error.strerror or error}") from None


def load(folder: Path) -> dict[str, Any]:
    """What was saved when the environment was provisioned; empty if nothing was. To be read only.

    :raises UserDataError: when there is a file and it cannot be read.
    """
    path = folder / "provision-user-data.yaml"
    try:
        state = path.stat() if path.exists() else None
        return _loaded(path, state.st_mtime_ns, state.st_size) if state else {}
    except OSError as error:
        raise UserDataError(f"User data cannot be read from {folder}: {error.strerror or error}") from None


@functools.lru_cache(maxsize=8)
def _loaded(path: Path, changed: int, size: int) -> dict[str, Any]:
    """The file as it was at that time: a template with many lookups reads it once."""
    return _load(path)


def saved_keys(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every alias with the secret that was saved beside it.

    That may be at the top, below a user, in lists, or under names that carry a prefix or a user in front.
    """
    for name, value in data.items():
        if str(name).endswith(_ALIAS):
            aliases, secrets = [value], [data.get(str(name).removesuffix(_ALIAS) + _SECRET)]
        elif str(name).endswith(_ALIASES) and isinstance(value, list):
            saved = data.get(str(name).removesuffix(_ALIASES) + _SECRETS)
            aliases, secrets = value, saved if isinstance(saved, list) else []
        else:
            continue
        for alias, secret in zip(aliases, secrets, strict=False):
            if isinstance(alias, str) and isinstance(secret, str) and secret:
                yield alias, secret
    users = data.get("users")
    for entry in users.values() if isinstance(users, Mapping) else ():
        if isinstance(entry, Mapping):
            yield from saved_keys(entry)


def users_of(guid: str, base: str, saved: Iterable[str], keys: Iterable[Observed]) -> list[str | None]:
    """The users of an environment, as far as its keys tell; None stands for the environment itself.

    :param base: what the alias of each key begins with, before a hyphen and the user.
    :param saved: the aliases that were saved.
    :param keys: the keys of the proxy whose alias begins so; the metadata of ours say whose they are.
    """
    aliases = set(saved)
    for key in keys:
        metadata = key.value("metadata") or {}
        if str(metadata.get("guid")) == guid:
            aliases.add(metadata.get(REPLACED) or str(key.alias))
    users = [alias.removeprefix(f"{base}-") for alias in aliases if alias.startswith(f"{base}-")]
    users.sort(key=lambda user: (len(user), user))  # user2 before user10
    return [None, *users] if base in aliases or not users else [*users]


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One writer at a time. The folder itself is locked, so that no lock file stays behind."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every network file system locks a folder
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _append(path: Path, lines: Sequence[str]) -> None:
    if not lines:
        return
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except UnicodeDecodeError:
        raise UserDataError(f"{path} is not text; mend it or move it away") from None
    if text and not text.endswith("\n"):
        text += "\n"
    _write(path, text + yaml.safe_dump(list(lines)))


def _merge(
    path: Path, data: Mapping[str, Any], user: str | None, messages: Sequence[str], bodies: Sequence[str]
) -> None:
    saved = _load(path)
    target = _section(path, _section(path, saved, "users"), user) if user else saved
    target.update(data)
    if user:
        for name, lines in (("msg", messages), ("body", bodies)):
            if lines:
                target[name] = "\n".join([str(target[name]), *lines] if name in target else lines)
    _write(path, yaml.safe_dump(saved, explicit_start=True))


def _section(path: Path, data: dict[str, Any], name: str) -> dict[str, Any]:
    section = data[name] = {} if data.get(name) is None else data[name]
    if not isinstance(section, dict):
        raise UserDataError(f"'{name}' in {path} does not hold a dictionary; mend it or move the file away")
    return section


def _load(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        saved = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError):
        # The parser's own words would quote the file, and the file holds secrets.
        raise UserDataError(f"{path} is not YAML; mend it or move it away") from None
    if not isinstance(saved, dict):
        raise UserDataError(f"{path} does not hold a dictionary; mend it or move it away")
    return saved


def _write(path: Path, text: str) -> None:
    """Replace the file in one step; only its owner can read it."""
    path = path.resolve()  # a link stays a link
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise
