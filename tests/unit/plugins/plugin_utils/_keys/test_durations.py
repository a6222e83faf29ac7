# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Durations and instants: valid and invalid values, and properties that hold for all of them."""

from __future__ import annotations

import math
import re
from datetime import date, datetime, timedelta, timezone

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import (
    Duration,
    DurationError,
    InstantError,
    format_instant,
    from_seconds,
    human,
    parse,
    parse_instant,
    parse_with_unit,
    until,
)
from hypothesis import assume, example, given
from hypothesis import strategies as st

UTC = timezone(timedelta(0))  # datetime.UTC is not in Python 3.10
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)

VALID = {
    # A number keeps its unit, also as text, which an extra variable is.
    168: "168h",
    1.5: "90m",
    0.25: "15m",
    1.1: "66m",
    24.0: "24h",
    "168": "168h",
    "1.5": "90m",
    # So does a single amount with its unit.
    "30d": "30d",
    "24h": "24h",
    "90m": "90m",
    "86400s": "86400s",
    "1mo": "1mo",
    "12mo": "12mo",
    "7 days": "7d",
    "48 hours": "48h",
    "1 hour": "1h",
    "1 Month": "1mo",
    "PT24H": "24h",
    "P1M": "1mo",
    "PT1M": "1m",
    # Not every release of LiteLLM supports weeks.
    "1w": "7d",
    "2 weeks": "14d",
    "P1W": "7d",
    "1.5w": "252h",
    # Anything else is written in the largest unit that fits.
    "1d12h": "36h",
    "1d 12h": "36h",
    "0d12h": "12h",
    "1w1d": "8d",
    "23h60m": "1d",
    "1.5h": "90m",
    "0.5d": "12h",
    "1 day 12 hours": "36h",
    "1 DAY, 12 Hours": "36h",
    "1hr 30mins": "90m",
    "2 hours 30 sec": "7230s",
    "P7D": "7d",
    "PT1H30M": "90m",
    "P1DT12H": "36h",
    "PT0.5H": "30m",
    "PT0,5H": "30m",
    timedelta(days=7): "7d",
    timedelta(hours=36): "36h",
    timedelta(seconds=61): "61s",
    str(timedelta(days=7)): "7d",
    str(timedelta(days=1, hours=12)): "36h",
    Duration(90, "m"): "90m",
    # YAML leaves white space around a folded string.
    " 30d\n": "30d",
}

HOW_TO_WRITE = "write a number, 7d, 36h, 1mo, '1 day 12 hours' or P7D"
INVALID = [
    ("", f"it is empty; {HOW_TO_WRITE}"),
    ("  ", f"it is empty; {HOW_TO_WRITE}"),
    (0, "it must be more than zero"),
    ("0", "it must be more than zero"),
    ("0s", "it must be more than zero"),
    ("0d 0h", "it must be more than zero"),
    (timedelta(0), "it must be more than zero"),
    # LiteLLM's own value for never.
    (-1, "it must be more than zero"),
    ("-1", "it must be more than zero"),
    ("-60s", "it must be more than zero"),
    ("1d-12h", "it must be more than zero"),
    ("1d-0.5h", "it must be more than zero"),
    (timedelta(days=-1), "it must be more than zero"),
    (str(timedelta(hours=-1)), "it must be more than zero"),
    ("1.5s", "it is not a whole number of seconds"),
    (1 / 3, "it is not a whole number of seconds"),
    (timedelta(milliseconds=1500), "it is not a whole number of seconds"),
    ("1y", "LiteLLM has no unit for years; write 365d or 12mo"),
    ("1Y", "LiteLLM has no unit for years; write 365d or 12mo"),
    ("2 years", "LiteLLM has no unit for years; write 365d or 12mo"),
    ("P1Y", "LiteLLM has no unit for years; write 365d or 12mo"),
    ("30M", "M could mean minutes or months; write m or mo"),
    ("30D", "the unit D is written d"),
    ("1MO", "the unit MO is written mo"),
    ("2 fortnights", "'fortnights' is not a unit; use mo, w, d, h, m, s, or the words for them"),
    ("1.5mo", "months have no fixed length, so they must be whole and cannot be combined; use days instead"),
    ("1mo 1d", "months have no fixed length, so they must be whole and cannot be combined; use days instead"),
    ("P1M1D", "months have no fixed length, so they must be whole and cannot be combined; use days instead"),
    ("12h1d", "units must go from the largest to the smallest, each at most once"),
    ("1d1d", "units must go from the largest to the smallest, each at most once"),
    (float("inf"), "it is not finite"),
    (float("nan"), "it is not finite"),
    ("inf", HOW_TO_WRITE),
    ("never", HOW_TO_WRITE),
    # Only LiteLLM 1.95 and later accept this.
    ("weekly", HOW_TO_WRITE),
    # LiteLLM parses a prefix of these, and ignores the rest.
    ("30d foo", HOW_TO_WRITE),
    ("1h30", HOW_TO_WRITE),
    ("7d;", HOW_TO_WRITE),
    ("1e3", HOW_TO_WRITE),
    ("1.12:30:00", HOW_TO_WRITE),
    ("1:90:00", HOW_TO_WRITE),
    ("12:30", HOW_TO_WRITE),
    ("1_000", HOW_TO_WRITE),
    ("٣d", HOW_TO_WRITE),
    ("P", HOW_TO_WRITE),
    ("PT", HOW_TO_WRITE),
    ("P7", HOW_TO_WRITE),
    ("P7DT", HOW_TO_WRITE),
    ("PT7days", HOW_TO_WRITE),
    (True, f"it is of type bool; {HOW_TO_WRITE}"),
    (None, f"it is of type NoneType; {HOW_TO_WRITE}"),
    (["7d"], f"it is of type list; {HOW_TO_WRITE}"),
    (b"7d", f"it is of type bytes; {HOW_TO_WRITE}"),
    ("99999999d", "it must not be longer than 7000 years"),
    ("99999999mo", "it must not be longer than 7000 years"),
    (1e300, "it must not be longer than 7000 years"),
]


@pytest.mark.parametrize(("value", "expected"), VALID.items(), ids=repr)
def test_valid_durations(value, expected):
    assert str(parse(value)) == expected


@pytest.mark.parametrize(("value", "reason"), INVALID, ids=repr)
def test_invalid_durations_are_refused_with_the_reason(value, reason):
    with pytest.raises(DurationError) as error:
        parse(value)
    assert str(error.value) == f"{value!r} is not a duration: {reason}"


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [(7, "d", "7d"), ("7", "days", "7d"), (1, "w", "7d"), (1, "mo", "1mo"), (1.5, "d", "36h"), ("30m", "d", "30m")],
)
def test_the_unit_of_a_number(value, unit, expected):
    assert str(parse(value, unit)) == expected


@pytest.mark.parametrize("unit", ["M", "y", "", "fortnights"])
def test_the_unit_is_checked_even_if_it_is_not_used(unit):
    with pytest.raises(DurationError, match="'7d' is not a duration"):
        parse("7d", unit)


@pytest.mark.parametrize("value", ["7d", "36h", "1mo", "7 days", "P7D", timedelta(days=7)], ids=repr)
def test_a_duration_with_a_unit(value):
    assert parse_with_unit(value) == parse(value)


@pytest.mark.parametrize(
    ("value", "number"), [(7, "7"), ("7", "7"), (" 7 ", "7"), (1.5, "1.5"), ("-1", "-1"), ("0.5", "0.5")]
)
def test_a_duration_without_a_unit_is_refused_where_a_unit_is_required(value, number):
    with pytest.raises(DurationError) as error:
        parse_with_unit(value)
    assert str(error.value) == f"{value!r} has no unit; write {number}h for hours or {number}d for days"


@pytest.mark.parametrize("value", ["1y", "", "soon", None, ["7d"], True, math.inf, math.nan], ids=repr)
def test_other_invalid_durations_are_refused_with_a_required_unit_too(value):
    with pytest.raises(DurationError, match="is not a duration"):
        parse_with_unit(value)


@pytest.mark.parametrize("seconds", [0, -1])
def test_zero_seconds_are_not_a_duration(seconds):
    with pytest.raises(DurationError, match=f"^{seconds} seconds is not a duration: it must be more than zero$"):
        from_seconds(seconds)


@pytest.mark.parametrize("longest", ["84000mo", "2556750d", "61362000h", "3681720000m", "220903200000s"])
def test_the_longest_durations(longest):
    duration = parse(longest)
    assert str(duration) == longest
    with pytest.raises(DurationError, match=r"^it must not be longer than 7000 years$"):
        Duration(duration.amount + 1, duration.unit)


def test_the_longest_text_and_the_longest_quotation():
    assert str(parse("1d".zfill(100))) == "1d"
    for value in ("1d".zfill(101), "x" * 10_000):
        with pytest.raises(DurationError) as error:
            parse(value)
        assert str(error.value) == f"{repr(value)[:100]}... is not a duration: it is longer than 100 characters"
    with pytest.raises(DurationError, match=f"^'{'x' * 98}' is not a duration"):
        parse("x" * 98)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("168h", "7 days"),
        ("36h", "1 day 12 hours"),
        ("90m", "1 hour 30 minutes"),
        ("86461s", "1 day 1 minute 1 second"),
        ("1mo", "1 month"),
        ("12mo", "12 months"),
    ],
)
def test_a_duration_in_words(value, expected):
    assert human(parse(value)) == expected


@pytest.mark.parametrize(
    ("value", "start", "expected"),
    [
        ("7d", "2026-11-30T12:00:00Z", "2026-12-07T12:00:00Z"),
        ("1mo", "2026-01-31T12:00:00Z", "2026-02-28T12:00:00Z"),
        ("1mo", "2028-01-31T12:00:00Z", "2028-02-29T12:00:00Z"),
        ("1mo", "2026-12-31T12:00:00Z", "2027-01-31T12:00:00Z"),
        ("11mo", "2026-01-15T00:00:00Z", "2026-12-15T00:00:00Z"),
        ("25mo", "2026-11-30T12:00:00Z", "2028-12-30T12:00:00Z"),
        # Months are counted in UTC, where it is still January.
        ("1mo", "2026-02-01T01:00:00+02:00", "2026-02-28T23:00:00Z"),
    ],
)
def test_the_instant_after_a_duration(value, start, expected):
    assert format_instant(parse(value).after(parse_instant(start))) == expected


@pytest.mark.parametrize("value", ["1000d", "36mo"])
def test_an_instant_after_the_calendar_is_an_error(value):
    with pytest.raises(DurationError, match=f"{value} from 9999-01-01T00:00:00Z is after the year 9999"):
        parse(value).after(datetime(9999, 1, 1, tzinfo=UTC))


def test_the_seconds_of_months_depend_on_the_start():
    assert repr(parse("1mo").seconds(datetime(2026, 2, 1, tzinfo=UTC))) == "2419200"  # 28 days, as an integer
    assert 28 * 86400 <= parse("1mo").seconds() <= 31 * 86400


def test_until_rounds_up_to_a_whole_second():
    assert str(until(NOON + timedelta(hours=1), NOON)) == "1h"
    assert str(until(NOON + timedelta(hours=1), NOON + timedelta(milliseconds=900))) == "1h"
    assert str(until(NOON, NOON - timedelta(microseconds=1))) == "1s"


@pytest.mark.parametrize("ago", [timedelta(0), timedelta(microseconds=1), timedelta(days=400)])
def test_until_an_instant_in_the_past_is_an_error(ago):
    with pytest.raises(InstantError, match="is in the past: it is not after 2026-11-30T12:00:00Z"):
        until(NOON - ago, NOON)


INSTANTS = {
    "2026-11-30T08:00:00Z": "2026-11-30T08:00:00+00:00",
    # The formats of LiteLLM (old and new), Go and PostgreSQL.
    "2026-11-30T08:00:00.123000Z": "2026-11-30T08:00:00.123000+00:00",
    "2026-11-30T08:00:00.123000+00:00": "2026-11-30T08:00:00.123000+00:00",
    "2026-11-30T08:00:00.123456789Z": "2026-11-30T08:00:00.123456+00:00",
    "2026-11-30 08:00:00.1+00": "2026-11-30T08:00:00.100000+00:00",
    "2026-11-30t08:00z": "2026-11-30T08:00:00+00:00",
    "2026-11-30T10:30:00+02:30": "2026-11-30T08:00:00+00:00",
    "2026-11-30T03:00:00-0500": "2026-11-30T08:00:00+00:00",
    # Without a time zone, it is UTC.
    "2026-11-30T08:00:00": "2026-11-30T08:00:00+00:00",
    "2026-11-30": "2026-11-30T00:00:00+00:00",
    # YAML converts an instant without quotes.
    datetime(2026, 11, 30, 8): "2026-11-30T08:00:00+00:00",
    datetime(2026, 11, 30, 10, tzinfo=timezone(timedelta(hours=2))): "2026-11-30T08:00:00+00:00",
    date(2026, 11, 30): "2026-11-30T00:00:00+00:00",
}


@pytest.mark.parametrize(("value", "expected"), INSTANTS.items(), ids=repr)
def test_valid_instants(value, expected):
    assert parse_instant(value).isoformat() == expected


@pytest.mark.parametrize(
    "value", ["", "tomorrow", "30.11.2026", "2026-11-30T8:00", "2026-11-30Z", 1796025600, None, True]
)
def test_invalid_instants_are_refused(value):
    with pytest.raises(InstantError) as error:
        parse_instant(value)
    assert str(error.value) == f"{value!r} is not an instant: write it as 2026-11-30T08:00:00Z"


@pytest.mark.parametrize(
    "value", ["2026-02-30", "2026-11-30T24:00:00Z", "2026-11-30T08:00:00+24:00", "9999-12-31T23:59:59-01:00"]
)
def test_a_date_or_time_that_does_not_exist_is_refused(value):
    with pytest.raises(InstantError) as error:
        parse_instant(value)
    assert str(error.value) == f"{value!r} is not an instant: there is no such date or time"


# Properties

seconds = st.integers(1, 7000 * 365 * 86400)
amounts = {"mo": 84_000, "d": 2_555_000, "h": 61_320_000, "m": 3_679_200_000, "s": 220_752_000_000}
durations = st.sampled_from(list(amounts)).flatmap(
    lambda unit: st.builds(Duration, st.integers(1, amounts[unit]), st.just(unit))
)
instants = st.datetimes(datetime(1970, 1, 1), datetime(2500, 1, 1), timezones=st.just(UTC))
texts = st.one_of(
    st.text(max_size=20),
    st.from_regex(
        r"-?[0-9]{0,9}\.?[0-9]{0,3} ?(mo|[smhdwyMDYPT]|days?|hours?|)( ?[0-9]{1,3}[smhdwo]{1,2})?", fullmatch=True
    ),
    st.from_regex(r"P([0-9]{1,3}[YMWD]){0,3}(T([0-9]{1,3}[HMS]){0,3})?", fullmatch=True),
)
anything = st.one_of(texts, st.integers(), st.floats(), st.booleans(), st.none(), st.timedeltas(), st.binary())

LITELLM_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@given(seconds)
def test_every_number_of_seconds_is_a_duration(desired):
    assert from_seconds(desired).seconds() == desired
    assert parse(f"{desired}s").seconds() == desired
    assert parse(timedelta(seconds=desired)) == from_seconds(desired)


@given(durations)
def test_a_written_duration_is_parsed_back(duration):
    assert parse(str(duration)) == duration
    assert parse(duration) == duration


@given(durations)
def test_a_duration_in_words_is_parsed_back(duration):
    assert parse(human(duration)).seconds(NOON.replace(year=2000)) == duration.seconds(NOON.replace(year=2000))


@given(seconds)
def test_seconds_are_written_in_the_largest_unit_that_fits(desired):
    written = from_seconds(desired)
    assert all(desired % size for size in LITELLM_SECONDS.values() if size > LITELLM_SECONDS[written.unit])


@given(anything, st.sampled_from(["mo", "w", "d", "h", "m", "s"]))
@example("1d12h", "h")
@example(10**400, "h")
def test_litellm_parses_every_duration_completely(value, unit):
    """LiteLLM's own parser ignores what follows a match (duration_parser.py, at least up to 1.106)."""
    try:
        duration = parse(value, unit)
    except DurationError:
        return
    match = re.fullmatch(r"(\d+)(mo|[smhd])", str(duration))
    assert match
    assert int(match[1]) > 0
    if match[2] != "mo":
        assert duration.seconds() == int(match[1]) * LITELLM_SECONDS[match[2]]


@given(durations, instants)
def test_the_time_until_an_end_is_the_duration(duration, start):
    try:
        end = duration.after(start)
    except DurationError:
        assume(False)
    assert until(end, start).seconds() == duration.seconds(start) == (end - start).total_seconds()


@given(st.datetimes(timezones=st.timezones() | st.none()))
def test_a_written_instant_is_parsed_back_to_the_second(instant):
    try:
        written = format_instant(instant)
    except OverflowError:
        assume(False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", written)
    read = parse_instant(written)
    assert format_instant(read) == written
    assert timedelta(0) <= parse_instant(instant) - read < timedelta(seconds=1)


@given(
    st.one_of(
        st.text(max_size=40),
        st.from_regex(
            r"[0-9]{4}-[01][0-9]-[0-3][0-9]([T ][0-9:.]{2,15}(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?", fullmatch=True
        ),
    )
)
def test_every_instant_is_in_utc(value):
    try:
        instant = parse_instant(value)
    except InstantError:
        return
    assert instant.utcoffset() == timedelta(0)
