# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a key should expire. The tests of plans cover the expiry of new, existing and replaced keys."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import (
    Duration,
    format_instant,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.lifetimes import (
    earlier_end,
    end_from,
    instant_of,
    is_later,
    resolve_lifetime,
    time_until,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import (
    DesiredKey,
    Lifetime,
    ObservedKey,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.steps import NEVER

NOW = datetime(2026, 11, 23, 8, tzinfo=timezone(timedelta(0)))
DAY = timedelta(days=1)
WEEK = Duration(7, "d")


@pytest.mark.parametrize(
    ("lifetime", "resolved"),
    [
        (None, None),
        (Lifetime(WEEK), Lifetime(WEEK)),
        (Lifetime(None, from_now=True), Lifetime(None, from_now=True)),
        (Lifetime(NOW, from_now=True), Lifetime(NOW, from_now=True)),
        (Lifetime(WEEK, from_now=True, shorten=False), Lifetime(NOW + 7 * DAY, shorten=False)),
    ],
)
def test_a_duration_from_now_becomes_an_instant(lifetime, resolved):
    assert resolve_lifetime(DesiredKey("a", lifetime=lifetime), NOW) == DesiredKey("a", lifetime=resolved)


@pytest.mark.parametrize(("end", "instant"), [(NEVER, None), (WEEK, NOW + 7 * DAY), (NOW + DAY, NOW + DAY)])
def test_an_end_as_an_instant(end, instant):
    assert instant_of(end, NOW) == instant


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (WEEK, NOW + 6 * DAY, True),
        (WEEK, NOW + 7 * DAY, False),
        (NOW + 6 * DAY, WEEK, False),
        (NEVER, WEEK, True),
        (WEEK, NEVER, False),
        (NEVER, NEVER, False),
    ],
)
def test_which_end_is_later(one, other, expected):
    assert is_later(one, other, NOW) is expected


@pytest.mark.parametrize(
    ("lifetime", "expires", "expected"),
    [
        (Lifetime(WEEK, shorten=False), NOW + 9 * DAY, NOW + 7 * DAY),
        (Lifetime(NOW - 9 * DAY, shorten=False), NOW + 9 * DAY, NOW - 9 * DAY),
        (Lifetime(WEEK, shorten=False), None, NOW + 7 * DAY),
        (Lifetime(WEEK, shorten=False), NOW + 7 * DAY, None),
        (Lifetime(WEEK, shorten=False), NOW + 3 * DAY, None),  # it is extended
        (Lifetime(None, shorten=False), NOW + 7 * DAY, None),
        (Lifetime(WEEK), NOW + 9 * DAY, None),
        (None, NOW + 9 * DAY, None),
    ],
    ids=str,
)
def test_the_expiry_to_which_a_key_is_not_shortened(lifetime, expires, expected):
    key = ObservedKey("0" * 64, "a", created_at=NOW, expires=expires)
    assert earlier_end(DesiredKey("a", lifetime=lifetime), key, NOW) == expected
    assert earlier_end(DesiredKey("a", lifetime=lifetime), None, NOW) is None


@pytest.mark.parametrize(
    ("end", "start", "expected"),
    [
        (WEEK, None, (WEEK, True)),
        (WEEK, NOW - DAY, (NOW + 6 * DAY, True)),
        (WEEK, NOW - 7 * DAY, (WEEK, False)),
        (NOW + DAY, NOW - 9 * DAY, (NOW + DAY, True)),
        (NEVER, NOW - 9 * DAY, (NEVER, True)),
    ],
)
def test_a_duration_that_has_passed_starts_again(end, start, expected):
    assert end_from(end, start, NOW) == expected


@pytest.mark.parametrize(
    ("remaining", "text"),
    [
        (timedelta(days=2, minutes=59), "in 2 days"),
        (timedelta(days=1, hours=1, minutes=59), "in 1 day 1 hour"),
        (timedelta(days=1, minutes=1), "in 1 day"),
        (timedelta(days=1), "in 1 day"),
        (timedelta(hours=23, minutes=59, seconds=59), "in 23 hours 59 minutes"),
        (timedelta(seconds=60), "in 1 minute"),
        (timedelta(seconds=59), "in less than a minute"),
        (timedelta(seconds=1), "in less than a minute"),
        (timedelta(0), "less than a minute ago"),
        (-timedelta(seconds=61), "1 minute ago"),
        (-timedelta(hours=23, minutes=1, seconds=30), "23 hours 1 minute ago"),
        (-timedelta(days=1, hours=1, minutes=1), "1 day 1 hour ago"),
    ],
)
def test_time_until_is_rounded_down_to_hours_after_a_day(remaining, text):
    assert time_until(format_instant(NOW + remaining), NOW) == text


def test_time_until_the_end_of_a_key_that_never_expires():
    assert time_until(None, NOW) == "never"
