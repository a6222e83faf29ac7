# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The CSV file with the keys of a lab environment, for its instructor.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ...module_utils._file_trust import Trust, own_uids
from ...module_utils._paths import open_parent
from .._errors import OptionError, UserDataError
from .._text import csv_text

MAX_BYTES = 16 << 20
COLUMNS = ("user", "key", "endpoint", "models", "expires")


def display_path(path: Path) -> str:
    """Return the path for a message: relative to the current directory if the file is below it."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)


def keys_text(keys: Iterable[Mapping[str, Any]], base_url: str) -> str:
    """Return the content of the file.

    :param keys: entries of a result, or saved records in that form; those whose secret is not known are left out.
    """
    return csv_text(
        COLUMNS,
        (
            (key.get("user"), key["key"], base_url, ",".join(key["models"] or ()), key["expires"] or "never")
            for key in keys
            if key["key"]
        ),
    )


def check_keys_file(path: Path, secrets: Collection[str] | None, option: str) -> None:
    """Check that the file can be written, and contains nothing but keys of this environment.

    :param secrets: the secrets of this environment; None if they are not saved.
    :param option: what set the path, for messages.
    :raises OptionError: otherwise.
    """
    if not path.parent.is_dir():
        raise OptionError(f"{option} is {path}, but the directory {path.parent} does not exist")
    if path.is_dir():
        raise OptionError(f"{option} is {path}, which is a directory; name a file")
    if path.exists():
        listed = _listed_secrets(path)
        if listed is None or (secrets is not None and not listed <= set(secrets)):
            raise OptionError(
                f"{option} is {path}, which exists and contains something else than the keys of this environment; name "
                "another file, or remove it"
            )


def remove_keys_file(path: Path, secrets: Collection[str]) -> bool:
    """Remove the file, and return whether it existed. A file that contains anything else is kept.

    :param secrets: the secrets of this environment.
    :raises UserDataError: if it cannot be removed.
    """
    listed = _listed_secrets(path)
    if listed is None or not listed <= set(secrets):
        return False
    try:
        with open_parent(str(path), Trust(own_uids())) as (folder, name):
            folder.remove(name)
    except OSError as error:
        raise UserDataError(f"Cannot remove {path}: {error.strerror or error}") from None
    return True


def write_keys_file(path: Path, keys: Iterable[Mapping[str, Any]], base_url: str) -> bool:
    """Write the file, and return whether it changed.

    :raises UserDataError: if it cannot be written.
    """
    content = keys_text(keys, base_url).encode("utf-8")
    try:
        with open_parent(str(path), Trust(own_uids())) as (folder, name):
            found = folder.read(name, MAX_BYTES)
            if found and found[0] == content and found[1].st_mode & 0o077 == 0:
                return False
            folder.replace(name, content)
    except OSError as error:
        raise UserDataError(f"Cannot write {path}: {error.strerror or error}") from None
    return True


def _listed_secrets(path: Path) -> set[str] | None:
    """Return the secrets in the file; None if it is not such a file, or another user could have put it there."""
    try:
        with open_parent(str(path), Trust(own_uids())) as (folder, name):
            found = folder.read(name, MAX_BYTES)
        rows = list(csv.reader(io.StringIO(found[0].decode("utf-8")))) if found else []
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    if not rows or tuple(rows[0]) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        return None
    return {row[1] for row in rows[1:]}
