# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file with what was sent, so that each event is sent once also if the event source is restarted.

It contains no secrets. It is replaced atomically, with mode 0600, and the rules about files of other users apply.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...module_utils._file_trust import Trust, own_uids
from ...module_utils._paths import open_parent
from .._errors import OptionError, UserError
from .._litellm.parsing import parse_json
from .decisions import Marks

_VERSION = 1
_MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class StateFile:
    """The file.

    :ivar url: the proxy whose keys it is about.
    """

    path: Path
    url: str

    def load(self, warn: Callable[[str], None]) -> dict[str, frozenset[str]] | None:
        """Return the marks of each key; None if there is no file, or if it is damaged.

        :raises OptionError: if the file is about another proxy, or cannot be read or written.
        """
        try:
            if not self.path.parent.is_dir():
                raise OptionError(
                    f"state_file is {self.path}, but the directory {self.path.parent} does not exist; create it first"
                )
            with open_parent(str(self.path), Trust(own_uids())) as (folder, name):
                found = folder.read(name, _MAX_BYTES)
        except OSError as error:
            raise OptionError(f"state_file {self.path} cannot be read: {error.strerror or error}") from None
        if found is None:
            return None
        state = _parse(found[0])
        if state is None:
            warn(f"state_file {self.path} is damaged, so events may be sent again")
            return None
        if state["url"] != self.url:
            raise OptionError(
                f"state_file {self.path} is about the keys of {state['url']}; use another file for those of {self.url}"
            )
        return {name: frozenset(marks) for name, marks in state["keys"].items()}

    def save(self, marks: Marks) -> None:
        """Save the marks of each key.

        :raises UserError: if the file cannot be written.
        """
        keys = {name: sorted(true) for name, true in sorted(marks.items())}
        content = json.dumps({"version": _VERSION, "url": self.url, "keys": keys}, indent=1).encode()
        try:
            with open_parent(str(self.path), Trust(own_uids())) as (folder, name):
                folder.replace(name, content + b"\n")
        except OSError as error:
            raise UserError(
                f"state_file {self.path} cannot be written, so events are sent again after a restart: "
                f"{error.strerror or error}"
            ) from None


def _parse(content: bytes) -> dict[str, Any] | None:
    """Return the content of the file; None if it is damaged."""
    try:
        state = parse_json(content)
    except ValueError:
        return None
    if not isinstance(state, Mapping) or state.get("version") != _VERSION or not isinstance(state.get("url"), str):
        return None
    keys = state.get("keys")
    if not isinstance(keys, Mapping) or not all(
        isinstance(marks, list) and all(isinstance(mark, str) for mark in marks) for marks in keys.values()
    ):
        return None
    return dict(state)
