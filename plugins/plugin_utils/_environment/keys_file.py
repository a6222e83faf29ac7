# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The CSV file with the keys of a lab environment, for its instructor.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from .._keys.secrets import Secret
from .._text import csv_text

COLUMNS = ("user", "key", "endpoint", "models", "expires")


def csv_of_keys(keys: Iterable[Mapping[str, Any]], base_url: str, _guid: str = "") -> str:
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


def key_ids_in_csv(text: str) -> set[str] | None:
    """Return the ids of the keys in the file; None if it is not such a file."""
    try:
        rows = list(csv.reader(io.StringIO(text)))
    except csv.Error:
        return None
    if not rows or tuple(rows[0]) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        return None
    return {Secret(row[1], "given").key_id for row in rows[1:]}
