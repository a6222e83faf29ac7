# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The error messages of a plan: what failed and for which key, why, and what to do.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .._errors import LiteLLMError
from .._text import shorten
from .durations import format_instant
from .model import DesiredKey, ObservedKey
from .steps import Create, Delete, Rename, Retire, Step, Update

_VERBS: dict[type, str] = dict.fromkeys((Rename, Retire, Delete), "replace") | {Create: "create", Update: "update"}
_DELETE_FIRST = "delete the key first (state: absent; with the role, ACTION: destroy)"


def failure(desired: DesiredKey, step: Step | None, error: LiteLLMError) -> str:
    """Return what failed, why, and what to do."""
    verb = _VERBS.get(type(step), "update") if desired.present else "delete"
    advice = ". Correct the options that it refuses"
    if error.transient:
        advice = ". Run again"
    elif (error.status or 500) >= 500:
        advice = ". Run again, and if it fails again, check the log of the proxy"
    elif error.refuses_route:
        advice = ""  # the error itself says what to do
    elif isinstance(step, Create | Rename | Retire) and step.alias != desired.alias and "already exists" in str(error):
        way_out = f"If no other run is active, delete key {step.alias}, which is in the way, or give it another alias"
        advice = f". {way_out}"
    return f"Cannot {verb} virtual key {desired.name}: {str(error).rstrip('.')}{advice}"


def unknown_age(name: str) -> str:
    """Return the warning about a key that is not replaced, because the proxy does not return its age."""
    return (
        f"Virtual key {name} is not rotated, because the proxy does not return when it was created. Replace it once "
        "(regenerate: always)"
    )


def endless_previous(name: str, previous: ObservedKey) -> str:
    """Return the warning about a key that is not replaced, because the overlap of the last rotation does not end."""
    return (
        f"Virtual key {name} is not rotated, because key {previous.alias}, which it has replaced, never expires. "
        "Delete that key by its alias (key_alias)"
    )


def no_such_id(desired: DesiredKey) -> str:
    return f"There is no virtual key with the id {desired.key_id}; check key_id, or name the key by guid or key_alias"


def foreign(desired: DesiredKey, key: ObservedKey) -> str:
    guid = (key.value("metadata") or {}).get("guid")
    if guid is None:
        return (
            f"Virtual key {desired.name} is not changed, because its metadata contain no guid, so it may belong to "
            f"another environment than {desired.owner}. Add the guid to its metadata, or use another user name"
        )
    guid = shorten(str(guid))
    return (
        f"Virtual key {desired.name} is not changed, because it belongs to environment {guid} and not to "
        f"{desired.owner}. Use another user name or guid"
    )


def not_applied(name: str, wanted: Any, found: Any) -> str:
    """Return which part of a setting the proxy did not store: it ignores, for example, unknown MCP servers."""
    if not isinstance(wanted, Mapping) or not isinstance(found, Mapping):
        return f"{name} is {shorten(repr(found))}"
    parts = [
        f"{part} of {name} is {shorten(repr(found.get(part)))} instead of {shorten(repr(value))}"
        for part, value in wanted.items()
        if found.get(part) != value
    ]
    return ", ".join(parts) or f"{name} is {shorten(repr(found))}"


def secret_mismatch(desired: DesiredKey, key: ObservedKey) -> str:
    return (
        f"Virtual key {desired.name} exists with another secret than the given one "
        f"(it is {shorten(key.key_name or key.key_id)}). Pass its secret, {_DELETE_FIRST}, "
        "or replace the key (regenerate: if_unrecoverable)"
    )


def secret_unknown(desired: DesiredKey) -> str:
    return (
        f"Virtual key {desired.name} exists, but its secret is not known: LiteLLM returns a secret only at creation. "
        f"Pass the secret as key, {_DELETE_FIRST}, use another guid, derive secrets from a key_seed from the start, "
        "or replace the key (regenerate: if_unrecoverable)"
    )


def secret_lost(desired: DesiredKey) -> str:
    return (
        f"Virtual key {desired.name} was created, but its secret was lost with the response, because the proxy "
        "generates secrets itself. Run again with regenerate: if_unrecoverable"
    )


def not_recreatable(desired: DesiredKey) -> str:
    return (
        f"Virtual key {desired.name} does not exist and cannot be recreated, because its secret is not known. "
        "It may have been deleted after it expired. Provision it again (with the role, ACTION: provision), or create "
        "it with a new secret (regenerate: if_unrecoverable)"
    )


def same_secret(desired: DesiredKey) -> str:
    return (
        f"Virtual key {desired.name} cannot be regenerated with the secret that it already has. "
        "Pass another key, or another key_version"
    )


def older_secret(desired: DesiredKey) -> str:
    return (
        f"Virtual key {desired.name} has the secret of a later key_version, and would be replaced by one with an older "
        "secret. Set key_version to a number that was not used before"
    )


def unfinished_replacement(name: str, successor: ObservedKey, *, rotates: bool = False) -> str:
    """Return the warning about a replacement that another run has not finished.

    :param rotates: keys are replaced because of their age.
    """
    advice = "replace the key again (regenerate)"
    if rotates or successor.previous_id:
        advice = "the next rotation finishes it when that key is 15 minutes old"
    return (
        f"Another run has started to replace virtual key {name} and has not finished: key {successor.alias} exists. If "
        f"no run is active, {advice}"
    )


def not_proven(name: str, key: ObservedKey) -> str:
    """Return the warning about a key that is not deleted, because it may belong to somebody else."""
    end = f"expires at {format_instant(key.expires)}" if key.expires else "never expires"
    return (
        f"Key {key.alias} is not deleted, because nothing proves that virtual key {name} has replaced it; it {end}. If "
        "it is yours, delete it by its alias (key_alias)"
    )


def expired(desired: DesiredKey, expires: datetime) -> str:
    return (
        f"Virtual key {desired.name} expired at {format_instant(expires)}, and a replacement would expire at the same "
        "time. Set its lifetime (duration, runtime or expires_at)"
    )


def end_in_the_past(desired: DesiredKey, end: datetime) -> str:
    return f"Virtual key {desired.name} cannot expire at {format_instant(end)}, which is in the past; set a later time"


def custom_secret_refused(desired: DesiredKey) -> str:
    source = "its saved secret"
    if desired.secret:
        source = "key" if desired.secret.source == "given" else "key_seed"
    return (
        f"Virtual key {desired.name} cannot be created with {source}, because the proxy accepts only secrets that it "
        "generates itself (disable_custom_api_keys)"
    )
