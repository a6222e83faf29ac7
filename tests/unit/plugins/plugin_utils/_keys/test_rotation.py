# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a key is replaced because of its age: the option `rotate`."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import Duration
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.rotation import Rotation, parse_rotation

NOW = datetime(2026, 11, 23, 8, tzinfo=timezone(timedelta(0)))
MONTH, DAY = Duration(30, "d"), Duration(24, "h")


@pytest.mark.parametrize(
    ("value", "rotation"),
    [
        (None, None),
        ({}, None),
        ({"every": "", "overlap": ""}, None),
        ({"every": None}, None),
        ({"every": "30d"}, Rotation(MONTH, DAY)),
        ({"every": "30d", "overlap": ""}, Rotation(MONTH, DAY)),
        ({"every": "30 days", "overlap": "36h"}, Rotation(MONTH, Duration(36, "h"))),
        ({"every": "1mo", "overlap": "27d"}, Rotation(Duration(1, "mo"), Duration(27, "d"))),
        ({"every": "32d", "overlap": "1mo"}, Rotation(Duration(32, "d"), Duration(1, "mo"))),
        ({"every": "1s", "overlap": 0}, Rotation(Duration(1, "s"), None)),
        ({"every": "1s", "overlap": "0"}, Rotation(Duration(1, "s"), None)),
        ({"every": "1s", "overlap": " 0 h"}, Rotation(Duration(1, "s"), None)),
    ],
)
def test_a_rotation(value, rotation):
    assert parse_rotation(value) == rotation


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("30d", "rotate must be a dictionary like {every: 30d, overlap: 24h}, but is '30d'"),
        ({"every": "30d", "overlp": "1h"}, "rotate contains 'overlp'; it can contain every and overlap"),
        ({"overlap": "1h"}, "rotate.every is missing; set how old a secret can become, such as 30d"),
        ({"every": 0}, "rotate.every: 0 is not a duration: it must be more than zero"),
        ({"every": "0.0"}, "rotate.every: '0.0' is not a duration: it must be more than zero"),
        ({"every": 30}, "rotate.every: 30 has no unit; write 30h for hours or 30d for days"),
        ({"every": "0d"}, "rotate.every: '0d' is not a duration: it must be more than zero"),
        ({"every": "30d", "overlap": "soon"}, "rotate.overlap: 'soon' is not a duration"),
        ({"every": "30d", "overlap": "-1h"}, "rotate.overlap: '-1h' is not a duration: it must be more than zero"),
        (
            {"every": "30d", "overlap": "30d"},
            "rotate.overlap is 30d but must be shorter than rotate.every, which is 30d",
        ),
        (
            {"every": "2h"},
            "rotate.overlap is 24h, which is the default, but must be shorter than rotate.every, which",
        ),
        ({"every": "1mo", "overlap": "28d"}, "rotate.overlap is 28d but must be shorter than rotate.every"),
        ({"every": "31d", "overlap": "1mo"}, "rotate.overlap is 1mo but must be shorter than rotate.every"),
    ],
)
def test_an_invalid_rotation(value, message):
    with pytest.raises(OptionError) as error:
        parse_rotation(value)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(("age", "is_due"), [(29, False), (30, True), (31, True)])
def test_a_key_is_due_from_the_age_on(age, is_due):
    assert Rotation(MONTH, None).is_due(NOW - timedelta(days=age), NOW) == is_due
