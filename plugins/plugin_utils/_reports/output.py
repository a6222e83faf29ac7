# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Render a report on virtual keys in its format, and save it.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...module_utils._file_trust import Trust, own_uids
from ...module_utils._paths import write_file
from .._errors import OptionError, UserDataError
from .table import format_csv, format_report

TABLE, CSV, JSON, HTML = FORMATS = ("table", "csv", "json", "html")


def format_for(name: str | None, file: str | None) -> str:
    """Return the format of a report: the one with this name, or else that of the file's extension.

    :param file: the file that the report is saved to; empty if it is displayed.
    :raises OptionError: if a report in this format can only be saved.
    """
    _stem, dot, extension = (file or "").rpartition(".")
    found = name or (extension if dot and extension in FORMATS else TABLE)
    if found in (CSV, HTML) and not file:
        raise OptionError(f"format is {found}, which requires file; set file to the file to save the report to")
    return found


def check_file(file: str) -> None:
    """Check that a report can be saved to the file, before it is made.

    :raises OptionError: if it certainly cannot be.
    """
    path = Path(file)
    if not path.parent.is_dir():
        raise OptionError(f"file is {file}, but the directory {path.parent} does not exist; create it first")
    if path.is_dir():
        raise OptionError(f"file is {file}, which is a directory; name a file")


def displayed(report: Mapping[str, Any], its_format: str) -> Any:
    """Return what is displayed: the report, or the lines of its table."""
    return report if its_format == JSON else format_report(report)


def render(report: Mapping[str, Any], its_format: str) -> str:
    """Return the text of the file."""
    if its_format == HTML:
        # Imported here, so that the other formats do not load the page and its template.
        from .page import render_page

        return render_page(report) + "\n"
    if its_format == CSV:
        return format_csv(report["virtual_keys"])
    if its_format == JSON:
        return json.dumps(report, indent=4, sort_keys=True) + "\n"
    return "".join(f"{line}\n" for line in format_report(report))


def save(text: str, path: str, *, check_mode: bool) -> bool:
    """Write the file, which only its owner can read, and return whether it changes.

    :raises UserDataError: if it cannot be written.
    """
    try:
        return write_file(path, text.encode("utf-8", "surrogateescape"), Trust(own_uids(), is_strict=False), check_mode)
    except OSError as error:
        raise UserDataError(f"Cannot write {path}: {error.strerror or error}") from None
