# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The SQL statements for keys that LiteLLM does not delete.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._keys.names import checked_id

_TABLE = '"LiteLLM_VerificationToken"'


def select_statement(key_ids: Sequence[str]) -> str:
    """Return the statement that selects the ids of these keys.

    :raises OptionError: if a key id is invalid.
    """
    return f"SELECT token FROM {_TABLE} {_where(key_ids)}"


def delete_statement(key_ids: Sequence[str]) -> str:
    """Return the statement that deletes the rows of these keys.

    :raises OptionError: if a key id is invalid.
    """
    return f"DELETE FROM {_TABLE} {_where(key_ids)}"


def _where(key_ids: Sequence[str]) -> str:
    tokens = ", ".join(f"'{checked_id(key_id)}'" for key_id in key_ids)
    return f"WHERE token IN ({tokens})"
