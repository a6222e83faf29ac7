# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What users and operators read.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from .._keys.durations import DurationError, human, parse, parse_instant
from .._keys.result import unusable_key
from .._keys.rotation import Rotation
from .._text import Wording, printable
from .request import OPERATIONS, Request
from .user_data import DOCLING_ENDPOINT, DOCLING_MODEL

Entry = Mapping[str, Any]


def provision_messages(
    request: Request,
    entries: Sequence[Entry],
    base_url: str,
    docling: Mapping[str, str],
    now: datetime,
    *,
    check_mode: bool = False,
) -> list[str]:
    """Return the messages to the user after a provision or a rotation."""
    options, first = request.options, entries[0]
    if request.is_multi_user:
        number = f"{len(entries)} virtual key{'s' if len(entries) > 1 else ''}"
        are_new = all(entry["operation"] in ("created", "regenerated") for entry in entries) and not check_mode
        verb = "Created" if request.operation == "provision" else "Replaced"
        key = f"{verb} {number}" if are_new else f"Virtual Keys: {len(entries)}"
    elif not options["display_key"]:
        key = "LiteLLM Virtual Key: in the lab guide"
    else:
        key = f"LiteLLM Virtual Key: {first['key'] or '(not created in check mode)'}"
    return [
        f"LiteLLM API Endpoint: {base_url}",
        key,
        f"Available Models: {', '.join(first['models'] or ()) or 'all'}",
        f"Key Duration: {first['duration'] or 'unlimited'}",
        f"Key Expires: {first['expires'] or 'never'}",
        *_docling_messages(docling),
        *unusable(entries, now, request.wording),
        *_lines(options["user_messages"]),
    ]


def _docling_messages(docling: Mapping[str, str]) -> list[str]:
    if not docling:
        return []
    return [
        f"Docling Endpoint: {docling[DOCLING_ENDPOINT]}",
        f"Docling Model: {docling[DOCLING_MODEL]}",
    ]


def _lines(value: Any) -> list[str]:
    return [str(line) for line in ([value] if isinstance(value, str) else value or ())]


def extension_messages(entries: Sequence[Entry], now: datetime, wording: Wording) -> list[str]:
    """Return the messages to the user after an extension."""
    return [_extension_message(entries[0]), *unusable(entries, now, wording)]


def _extension_message(entry: Entry) -> str:
    length, until = entry["duration"], entry["expires"]
    with contextlib.suppress(DurationError):
        length = human(parse(length)) if length else "unlimited"
    return f"LiteLLM Virtual Key extended to {length}, until {until or 'it is deleted'}"


def unusable(entries: Sequence[Entry], now: datetime, wording: Wording) -> list[str]:
    """Return a sentence for each key that the proxy refuses although it exists."""
    return [problem for entry in entries if entry.get("key_id") and (problem := unusable_key(entry, now, wording))]


def nothing_extended(entries: Sequence[Entry]) -> str:
    """Return the report of an extension that changed nothing."""
    until = entries[0]["expires"] if entries else None
    return f"Nothing is extended: the virtual keys already live that long, until {until or 'they are deleted'}"


def nothing_rotated(entries: Sequence[Entry], rotation: Rotation | None, now: datetime) -> str:
    """Return the report of a rotation by age that replaced nothing."""
    are_young = all(is_too_young(entry, rotation, now) for entry in entries)
    reason = (
        "Nothing is rotated: no virtual key is old enough"
        if are_young
        else "Nothing is rotated: no virtual key can be rotated now"
    )
    ends = previous_ends(entries)
    return f"{reason}, and previous secrets work until {ends[-1] or 'they are deleted'}" if ends else reason


def is_too_young(entry: Entry, rotation: Rotation | None, now: datetime) -> bool:
    """Return whether a key is certainly not old enough for a rotation."""
    created_at = entry["created_at"]
    return bool(rotation and created_at and not rotation.is_due(parse_instant(created_at), now))


def previous_ends(entries: Sequence[Entry]) -> list[str | None]:
    """Return until when the secrets work that were replaced because of their age, the last one last. None is for ever.

    Another client can remove the expiry of a key.
    """
    ends = {entry["previous"]["expires"] for entry in entries if entry.get("previous")}
    return sorted(ends, key=lambda end: (end is None, end and parse_instant(end)))


def unknown_operation(operation: str) -> str:
    """Return the report for a value of ACTION that this collection ignores."""
    return printable(f"Nothing to do for ACTION '{operation}'; supported are {', '.join(OPERATIONS)}")


def not_blocked(wording: Wording) -> str:
    """Return the report of a stop or start that does not concern the keys."""
    setting = wording.setting("block_on_stop", "true")
    return f"The virtual keys are left as they are; with {setting}, stop blocks and start unblocks them"


def no_keys(guid: str) -> str:
    """Return the report for an environment without keys."""
    return f"There is no virtual key of environment {guid}"


def users_without_key(request: Request, missing: Sequence[str], users: Sequence[str]) -> str:
    """Return the report for named users without a key, in an environment that has other keys.

    :param users: the users who have a key.
    """
    having = f"its users are {listed(users)}" if users else "its only key has no user"
    return (
        f"There is no virtual key of {listed(missing)} in environment {request.guid}; {having}. Correct the names, or "
        f"create the keys ({request.wording.operation('provision')})"
    )


def no_access_to_database(key_ids: Sequence[str], collection: str, url_option: str) -> str:
    """Return the error for rows that cannot be deleted through the pod of the database."""
    return (
        f"Cannot delete the database rows of the keys that LiteLLM did not delete ({', '.join(key_ids)}): the "
        f"collection {collection} is not installed on the controller. Install it, or set {url_option}"
    )


def listed(names: Sequence[str]) -> str:
    """Return the names, the first ten if there are many."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def other_keys(request: Request, aliases: Sequence[str]) -> str:
    """Return the warning about keys of the environment that an operation does not include."""
    return (
        f"Environment {request.guid} has other virtual keys that this {request.operation} does not include: "
        f"{listed(aliases)}. They stay active; delete them with {request.wording.operation('destroy')}, for the whole "
        "environment or with their users"
    )


def secret_unknown(alias: str, user_data_file: str, wording: Wording) -> str:
    """Return the error message for a key whose secret is not among the saved ones."""
    directory = "" if wording.in_playbook else " (output_dir)"
    return (
        f"Virtual key {alias} exists, but its secret is not known: LiteLLM returns a secret only at creation, and "
        f"{user_data_file} does not contain it. Run in the directory where the key was created{directory}, delete the "
        f"key first ({wording.operation('destroy')}), use another guid, derive secrets from a "
        f"{wording.option('key_seed')} from the start, or replace the key "
        f"({wording.setting('regenerate', 'if_unrecoverable')})"
    )
