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
import itertools
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import UserDataError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import REPLACED, Observed

# libyaml, where PyYAML has it: ten times as fast, which many users notice.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

# Seconds after which nobody is still writing a temporary file.
_STALE = 3600.0

# Where the secret stands that belongs to an alias: a name beside a name, or a list beside a list.
_ALIAS, _SECRET = "key_alias", "virtual_key"
_ALIASES, _SECRETS = "key_aliases", "virtual_keys"
_MODELS = "available_models"
_USER_ID, _USER_IDS = "user_email", "user_ids"


def save(
    folder: Path,
    action: str,
    *,
    messages: Sequence[str] = (),
    bodies: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    user: str | None = None,
    users: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[str]:
    """Add messages and data to what the files hold. Each file is written whole or not at all.

    :param user: whom messages and data are for; None if they are for all.
    :param users: further data, for each of these users.
    :returns: the aliases of the keys whose secrets were saved there, and are not any more.
    :raises UserDataError: when a file cannot be read or written.
    """
    lost: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            # First what cannot be had again, and can be saved twice.
            if data or user or users:
                sections = {**(users or {}), **({user: data or {}} if user else {})}
                lines = {user: {"msg": messages, "body": bodies}} if user else {}
                lost = _merge(folder / f"{action}-user-data.yaml", {} if user else data or {}, sections, lines)
            if not user:
                _append(folder / f"{action}-user-info.yaml", messages)
                _append(folder / f"{action}-user-body.yaml", bodies)
    except OSError as error:
        raise UserDataError(f"User data cannot be saved in {folder}: {error.strerror or error}") from None
    return lost


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


class SavedKey(NamedTuple):
    """What was saved of a key; `models` and `user_id` are None where they do not stand beside it."""

    alias: str
    secret: str
    models: list[str] | None = None
    user_id: str | None = None


def saved_keys(data: Mapping[str, Any]) -> Iterator[SavedKey]:
    """Every key whose secret was saved beside its alias.

    That may be at the top, below a user, in lists, or under names that carry a prefix or a user in front.
    """
    for name, value in data.items():
        if str(name).endswith(_ALIAS):
            beginning = str(name).removesuffix(_ALIAS)
            aliases, secrets, ids = [value], [data.get(beginning + _SECRET)], [data.get(beginning + _USER_ID)]
            models = data.get(beginning + _MODELS)
        elif str(name).endswith(_ALIASES) and isinstance(value, list):
            beginning = str(name).removesuffix(_ALIASES)
            aliases, secrets, ids = value, _list(data.get(beginning + _SECRETS)), _list(data.get(beginning + _USER_IDS))
            models = None
        else:
            continue
        models = models if isinstance(models, list) else None
        for alias, secret, user_id in itertools.zip_longest(aliases, secrets, ids):
            if isinstance(alias, str) and isinstance(secret, str) and secret:
                yield SavedKey(alias, secret, models, user_id if isinstance(user_id, str) and user_id else None)
    users = data.get("users")
    for entry in users.values() if isinstance(users, Mapping) else ():
        if isinstance(entry, Mapping):
            yield from saved_keys(entry)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def users_of(guid: str, base: str, saved: Iterable[SavedKey], keys: Iterable[Observed]) -> list[str | None]:
    """The users of an environment, as far as its keys tell; None stands for the environment itself.

    :param base: what the alias of each key begins with, before a hyphen and the user.
    :param saved: keys that were saved.
    :param keys: those of the proxy whose alias begins so; the metadata of ours say whose they are.
    """
    aliases = {key.alias for key in saved}
    for key in keys:
        metadata = key.value("metadata") or {}
        alias = str(metadata.get(REPLACED) or key.alias)
        # Another tenant's alias may begin with this one's: its name alone is no proof.
        if str(metadata.get("guid")) == guid and alias in (base, f"{base}-{metadata.get('user')}"):
            aliases.add(alias)
    users = [alias.removeprefix(f"{base}-") for alias in aliases if alias.startswith(f"{base}-")]
    users.sort(key=lambda user: (len(user), user))  # user2 before user10
    return [None, *users] if base in aliases or not users else [*users]


def to_tell(
    keys: Sequence[Mapping[str, Any]], endpoint: str, base_url: str, further: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What lab guides look up: for the whole environment, and for each of its users.

    A lab guide for one of many users sees only what is that user's. Hence everything is told there again. A secret that
    is not known is left out, so that one which was saved stays.

    :param keys: entries of the result of `litellm_key`.
    :param further: what else to tell everybody.
    """
    common = {"litellm_api_endpoint": endpoint, "litellm_api_base_url": base_url, **further}
    labs = [key for key in keys if key.get("user")]
    users = {key["user"]: {**common, **_of_key(key), "litellm_user_email": key["user_id"]} for key in labs}
    first = next((key for key in keys if not key.get("user")), keys[0])
    data = {**common, **_of_key(first)}
    if labs:
        data.update(
            litellm_user_count=len(labs),
            litellm_virtual_keys=[key["key"] for key in labs],
            litellm_key_aliases=[key["key_alias"] for key in labs],
            litellm_key_ids=[key["key_id"] for key in labs],
            litellm_user_ids=[key["user_id"] for key in labs],
        )
        if not all(data["litellm_virtual_keys"]):
            del data["litellm_virtual_keys"]
    for user, of_user in users.items():
        for name in ("virtual_key", "key_alias", "key_id", "user_email"):
            if f"litellm_{name}" in of_user:
                data[f"litellm_{user}_{name}"] = of_user[f"litellm_{name}"]
    return data, users


def _of_key(key: Mapping[str, Any]) -> dict[str, Any]:
    models = [str(model) for model in key["models"] or ()]
    return {
        **({"litellm_virtual_key": key["key"]} if key["key"] else {}),
        "litellm_key_alias": key["key_alias"],
        "litellm_key_id": key["key_id"],
        "litellm_available_models": models,
        "litellm_available_models_list": ", ".join(models),
        "litellm_key_duration": key["duration"],
    }


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
    _write(path, text + yaml.dump(list(lines), Dumper=_Dumper))


def _merge(
    path: Path,
    data: Mapping[str, Any],
    users: Mapping[str, Mapping[str, Any]],
    lines: Mapping[str, Mapping[str, Sequence[str]]],
) -> list[str]:
    saved = _load(path)
    before = [key.alias for key in saved_keys(saved)]
    saved.update(data)
    for user, of_user in users.items():
        section = _section(path, _section(path, saved, "users"), user)
        section.update(of_user)
        for name, further in lines.get(user, {}).items():
            if further:
                section[name] = "\n".join([str(section[name]), *further] if name in section else further)
    _write(path, yaml.dump(saved, Dumper=_Dumper, explicit_start=True))
    after = {key.alias for key in saved_keys(saved)}
    return [alias for alias in dict.fromkeys(before) if alias not in after]


def _section(path: Path, data: dict[str, Any], name: str) -> dict[str, Any]:
    section = data[name] = {} if data.get(name) is None else data[name]
    if not isinstance(section, dict):
        raise UserDataError(f"'{name}' in {path} does not hold a dictionary; mend it or move the file away")
    return section


def _load(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        saved = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader) or {}
    except (yaml.YAMLError, UnicodeDecodeError):
        # The parser's own words would quote the file, and the file holds secrets.
        raise UserDataError(f"{path} is not YAML; mend it or move it away") from None
    if not isinstance(saved, dict):
        raise UserDataError(f"{path} does not hold a dictionary; mend it or move it away")
    return saved


def _write(path: Path, text: str) -> None:
    """Replace the file in one step; only its owner can read it."""
    path = path.resolve()  # a link stays a link
    for stale in path.parent.glob(f".{path.name}.*"):  # of a writer that was killed
        if stale.stat().st_mtime < time.time() - _STALE:
            stale.unlink()
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
