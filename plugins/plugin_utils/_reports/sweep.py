# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Select the virtual keys that may be deleted. Pure functions.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from .._errors import OptionError
from .._keys.durations import Duration, parse_instant
from .guids import Guids
from .report import Json, Key, expiry_order, guid_of, is_guid_unreadable, matching_guids, orphaned_finding

# The findings that are a reason to delete a key. Each has to be chosen: `orphaned` does not include the keys that are
# only possibly orphaned.
REASONS = ("expired", "orphaned", "possibly_orphaned")

_MAX_QUOTED_LENGTH = 60


def plan_sweep(
    keys: Sequence[Key],
    now: datetime,
    choice: Any,
    *,
    guids: Guids | None = None,
    expired_for: Duration | None = None,
    at_most: int = 100,
    among: Sequence[Key] | None = None,
) -> Json:
    """Return the keys to delete, or the reason why none should be deleted.

    :param choice: the REASONS for which keys are deleted: a list, or a string with commas between them.
    :param guids: the guids of the existing environments; None if they are unknown.
    :param expired_for: keys that expired more recently are kept.
    :param at_most: refuse to delete more keys, because the list of guids may be wrong.
    :param among: keep all keys but these.
    :raises OptionError: for an unknown reason.
    """
    chosen = _parse_choice(choice)
    deadline = now if expired_for is None else now - timedelta(seconds=expired_for.seconds(now))
    candidates: dict[str, list[Json]] = {reason: [] for reason in REASONS}
    matched: set[str] = set()
    for key in sorted(keys, key=expiry_order):
        environments = None if guids is None else matching_guids(key, guids)
        matched.update(environments or ())
        is_expired = key["expires"] is not None and parse_instant(key["expires"]) <= deadline
        orphaned = None if environments is None else orphaned_finding(key, environments)
        reasons = [reason for reason in ("expired" if is_expired else None, orphaned) if reason]
        for reason in reasons:
            candidates[reason].append({**key, "guid": guid_of(key), "findings": reasons})
    selected = {key["key_id"]: key for reason in chosen for key in candidates[reason]}
    ids = selected if among is None else [key["key_id"] for key in among if key["key_id"] in selected]
    return {
        "virtual_keys": [selected[key_id] for key_id in ids],
        "kept": [key for key in among or () if key["key_id"] not in selected],
        "removals": [{"key_id": key_id} for key_id in ids],
        "candidates": candidates,
        "refusal": _refusal(keys, chosen, candidates, guids, matched, selected, at_most),
    }


def _refusal(
    keys: Sequence[Key],
    chosen: Sequence[str],
    candidates: Mapping[str, Sequence[Key]],
    guids: Guids | None,
    matched: Collection[str],
    selected: Collection[str],
    at_most: int,
) -> str | None:
    """Return why the selected keys should not be deleted, or None.

    The messages name the variables of the playbook cleanup_keys, because that is where users see them.
    """
    if not chosen:
        counts = [
            f"sweep={reason} would delete {len(candidates[reason])}"
            for reason in REASONS
            if reason == "expired" or guids is not None
        ]
        if guids is None:
            counts.append("sweep=orphaned also requires guids or guids_file")
        return (
            f"No keys are deleted because sweep is not set; {', '.join(counts)}; "
            "to choose several, separate them with commas"
        )
    if set(chosen) != {"expired"}:
        if guids is None:
            return "Cannot detect orphaned keys without the guids of the existing environments; set guids or guids_file"
        with_guid = sum(guid_of(key) is not None and not is_guid_unreadable(key) for key in keys)
        if with_guid and with_guid == len(candidates["orphaned"]) + len(candidates["possibly_orphaned"]):
            return (
                f"None of the specified guids ({len(guids)}) matches a key, so all {with_guid} keys with a guid look "
                "orphaned; check that the guids are those of the existing environments"
            )
        for folded, guid in guids.items():
            if not folded.isascii() and folded not in matched:
                return (
                    f"The listed guid {guid[:_MAX_QUOTED_LENGTH]!a} matches no key and may be misspelled: a similar "
                    "letter, or a wrong encoding, can cause such characters; correct it, or remove it from the list"
                )
    if len(selected) > at_most:
        return (
            f"{len(selected)} keys would be deleted, which is more than at_most ({at_most}); "
            "check the keys, and increase at_most if they are correct"
        )
    return None


def _parse_choice(value: Any) -> list[str]:
    parts = value if isinstance(value, list | tuple) else re.split(r"[\s,]+", str(value or ""))
    chosen = [str(part) for part in parts if part != ""]
    for reason in chosen:
        if reason not in REASONS:
            choices = f"{', '.join(REASONS[:-1])} or {REASONS[-1]}"
            raise OptionError(f"Cannot select {reason!r} keys for deletion; choose {choices}")
    return chosen
