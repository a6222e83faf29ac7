# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Save the secrets of new keys, or delete the keys again: no key stays whose secret nobody knows.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from .._errors import LiteLLMError, UserError
from .._keys.cleanup import delete_existing
from .._keys.durations import format_instant
from .._keys.outcome import Outcome
from .._keys.result import failure
from .._keys.secrets import Secret
from .._litellm.client import Client

Save = Callable[[Sequence[Outcome]], None]


def save_or_delete(client: Client, outcomes: Sequence[Outcome], save: Save | None) -> None:
    """Save user data. If a secret cannot be saved, delete its key again, so that the next run can create it anew.

    :param save: saves user data; None if that is switched off.
    """
    if save:
        try:
            save(outcomes)
        except UserError as error:
            delete_unsaved_keys(client, outcomes, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not lose a secret
            delete_unsaved_keys(client, outcomes, bug(error))
    elif any(outcome.error for outcome in outcomes):
        # The play ends without facts, and they would be the only place of the secrets.
        delete_unsaved_keys(client, outcomes, "saving user data is switched off, and not every key is as desired")


@contextlib.contextmanager
def delete_if_lost(client: Client, outcomes: Sequence[Outcome], *, is_saved: bool) -> Iterator[None]:
    """Delete new keys again if the result, which is the only place of their secrets, cannot be returned.

    :param is_saved: the secrets are saved, so they are not lost.
    :raises UserError: instead of an unexpected exception.
    """
    try:
        yield
    except BaseException as error:
        if is_saved:
            raise
        delete_unsaved_keys(
            client, outcomes, bug(error) if isinstance(error, Exception) else "the task was interrupted"
        )
        if not isinstance(error, Exception):
            raise
        problem = failure(outcomes) or bug(error)
    else:
        return
    raise UserError(problem)


def bug(error: Exception) -> str:
    """Return a reason for an unexpected exception. Its text is left out: it may contain a secret."""
    return f"because of a bug in this collection, {type(error).__name__}; please report it"


def delete_unsaved_keys(client: Client, outcomes: Sequence[Outcome], reason: str) -> None:
    """Delete the keys whose secrets exist nowhere else, and record why for every key."""
    lost = {id(one): secret for one in outcomes if (secret := _new_secret(one))}
    created = [one for one in outcomes if id(one) in lost and (one.operation != "regenerated" or not one.secret)]
    problem = ""
    try:
        delete_existing(client, [lost[id(one)].key_id for one in created])
    except LiteLLMError as error:
        problem = f", and it could not be deleted again: {error}"
    for one in outcomes:
        if one in created:
            what = problem or ", so the key was deleted again. Run again"
            one.error = f"The secret of virtual key {one.desired.name} could not be saved ({reason}){what}"
            one.secret = lost[id(one)] if problem else None
        elif id(one) in lost:
            old = "is revoked"
            if one.previous and one.previous.expires:
                old = f"works until {format_instant(one.previous.expires)}"
            one.error = (
                f"The new secret of virtual key {one.desired.name} could not be saved ({reason}) and is lost; the old "
                f"secret {old}. Replace the key again (regenerate)"
            )
        elif not one.error:
            one.error = f"The user data of virtual key {one.desired.name} could not be saved: {reason}"


def _new_secret(outcome: Outcome) -> Secret | None:
    """Return the random secret of a key that the run has created, or may have created."""
    own = outcome.secret if outcome.operation in ("created", "regenerated") else None
    return next(
        (one for one in (outcome.unconfirmed_secret, own) if one and one.source in ("generated", "server")), None
    )
