# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Summarize virtual keys: the findings of each key, and totals. Pure functions.

A key is an entry of `virtual_keys` in the result of `litellm_key_info`.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from .._errors import OptionError
from .._keys.durations import Duration, format_instant, human, parse, parse_instant
from .._keys.model_names import unknown_models
from .._keys.result import budget_at
from .guids import Guids, fold

Json = dict[str, Any]
Key = Mapping[str, Any]


class Finding(NamedTuple):
    """How a finding is displayed.

    :ivar label: beside a key.
    :ivar summary: in the summary, after the number of keys.
    """

    label: str
    summary: str


# Most urgent first.
FINDINGS = {
    "expired": Finding("expired", "expired"),
    "ends_soon": Finding("ends soon", "ending within {soon}"),
    "blocked": Finding("blocked", "blocked"),
    "previous": Finding("previous secret", "with a previous secret"),
    "unknown_models": Finding("unknown model", "with unknown models"),
    "unreadable": Finding("unreadable data", "with unreadable data"),
    "over_budget": Finding("budget spent", "with the budget spent"),
    "near_budget": Finding("budget nearly spent", "with the budget nearly spent"),
    "duplicate": Finding("duplicate", "with a duplicate alias"),
    "orphaned": Finding("orphaned", "orphaned"),
    "possibly_orphaned": Finding("possibly orphaned", "possibly orphaned"),
    "never_expires": Finding("never expires", "without expiry"),
}

# The fraction of the budget from which it is nearly spent.
_NEAR_BUDGET = 0.8


def build_report(
    keys: Sequence[Key],
    now: datetime,
    *,
    soon: Duration,
    guids: Guids | None = None,
    api_endpoint: str | None = None,
    guid: str | None = None,
    ending_within: Duration | None = None,
    sort: str = "end",
    models: Collection[str] | None = None,
    shared_budgets: Sequence[Key] = (),
) -> Json:
    """Return the keys with their findings, and totals.

    :param soon: a key that expires within this time gets the finding `ends_soon`.
    :param guids: the guids of the existing environments; None if they are unknown.
    :param guid: leave out the keys of other environments.
    :param ending_within: leave out the keys that have expired, and those that expire later.
    :param sort: one of ORDERS.
    :param models: what the proxy serves; None if that is unknown.
    :param shared_budgets: the budgets that all keys of an environment share.
    :raises OptionError: for an unknown order.
    """
    if sort not in ORDERS:
        raise OptionError(f"Cannot sort keys by {sort!r}; choose {' or '.join(ORDERS)}")
    soon_end = now + timedelta(seconds=soon.seconds(now))
    aliases = Counter(key["key_alias"] for key in keys)
    entries: list[Json] = []
    guids_with_key: set[str] = set()
    for key in sorted(keys, key=expiry_order):
        environments = None if guids is None else matching_guids(key, guids)
        findings = _findings(key, now, soon_end, environments)
        if key["key_alias"] is not None and aliases[key["key_alias"]] > 1:
            findings.add("duplicate")
        guids_with_key.update(environments or ())
        if not _is_included(key, now, guid, ending_within):
            continue
        unknown = {} if models is None else unknown_models(map(str, key["models"] or ()), models)
        if unknown:
            findings.add("unknown_models")
        found = {"findings": [name for name in FINDINGS if name in findings], "unknown_models": unknown}
        entries.append({**key, "guid": guid_of(key), **found})
    entries.sort(key=ORDERS[sort])
    totals = {
        "keys": len(entries),
        "active": sum(entry["status"] == "active" for entry in entries),
        **{name: sum(name in entry["findings"] for entry in entries) for name in FINDINGS},
        "spend": math.fsum(entry["spend"] or 0 for entry in entries),
    }
    budgets = [one for one in shared_budgets if not guid or fold(str(one["guid"])) == fold(guid)]
    return {
        "now": format_instant(now),
        "api_endpoint": api_endpoint,
        "soon": str(soon),
        "virtual_keys": entries,
        "totals": totals,
        "environments": _sums(entries, "guid"),
        "users": _sums(entries, "user_id"),
        "shared_budgets": budgets,
        "checks_models": models is not None,
        "guids_without_key": None if guids is None else sorted(guids[one] for one in guids.keys() - guids_with_key),
        "summary": _summary(totals, soon) + _spent_budgets(budgets),
    }


def period(value: object) -> Duration | None:
    """Return the duration in an optional argument: None, an empty string and 0 stand for no duration.

    :raises OptionError: for any other value that is not a duration.
    """
    return None if value is None or value in ("", "0", 0) else parse(value)


def expiry_order(key: Key) -> tuple[bool, datetime | None, str]:
    """Return a sort key: earliest expiry first, keys that never expire last, then by alias."""
    expires = None if key["expires"] is None else parse_instant(key["expires"])
    return expires is None, expires, str(key["key_alias"])


def _by_spend(key: Key) -> float:
    return -(key["spend"] or 0)


# How the keys of a report can be sorted. Sorting is stable, so keys with the same spend are in the order of their ends.
ORDERS: dict[str, Callable[[Key], Any]] = {"end": expiry_order, "spend": _by_spend}


def _is_included(key: Key, now: datetime, guid: str | None, ending_within: Duration | None) -> bool:
    if guid and not _belongs_to(key, fold(guid)):
        return False
    if ending_within is None:
        return True
    expires = None if key["expires"] is None else parse_instant(key["expires"])
    return expires is not None and now < expires <= ending_within.after(now)


def _belongs_to(key: Key, guid: str) -> bool:
    """Return whether the key belongs to the environment: by its metadata, or else by its alias."""
    if named := _guid_in_metadata(key):
        return fold(named) == guid
    return fold(str(key["guid"] or "")) == guid or fold(str(key["guid"] or "")).startswith(f"{guid}-")


def _sums(entries: Sequence[Key], name: str) -> list[Json]:
    """Return the number of keys and the spend for each value of a field, highest spend first."""
    groups: dict[str | None, list[Key]] = {}
    for entry in entries:
        groups.setdefault(entry[name], []).append(entry)
    sums = [
        {name: value, "keys": len(group), "spend": math.fsum(entry["spend"] or 0 for entry in group)}
        for value, group in groups.items()
    ]
    return sorted(sums, key=lambda one: (-one["spend"], one[name] is None, str(one[name])))


def guid_of(key: Key) -> str | None:
    """Return the guid in the metadata of the key, or else the one in its alias."""
    return _guid_in_metadata(key) or key["guid"] or None


def matching_guids(key: Key, guids: Guids) -> set[str]:
    """Return the guids of the environments that the key may belong to, folded.

    A guid matches if it is a separate word in the alias or in the guid of the key. An exact comparison would not be
    safe: the aliases of the users of an environment are longer, and not every key has its guid in the metadata.
    """
    names = "\n".join(fold(str(name)) for name in (_guid_in_metadata(key), key["guid"], key["key_alias"]) if name)
    return {
        guid
        for guid in guids
        # The substring test is redundant, but much faster than the regular expression.
        if guid in names and re.search(rf"(?<![^\W_]){re.escape(guid)}(?![^\W_])", names)
    }


def orphaned_finding(key: Key, environments: Collection[str]) -> str | None:
    """Return the finding of a key that belongs to no existing environment: `orphaned` or `possibly_orphaned`.

    A guid in the metadata shows that the key was created for an environment. An alias alone does not: another key, for
    example of a service, can have an alias with the same prefix.

    :param environments: the result of `matching_guids`.
    """
    if environments or is_guid_unreadable(key):
        return None
    if _guid_in_metadata(key):
        return "orphaned"
    return "possibly_orphaned" if key["guid"] else None


def is_guid_unreadable(key: Key) -> bool:
    """Return whether the metadata could not be read: they may name an existing environment."""
    return "metadata" in key.get("unreadable", ())


def _findings(key: Key, now: datetime, soon_end: datetime, environments: Collection[str] | None) -> set[str]:
    expires = None if key["expires"] is None else parse_instant(key["expires"])
    spend, budget = key["spend"] or 0, budget_at(key, now)
    over_budget = budget is not None and spend >= budget  # the condition on which LiteLLM rejects the key
    conditions = {
        "expired": expires is not None and expires <= now,
        "ends_soon": expires is not None and now < expires <= soon_end and not is_previous(key),
        "previous": is_previous(key),
        "blocked": bool(key["blocked"]),
        "over_budget": over_budget,
        "near_budget": budget is not None and not over_budget and spend >= _NEAR_BUDGET * budget,
        "unreadable": bool(key.get("unreadable")),
        "never_expires": expires is None and "expires" not in key.get("unreadable", ()),
    }
    findings = {name for name, is_met in conditions.items() if is_met}
    if environments is not None and (orphaned := orphaned_finding(key, environments)):
        findings.add(orphaned)
    return findings


def is_previous(key: Key) -> bool:
    """Return whether another key has replaced this one, which works until its overlap ends."""
    return bool(key.get("is_previous"))


def _guid_in_metadata(key: Key) -> str | None:
    guid = key["metadata"].get("guid") if isinstance(key["metadata"], Mapping) else None
    if isinstance(guid, int) and not isinstance(guid, bool):
        return str(guid)
    # Do not copy a string with str(): that would remove the mark by which ansible-core before 2.19 recognizes strings
    # in which it must not evaluate templates.
    return guid if isinstance(guid, str) and fold(guid).strip() else None


def _summary(totals: Mapping[str, Any], soon: Duration) -> str:
    if not totals["keys"]:
        return "There are no virtual keys"
    keys = "1 virtual key" if totals["keys"] == 1 else f"{totals['keys']} virtual keys"
    counts = [f"{totals['active']} active"]
    counts += [
        f"{totals[name]} {finding.summary.format(soon=human(soon))}"
        for name, finding in FINDINGS.items()
        if totals[name]
    ]
    return f"{keys}: {', '.join(counts)}; {totals['spend']:.2f} spent"


def _spent_budgets(budgets: Sequence[Key]) -> str:
    """Return the end of the summary that names the environments whose shared budget is spent."""
    spent = [str(one["guid"]) for one in budgets if one["limit"] is not None and one["spent"] >= one["limit"]]
    return f"; shared budget spent: {', '.join(spent)}" if spent else ""
