# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Render a report on virtual keys in one of several formats. Pure functions.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .._errors import OptionError
from .._text import Wording
from .table import format_csv, format_report

FORMATS = ("table", "csv", "json", "html")


def format_of(name: str | None, file: str | None, wording: Wording) -> str:
    """Return the format of a report: the one with this name, or else that of the file's extension.

    :param file: the file that the report is saved to; empty if it is displayed.
    :raises OptionError: if a report in this format can only be saved.
    """
    _stem, dot, extension = (file or "").rpartition(".")
    found = name or (extension if dot and extension in FORMATS else "table")
    if found in ("csv", "html") and not file:
        raise OptionError(f"format is {found}, which requires a file; set {wording.option('file')}, too")
    return found


def displayed(report: Mapping[str, Any], name: str) -> Any:
    """Return what is displayed, in the format with this name: the report, or the lines of its table."""
    return report if name == "json" else format_report(report)


def render(report: Mapping[str, Any], name: str) -> str:
    """Return the text of a file in the format with this name."""
    if name == "html":
        # Imported here, so that the other formats do not load the page and its template.
        from .page import render_page

        return render_page(report) + "\n"
    if name == "csv":
        return format_csv(report["virtual_keys"])
    if name == "json":
        return json.dumps(report, indent=4, sort_keys=True) + "\n"
    return "".join(f"{line}\n" for line in format_report(report))
