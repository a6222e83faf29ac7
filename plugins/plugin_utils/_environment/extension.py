# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Extend the keys of a lab environment.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from .._errors import UserError
from .._keys.durations import Duration
from .._keys.model import DesiredKey, Lifetime, ObservedKey
from .._keys.outcome import Outcome
from .members import Member
from .messages import users_without_key
from .records import SavedKey
from .request import Request

Warn = Callable[[str], None]


def extended_by(
    desired: Sequence[DesiredKey], by: Duration, found: Iterable[ObservedKey], now: datetime, warn: Warn
) -> list[DesiredKey]:
    """Return the keys with expiries that are this much later than now, or than their present ones if these are later.

    :param found: the observed keys of the environment.
    """
    # A key that is to replace another one does not count while the other one exists.
    current = [key for key in found if not key.is_previous]
    observed = {str(key.final_alias): key for key in sorted(current, key=lambda key: key.alias == key.final_alias)}
    extended = []
    for one in desired:
        key = observed.get(str(one.alias))
        if key and key.expires is None:
            warn(f"Virtual key {one.name} is not extended, because it never expires")
            extended.append(replace(one, lifetime=None))
            continue
        start = max(now, key.expires) if key and key.expires else now
        extended.append(replace(one, lifetime=Lifetime(by.after(start), shorten=False)))
    return extended


def without_deleted(
    request: Request,
    outcomes: Sequence[Outcome],
    known: Iterable[SavedKey],
    members: Sequence[Member],
    warn: Warn,
) -> list[Outcome]:
    """Leave out the keys that an extension did not find: they were deleted on purpose, or were never provisioned.

    A key whose secret was saved without its settings may have expired and cannot be recreated, which is an error.

    :param members: the keys of the environment that existed before.
    :raises UserError: if there is no other key.
    """
    known = list(known)
    provision = request.wording.operation("provision")
    deleted = {key.alias for key in known if key.was_deleted or key.settings is not None}
    without_settings = {key.alias for key in known} - deleted
    for outcome in outcomes:
        name = outcome.desired.name
        if outcome.operation == "absent" and not outcome.error and name in without_settings:
            outcome.error = (
                f"Virtual key {name} does not exist and cannot be recreated, because its settings were not saved. "
                f"Provision it ({provision})"
            )
    missing = [outcome for outcome in outcomes if outcome.operation == "absent" and not outcome.error]
    if len(missing) == len(outcomes):
        raise UserError(nothing_to_extend(request, members))
    if missing:
        warn(
            "Not extended, because they were deleted before they expired or never existed: "
            f"{', '.join(outcome.desired.name for outcome in missing)}. "
            f"Provision them to create them again ({provision})"
        )
    return [outcome for outcome in outcomes if outcome.operation != "absent" or outcome.error]


def nothing_to_extend(request: Request, members: Sequence[Member]) -> str:
    """Return the error message for an environment without keys, or without keys of the named users.

    :param members: the keys of the environment that exist.
    """
    if members and request.users:
        return users_without_key(request, request.users, [one.user for one in members if one.user])
    return (
        f"There is no virtual key of environment {request.guid} to extend: none exists, and none was saved that has "
        f"expired. Provision it ({request.wording.operation('provision')})"
    )
