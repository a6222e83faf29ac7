# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters for durations and instants, as functions and in templates."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from ansible.errors import AnsibleError, AnsibleFilterError, AnsibleUndefinedVariable
from ansible_collections.rhpds.litellm_virtual_keys.plugins.filter.durations import FilterModule
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse_instant

FILTERS = FilterModule().filters()
START = "2026-02-01T00:00:00Z"


@pytest.mark.parametrize(
    ("name", "value", "arguments", "expected"),
    [
        ("duration", 168, {}, "168h"),
        ("duration", "7", {"unit": "d"}, "7d"),
        ("duration", timedelta(hours=36), {}, "36h"),
        ("duration_seconds", "7 days", {}, 604800),
        ("duration_seconds", 1, {"unit": "m"}, 60),
        ("duration_seconds", "1mo", {"start": START}, 28 * 86400),
        ("duration_hours", "7d", {}, 168),
        ("duration_hours", "90m", {}, 1.5),
        ("duration_hours", "1mo", {"start": START}, 28 * 24),
        ("duration_human", "168h", {}, "7 days"),
        ("duration_human", 1.5, {"unit": "d"}, "1 day 12 hours"),
        ("duration_until", "2026-02-08T00:00:00Z", {"now": START}, "7d"),
        ("duration_until", datetime(2026, 2, 1, 1), {"now": START}, "1h"),
        ("expires_at", "7d", {"start": START}, "2026-02-08T00:00:00Z"),
        ("expires_at", "1mo", {"start": datetime(2026, 1, 31)}, "2026-02-28T00:00:00Z"),
        ("expires_at", 7, {"start": START, "unit": "d"}, "2026-02-08T00:00:00Z"),
    ],
)
def test_results(name, value, arguments, expected):
    result = FILTERS[name](value, **arguments)
    assert result == expected
    assert type(result) is type(expected)


def test_the_default_start_is_now():
    assert FILTERS["duration_seconds"]("1mo") in {days * 86400 for days in (28, 29, 30, 31)}
    end = FILTERS["expires_at"]("1h")
    assert FILTERS["duration_until"](end) in {"1h", "3599s", "3598s"}
    assert (parse_instant(end) - parse_instant(FILTERS["expires_at"]("30m"))) <= timedelta(minutes=30)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        *(
            (name, {}, "'1y' is not a duration: LiteLLM has no unit for years; write 365d or 12mo")
            for name in FILTERS
            if name != "duration_until"
        ),
        ("duration_until", {}, "'1y' is not an instant: write it as 2026-11-30T08:00:00Z"),
    ],
)
def test_an_invalid_value_is_a_filter_error(name, arguments, message):
    with pytest.raises(AnsibleFilterError) as error:
        FILTERS[name]("1y", **arguments)
    assert str(error.value) == message
    assert error.value.__cause__ is None


@pytest.mark.parametrize(
    ("name", "value", "arguments", "message"),
    [
        ("duration_until", START, {"now": START}, "'2026-02-01T00:00:00Z' is in the past"),
        ("duration_until", START, {"now": "noon"}, "'noon' is not an instant"),
        ("expires_at", "7d", {"start": "noon"}, "'noon' is not an instant"),
        ("expires_at", "7d", {"start": "9999-12-31"}, "7d from 9999-12-31T00:00:00Z is after the year 9999"),
        ("duration_seconds", "1mo", {"start": ""}, "'' is not an instant"),
        ("duration", 7, {"unit": "M"}, "M could mean minutes or months"),
    ],
)
def test_an_invalid_argument_is_a_filter_error(name, value, arguments, message):
    with pytest.raises(AnsibleFilterError, match=message):
        FILTERS[name](value, **arguments)


# In templates, where ansible-core converts values


def test_values_from_yaml_and_from_the_command_line(template):
    text = "{{ runtime | rhpds.litellm_virtual_keys.duration }}"
    assert template(text, runtime="168") == "168h"
    assert template(text, runtime=168) == "168h"
    # A literal in a template is a tagged string in ansible-core 2.19 and later.
    assert template("{{ '1 day 12 hours' | rhpds.litellm_virtual_keys.duration }}") == "36h"


def test_the_difference_between_two_times(template):
    text = "{{ (later | to_datetime - sooner | to_datetime) | rhpds.litellm_virtual_keys.duration }}"
    assert template(text, later="2026-12-07 08:00:00", sooner="2026-11-30 08:00:00") == "7d"


def test_an_instant_that_yaml_converted_to_a_datetime(template):
    text = "{{ end | rhpds.litellm_virtual_keys.duration_until(now='2026-11-30') }}"
    assert template(text, end=datetime(2026, 12, 7)) == "7d"


def test_an_error_quotes_the_value_once(template):
    with pytest.raises(AnsibleError) as error:
        template("{{ '1y' | rhpds.litellm_virtual_keys.duration }}")
    assert str(error.value).count("'1y' is not a duration") == 1


@pytest.mark.parametrize("name", FILTERS)
def test_an_undefined_value_stays_undefined(template, name):
    filtered = f"nowhere | rhpds.litellm_virtual_keys.{name}"
    with pytest.raises(AnsibleUndefinedVariable, match="'nowhere' is undefined"):
        template("{{ " + filtered + " }}")
    assert template("{{ " + filtered + " | default('none') }}") == "none"


def test_an_undefined_argument_does_not_mean_now(template):
    with pytest.raises(AnsibleUndefinedVariable, match="'nowhere' is undefined"):
        template("{{ '7d' | rhpds.litellm_virtual_keys.expires_at(start=nowhere) }}")
