# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Summarize the replacement of a model for a person at a terminal. Pure functions.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._text import printable


def summarize_replacement(old: str, new: str, changed: Sequence[str], *, check_mode: bool) -> list[str]:
    """Return what was done, or would be done in check mode, as lines of text.

    :param changed: the aliases of the keys that named the old model.
    """
    if not changed:
        return [f"No virtual key names the model {printable(old)}"]
    number = "1 virtual key" if len(changed) == 1 else f"{len(changed)} virtual keys"
    verb = "Would replace" if check_mode else "Replaced"
    return [f"{verb} {printable(old)} by {printable(new)} in {number}", *(f"  {printable(one)}" for one in changed)]
