# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files on the controller that list the keys of a lab environment with their secrets, and follow these keys.

They are a CSV file for the instructor and a page to print. Later runs find them by what is saved beside each key.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...module_utils._file_trust import Trust, own_uids
from ...module_utils._paths import open_parent
from .._errors import OptionError, UserDataError
from .._files import check_file, write_file
from .._keys.secrets import Secret
from .keys_file import csv_of_keys, key_ids_in_csv
from .records import HANDOUT_FILE, KEYS_FILE, LISTS, SavedKey
from .request import WRITING_OPERATIONS, Request
from .results import OperationResult

MAX_BYTES = 64 << 20
_QR_LIBRARY = "segno"


@dataclass(frozen=True)
class KeyList:
    """A file that lists keys.

    :ivar option: the option that names it, and the name under which its path is saved.
    :ivar is_former: an earlier run has written it, and this run writes another file instead.
    """

    option: str
    path: Path
    is_former: bool = False

    @property
    def is_written(self) -> bool:
        """Whether the file can be written, and is to be written if there are keys."""
        return not self.is_former and (self.option != HANDOUT_FILE or bool(find_spec(_QR_LIBRARY)))

    def check(self, own_ids: Collection[str] | None, name: str) -> None:
        """Check that the file can be written, and contains nothing but keys of this environment.

        :param own_ids: the ids of the keys of this environment; None if they are not saved.
        :param name: what set the path, for messages.
        :raises OptionError: otherwise.
        """
        check_file(self.path, name)
        if self.path.exists():
            listed = self.key_ids()
            if listed is None or (own_ids is not None and not listed <= set(own_ids)):
                raise OptionError(
                    f"{name} is {self.path}, which exists and contains something else than the keys of this "
                    "environment; name another file, or remove it"
                )

    def key_ids(self) -> set[str] | None:
        """Return the ids of the keys in the file.

        None if it is not such a file, or another user could have put it there.
        """
        try:
            with open_parent(str(self.path), Trust(own_uids())) as (folder, name):
                found = folder.read(name, MAX_BYTES)
            text = found[0].decode("utf-8") if found else ""
        except (OSError, UnicodeDecodeError):
            return None
        if self.option == KEYS_FILE:
            return key_ids_in_csv(text)
        # Imported here, because few runs need it, and Ansible compiles each module again in every run.
        from .handout import key_ids_in_page

        return key_ids_in_page(text)

    def write(
        self, keys: Sequence[Mapping[str, Any]], base_url: str, guid: str = "", *, check_mode: bool = False
    ) -> bool:
        """Write the file, and return whether it changed, or would change in check mode.

        :param keys: entries of a result, or saved records in that form; those whose secret is not known are left out.
        :raises UserDataError: if it cannot be written.
        """
        return write_file(self.path, self._render(keys, base_url, guid).encode("utf-8"), check_mode=check_mode)

    def remove(self, own_ids: Collection[str]) -> bool:
        """Remove the file, and return whether it existed. A file that contains anything else is kept.

        :param own_ids: the ids of the keys of this environment.
        :raises UserDataError: if it cannot be removed.
        """
        listed = self.key_ids()
        if listed is None or not listed <= set(own_ids):
            return False
        try:
            with open_parent(str(self.path), Trust(own_uids())) as (folder, name):
                folder.remove(name)
        except OSError as error:
            raise UserDataError(f"Cannot remove {self.path}: {error.strerror or error}") from None
        return True

    def _render(self, keys: Sequence[Mapping[str, Any]], base_url: str, guid: str) -> str:
        if self.option == KEYS_FILE:
            return csv_of_keys(keys, base_url)
        if not find_spec(_QR_LIBRARY):
            raise UserDataError(f"Cannot write {self.path}: {_without_library('it')}")
        from .handout import page_of_keys

        return page_of_keys(keys, base_url, guid)


def key_lists(request: Request, known: Iterable[SavedKey]) -> list[KeyList]:
    """Return the files that an operation writes or removes.

    :param known: the keys whose secrets are known.
    :raises OptionError: if a given file cannot be written.
    """
    if request.operation not in (*WRITING_OPERATIONS, "destroy"):
        return []
    own = [key for key in known if key.guid == request.guid]
    own_ids = key_ids_of(own) if request.options["save_user_data"] else None
    found: list[KeyList] = []
    for option in LISTS:
        name = request.wording.option(option)
        if given := request.options[option]:
            one = KeyList(option, Path(given).expanduser().absolute())
            if any(other.path == one.path for other in found):
                raise OptionError(
                    f"{request.wording.option(found[0].option)} and {name} are both {one.path}; name two files"
                )
            if request.operation != "destroy":
                one.check(own_ids, name)
            if not one.is_written and request.operation != "destroy":
                raise OptionError(_without_library(f"{name} ({one.path})"))
            found.append(one)
        # Users who were added by other runs may have another path, so there may be several.
        for path in dict.fromkeys(Path(str(key.record[option])) for key in own if key.record.get(option)):
            if path.is_file() and all(other.path.resolve() != path.resolve() for other in found):
                found.append(KeyList(option, path, is_former=bool(given) and request.operation != "destroy"))
    return found


def update_lists(
    lists: Iterable[KeyList],
    result: OperationResult,
    keys: Sequence[Mapping[str, Any]],
    base_url: str,
    guid: str,
    own_ids: Collection[str],
    check_mode: bool,
) -> list[str]:
    """Write the files with the keys that the environment has now, and return warnings.

    Files are removed if there are no keys. Former files, and pages that are out of date and cannot be written, are
    removed as well.

    :param own_ids: the ids of the keys that the environment had before.
    """
    warnings = []
    listed = [Secret(key["key"], "given").key_id for key in keys if key["key"]]
    keys_changed = result.changed
    for one in lists:
        found = one.key_ids()
        before = found or set()
        is_written = bool(keys) and one.is_written
        if is_written and found is None and one.path.exists():
            if keys_changed and not check_mode:
                warnings += _warnings_about(one, is_removed=False)
            continue
        if keys and not one.is_written and not one.is_former and before == set(listed) and not keys_changed:
            continue
        try:
            if is_written:
                is_changed = one.write(keys, base_url, guid, check_mode=check_mode)
            else:
                is_changed = not check_mode and one.remove(own_ids)
        except UserDataError as error:
            result.error = result.error or str(error)
            continue
        if keys and not is_written and not check_mode:
            warnings += _warnings_about(one, is_removed=is_changed)
        if not is_changed:
            continue
        result.changed = True
        if not is_written:
            result.summary.append(f"Removed: {display_path(one.path)}")
        result.diff.append(difference_of_list(one.path, before, listed if is_written else ()))
    return warnings


def _warnings_about(one: KeyList, *, is_removed: bool) -> list[str]:
    """Return what to know about a file that was to be removed although there are keys."""
    path = display_path(one.path)
    if not is_removed:
        return [
            f"{path} is out of date and was left as it is, because it contains something else than the keys of this "
            "environment; remove it if it lists keys"
        ]
    if one.is_former:
        return []
    return [f"{path} was out of date and was removed. {_without_library('A new page')}"]


def key_ids_of(keys: Iterable[SavedKey]) -> set[str]:
    """Return the ids of saved keys."""
    return {Secret(key.secret, "given").key_id for key in keys}


def display_path(path: Path) -> str:
    """Return the path for a message: relative to the current directory if the file is below it."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)


def difference_of_list(path: Path, before: Iterable[str], after: Iterable[str]) -> dict[str, Any]:
    """Return the difference that Ansible shows: the ids of the keys instead of their secrets."""
    header = display_path(path)
    return {
        "before_header": header,
        "after_header": header,
        "before": {"key_ids": sorted(before)},
        "after": {"key_ids": sorted(after)},
    }


def _without_library(what: str) -> str:
    return (
        f"{what} needs the Python package {_QR_LIBRARY} for its QR codes, which is not installed on the controller; "
        f"install it with the Python of Ansible: python -m pip install {_QR_LIBRARY}"
    )
