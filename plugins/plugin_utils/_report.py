# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is to say of keys, which of them nobody needs any more, and both as a person reads them. Pure functions.

A key is here an entry of the result of `litellm_key_info`.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import (
    Duration,
    format_instant,
    from_seconds,
    human,
    parse_instant,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError, printable

Json = dict[str, Any]
Key = Mapping[str, Any]
Guids = frozenset[str]

# What can be found about a key, the most urgent first; as it is told of one key, and of so many.
FINDINGS = {
    "expired": ("expired", "expired"),
    "ends_soon": ("ends soon", "ending within {soon}"),
    "blocked": ("blocked", "blocked"),
    "over_budget": ("budget spent", "with the budget spent"),
    "near_budget": ("budget nearly spent", "with the budget nearly spent"),
    "duplicate": ("duplicate", "with the alias of another"),
    "orphaned": ("orphaned", "orphaned"),
    "never_expires": ("never expires", "without an end"),
}
# Those for which keys can be swept away.
SWEPT = ("expired", "orphaned")

# From this part of the budget on it is nearly spent.
_NEARLY = 0.8
_HEADINGS = ("KEY", "STATUS", "ENDS", "SPENT", "USER", "MODELS", "FINDINGS")
_MODELS_IN_TABLE = 3
# The variables of the playbook are named, which is where a person sees it.
_WHICH_GUIDS = "the guids of the environments that there are (report_guids or report_guids_file)"
# What is in no guid, but in a list of them that is written in another way than the one which is read here.
_NO_GUID = re.compile(r"""["'\[\]{}:=]""")


def parse_guids(given: Any) -> Guids | None:
    """The guids of the environments that there are: a list, or a text with commas or new lines between them.

    In a text `#` begins a remark. Lists may hold lists and texts. None is nothing given, in a list as well.

    :raises OptionError: for anything else, and for no guid at all: then every key would seem to be orphaned.
    """
    parts = [part for part in _flat(given) if part is not None]
    if not parts:
        return None
    names = frozenset(name for part in parts for name in _names(part))
    if not names:
        raise OptionError("The list of guids is empty, so that every key would seem to be orphaned")
    return names


def report(
    keys: Sequence[Key],
    now: datetime,
    *,
    soon: Duration,
    guids: Guids | None = None,
    api_endpoint: str | None = None,
) -> Json:
    """The keys with what is found about each, those that end first before the others, and how many there are.

    :param soon: what ends within this time ends soon.
    :param guids: the environments that there are; None if that is not known.
    """
    aliases = Counter(key["key_alias"] for key in keys)
    found, with_key = [], set[str]()
    for key in sorted(keys, key=_end_and_alias):
        environments = None if guids is None else _environments(key, guids)
        findings = _findings(key, now, now + timedelta(seconds=soon.seconds(now)), environments)
        if key["key_alias"] is not None and aliases[key["key_alias"]] > 1:
            findings.add("duplicate")
        with_key.update(environments or ())
        found.append({**key, "guid": _guid(key), "findings": [name for name in FINDINGS if name in findings]})
    totals = {
        "keys": len(found),
        "active": sum(key["status"] == "active" for key in found),
        **{name: sum(name in key["findings"] for key in found) for name in FINDINGS},
        "spend": math.fsum(key["spend"] or 0 for key in found),
    }
    return {
        "now": format_instant(now),
        "api_endpoint": api_endpoint,
        "soon": str(soon),
        "virtual_keys": found,
        "totals": totals,
        "guids_without_key": None if guids is None else sorted(guids - with_key),
        "summary": _summary(totals, soon),
    }


def sweep(
    keys: Sequence[Key],
    now: datetime,
    choice: Any,
    *,
    guids: Guids | None = None,
    expired_for: Duration | None = None,
    at_most: int = 100,
    among: Sequence[Key] | None = None,
) -> Json:
    """Which keys are to be removed, or why none.

    :param choice: for which reasons: a list, or a text with commas between them.
    :param expired_for: keys that have expired more recently stay.
    :param at_most: more keys are not removed, since they may come from a wrong list of guids.
    :param among: other keys stay, though there is a reason.
    :raises OptionError: for an unknown reason.
    """
    chosen = _choice(choice)
    deadline = now if expired_for is None else now - timedelta(seconds=expired_for.seconds(now))
    by_reason: dict[str, list[Json]] = {name: [] for name in SWEPT}
    for key in sorted(keys, key=_end_and_alias):
        ended = key["expires"] is not None and parse_instant(key["expires"]) <= deadline
        orphaned = guids is not None and _is_orphan(key, _environments(key, guids))
        reasons = [name for name, holds in zip(SWEPT, (ended, orphaned), strict=True) if holds]
        for name in reasons:
            by_reason[name].append({**key, "guid": _guid(key), "findings": reasons})
    going = {key["key_id"]: key for name in chosen for key in by_reason[name]}
    ids = going if among is None else [key["key_id"] for key in among if key["key_id"] in going]
    return {
        "virtual_keys": [going[key_id] for key_id in ids],
        "kept": [key for key in among or () if key["key_id"] not in going],
        "removals": [{"key_id": key_id} for key_id in ids],
        "candidates": by_reason,
        "refusal": _refusal(keys, chosen, by_reason, guids, going, at_most),
    }


def table(keys: Sequence[Key], now: datetime) -> list[str]:
    """The keys as lines with columns; nothing if there are none. Findings have a column if there are any."""
    rows = [_HEADINGS, *(_row(key, now) for key in keys)]
    columns = [column for column in zip(*rows, strict=True) if column[0] != "FINDINGS" or any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    ]
    return lines if keys else []


def title(key: Key) -> str:
    """How a person calls the key."""
    return str(key["key_alias"] or key["key_name"] or key["key_id"])


def ending(expires: str | None, now: datetime) -> str:
    """When that is, seen from now: `in 3 hours`."""
    if not expires:
        return "never"
    left = parse_instant(expires) - now
    # To the hour, or to the minute on the last day: nobody reads seconds.
    grain = timedelta(hours=1) if abs(left) > timedelta(days=1) else timedelta(minutes=1)
    whole = abs(left) // grain * grain
    ago = "" if left > timedelta(0) else " ago"
    told = human(from_seconds(int(whole.total_seconds()))) if whole else "less than a minute"
    return f"{'in ' if not ago else ''}{told}{ago}"


def spent(key: Key) -> str:
    """How much was spent, and of how much."""
    told = f"{key['spend'] or 0:.2f}"
    return told if key["max_budget"] is None else f"{told} of {key['max_budget']:.2f}"


def _findings(key: Key, now: datetime, soon: datetime, environments: Collection[str] | None) -> set[str]:
    end = None if key["expires"] is None else parse_instant(key["expires"])
    spend, budget = key["spend"] or 0, key["max_budget"]
    over = budget is not None and spend >= budget  # which is when LiteLLM refuses
    found = {
        "expired": end is not None and end <= now,
        "ends_soon": end is not None and now < end <= soon,
        "blocked": bool(key["blocked"]),
        "over_budget": over,
        "near_budget": budget is not None and not over and spend >= _NEARLY * budget,
        "orphaned": environments is not None and _is_orphan(key, environments),
        "never_expires": end is None,
    }
    return {name for name, holds in found.items() if holds}


def _environments(key: Key, guids: Guids) -> set[str]:
    """Those of the guids that the key may belong to.

    In case of doubt it does: the keys of an environment's users have longer names, and not every key has the guid in
    its metadata. So a guid counts wherever it stands by itself in what the key is called.
    """
    called = "\n".join(str(told) for told in (_guid_in_metadata(key), key["guid"], key["key_alias"]) if told)
    return {
        guid
        for guid in guids
        if guid in called and re.search(rf"(?<![^\W_]){re.escape(guid)}(?![^\W_])", called)  # "in" alone is faster
    }


def _is_orphan(key: Key, environments: Collection[str]) -> bool:
    """A key is that has a guid, and none of the environments that there are."""
    return _guid(key) is not None and not environments


def _guid(key: Key) -> str | None:
    return _guid_in_metadata(key) or key["guid"] or None


def _guid_in_metadata(key: Key) -> str | None:
    guid = (key["metadata"] or {}).get("guid")
    if isinstance(guid, int) and not isinstance(guid, bool):
        return str(guid)
    # A text stays the one that it is: ansible-core before 2.19 marks those in which it must not find a template.
    return guid if isinstance(guid, str) and guid else None


def _refusal(
    keys: Sequence[Key],
    chosen: Sequence[str],
    by_reason: Mapping[str, Sequence[Key]],
    guids: Guids | None,
    going: Collection[str],
    at_most: int,
) -> str | None:
    if not chosen:
        expired, orphaned = (f"sweep={name} would remove {len(by_reason[name])}" for name in SWEPT)
        if guids is None:
            orphaned = f"sweep=orphaned needs {_WHICH_GUIDS}"
        return f"Nothing is chosen to be removed; {expired}, {orphaned}, and sweep={','.join(SWEPT)} is both"
    if "orphaned" in chosen:
        if guids is None:
            return f"To tell which keys are orphaned needs {_WHICH_GUIDS}"
        owned = [key for key in keys if _guid(key) is not None]
        if owned and len(by_reason["orphaned"]) == len(owned):
            return (
                f"None of the {len(guids)} guids that are given is that of a key, so that all {len(owned)} keys would "
                "be orphaned: this is hardly the list of the environments that there are"
            )
    if len(going) > at_most:
        return (
            f"{len(going)} keys would be removed, which is more than the {at_most} of sweep_at_most; "
            "look whether each of them is meant, and raise it"
        )
    return None


def _choice(given: Any) -> list[str]:
    words = given if isinstance(given, list | tuple) else re.split(r"[\s,]+", str(given or ""))
    chosen = [str(word) for word in words if word != ""]
    for word in chosen:
        if word not in SWEPT:
            raise OptionError(f"What is removed can be {' or '.join(SWEPT)}, but not {word!r}")
    return chosen


def _flat(given: Any) -> Iterator[Any]:
    """The parts of lists in lists; an empty list is an empty text, and not nothing."""
    if not isinstance(given, list | tuple):
        yield given
        return
    for part in given or ("",):
        yield from _flat(part)


def _names(part: Any) -> list[str]:
    if isinstance(part, bool) or not isinstance(part, str | int):
        raise OptionError(f"The list of guids has {part!r}, which is no guid")
    lines = [line.split("#")[0] for line in str(part).splitlines()]
    for line in lines:
        if _NO_GUID.search(line) or line.lstrip().startswith("- "):
            raise OptionError(f"The list of guids has the line {line.strip()[:60]!r}; write one guid on each line")
    return [name for line in lines for name in re.split(r"[\s,]+", line) if name]


def _end_and_alias(key: Key) -> tuple[bool, datetime | None, str]:
    end = None if key["expires"] is None else parse_instant(key["expires"])
    return end is None, end, str(key["key_alias"])


def _summary(totals: Mapping[str, Any], soon: Duration) -> str:
    if not totals["keys"]:
        return "There are no virtual keys"
    told = [f"{totals['active']} active"]
    told += [
        f"{totals[name]} {words.format(soon=human(soon))}" for name, (_one, words) in FINDINGS.items() if totals[name]
    ]
    keys = "1 virtual key" if totals["keys"] == 1 else f"{totals['keys']} virtual keys"
    return f"{keys}: {', '.join(told)}; {totals['spend']:.2f} spent"


def _row(key: Key, now: datetime) -> tuple[str, ...]:
    models = [str(model) for model in key["models"] or ()]
    more = len(models) - _MODELS_IN_TABLE
    cells = (
        title(key),
        str(key["status"]),
        ending(key["expires"], now),
        spent(key),
        str(key["user_id"] or "-"),
        ", ".join(models[:_MODELS_IN_TABLE]) + (f" and {more} more" if more > 0 else "") or "all",
        # Those that no other column tells.
        ", ".join(FINDINGS[one][0] for one in key.get("findings", ()) if one not in (key["status"], "never_expires")),
    )
    return tuple(map(printable, cells))
