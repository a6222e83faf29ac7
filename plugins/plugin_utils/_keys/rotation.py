# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a key is replaced because of its age, and how long the old secret works beside the new one. Pure functions.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .._errors import OptionError, naming
from .durations import Duration, parse_with_unit

DEFAULT_OVERLAP = "24h"
_NO_TIME = re.compile(r"0+\s*[a-z]*", re.IGNORECASE)
# The longest and the shortest month, in days: an overlap must end before the next rotation in any month.
_LONGEST_MONTH, _SHORTEST_MONTH = 31, 28


@dataclass(frozen=True)
class Rotation:
    """Replace a key whose secret is older than `every`. The old secret works until the overlap ends.

    :ivar overlap: None if the old secret is revoked at once.
    """

    every: Duration
    overlap: Duration | None

    def is_due(self, created_at: datetime, now: datetime) -> bool:
        """Return whether a key that was created at this time is old enough."""
        return self.every.after(created_at) <= now


def parse_rotation(value: Any) -> Rotation | None:
    """Return the rotation that an option `rotate` requests; None if it is not given.

    :raises OptionError: if it is not a dictionary of two durations, of which the overlap is the shorter one.
    """
    if not value:
        return None
    if not isinstance(value, Mapping):
        raise OptionError(f"rotate must be a dictionary like {{every: 30d, overlap: 24h}}, but is {value!r}")
    if unknown := sorted(str(name) for name in value if name not in ("every", "overlap")):
        raise OptionError(f"rotate contains '{unknown[0]}'; it can contain every and overlap")
    every, overlap = (None if value.get(name) == "" else value.get(name) for name in ("every", "overlap"))
    if every is None:
        if overlap is None:  # templates whose values are empty
            return None
        raise OptionError("rotate.every is missing; set how old a secret can become, such as 30d")
    rotation = Rotation(
        _duration("every", every),
        None if _NO_TIME.fullmatch(str(overlap).strip()) else _duration("overlap", overlap or DEFAULT_OVERLAP),
    )
    if rotation.overlap and _seconds(rotation.overlap, _LONGEST_MONTH) >= _seconds(rotation.every, _SHORTEST_MONTH):
        default = "" if overlap else ", which is the default,"
        raise OptionError(
            f"rotate.overlap is {rotation.overlap}{default} but must be shorter than rotate.every, which is "
            f"{rotation.every}: the old secret ends before the next rotation"
        )
    return rotation


def _duration(name: str, value: Any) -> Duration:
    with naming(f"rotate.{name}"):
        return parse_with_unit(value)


def _seconds(duration: Duration, days_in_a_month: int) -> int:
    return duration.amount * days_in_a_month * 86400 if duration.unit == "mo" else duration.seconds()
