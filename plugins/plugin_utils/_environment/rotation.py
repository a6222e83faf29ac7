# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replace the keys of a lab environment by keys with new secrets.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .._errors import UserError
from .._keys.model import DesiredKey, ObservedKey
from .members import Member
from .messages import listed
from .request import ALL_USERS, Request


def may_replace(key: DesiredKey) -> bool:
    """Return whether an existing key may be replaced by one with another secret."""
    return key.regenerate != "never" or key.rotate is not None


def check_rotation(request: Request, members: Sequence[Member], found: Iterable[ObservedKey]) -> None:
    """Check that it is certain whose keys are replaced, and that they exist.

    :param found: the observed keys of the environment.
    :raises UserError: otherwise.
    """
    existing = {str(key.final_alias) for key in found if not key.is_previous}
    missing = [member.user or request.guid for member in members if member.alias not in existing]
    if missing or not members:
        whose = f" of {listed(missing)}" if request.users else ""
        raise UserError(
            f"There is no virtual key{whose} in environment {request.guid} to replace; check guid and users, or create "
            f"it ({request.wording.operation('provision')})"
        )
    if len(members) > 1 and not request.options["users"]:
        users = [member.user for member in members if member.user]
        raise UserError(
            f"Environment {request.guid} has {len(members)} virtual keys, and no user is named. Name the users whose "
            f"keys are replaced ({request.wording.setting('users', users[0])}), or replace all keys "
            f"({request.wording.setting('users', ALL_USERS)}); the users are {listed(users)}"
        )
