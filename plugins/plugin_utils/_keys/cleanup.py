# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clean up after a failed or interrupted run: no surplus key, and no lost secret.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._errors import LiteLLMError
from .._litellm.client import Client
from .apply import delete_keys, update_key
from .progress import KeyProgress
from .run import Run, take_snapshots
from .steps import Rename


def delete_surplus_key(client: Client, one: KeyProgress) -> None:
    """Delete the key that a failed run created beside the one that it reports: nobody learns its secret."""
    reported = one.plan.key.key_id if one.plan.key else None
    ids = {key.key_id for key in one.snapshot.claimants} if one.snapshot else set()
    if not one.error or one.created == reported or one.created not in ids:
        return
    try:
        delete_existing(client, [str(one.created)])
    except LiteLLMError as error:
        name = next(key.alias for key in one.snapshot.all if key.key_id == one.created) if one.snapshot else None
        one.add_to_error(f"the key {name} that this run created could not be deleted: {error}")


def undo_changes(run: Run, *, saves_secrets: bool = False) -> None:
    """Delete the keys that this run created unless their secrets are known elsewhere, and undo its replacements.

    :param saves_secrets: the caller saves the secrets of the keys that are left.
    """
    created = [one for one in run.keys if one.secret_unrecoverable]
    replacing = [one for one in run.keys if one.desired.present and one.needs_successors and one.attempted]
    try:
        delete_existing(run.client, [str(one.created) for one in created])
        for one in created:
            one.deleted_again()
        take_snapshots(run, replacing)
        unfinished = [one for one in replacing if one.is_being_replaced]
        delete_existing(run.client, [str(one.created) for one in unfinished])
        renamed = [one for one in replacing if isinstance(one.plan.step, Rename)]
        for one in renamed:
            if isinstance(one.plan.step, Rename):
                update_key(run.client, one.plan.step)
        take_snapshots(run, renamed)
    except LiteLLMError as error:
        fate = "" if saves_secrets else " whose secrets are lost"
        run.warn(
            f"Interrupted, and the changes could not be undone: {error}. {len(created)} keys were created{fate}, and "
            f"{len(replacing)} keys were being replaced"
        )
        return
    if created:
        run.warn(f"Interrupted; {len(created)} new keys were deleted, because their secrets would be lost")
    if unfinished:
        run.warn(f"Interrupted; the replacement of {len(unfinished)} keys was undone")
    lost = [one.desired.name for one in replacing if one.has_replaced and not one.desired.new_secret]
    if lost and not saves_secrets:
        run.warn(f"Interrupted; the new secrets of {', '.join(lost)} are lost. Replace these keys again (regenerate)")


def account_for_interruption(run: Run, interruption: BaseException) -> None:
    """Observe once more, and record for each key that is not as desired that the run was interrupted."""
    reason = "the task was interrupted"
    if isinstance(interruption, Exception):
        reason = f"of a bug in this collection ({type(interruption).__name__}: {interruption}); please report it"
    pending = [one for one in run.keys if one.pending]
    try:
        take_snapshots(run, pending)
    except LiteLLMError as error:
        reason += f", and its state could not be read: {error}"
    for one in pending:
        if one.pending:
            one.fail(f"Virtual key {one.desired.name} is not as desired, because {reason}")


def delete_existing(client: Client, key_ids: Sequence[str]) -> None:
    """Delete keys by id, some of which may not exist. An attempt whose result is unknown is repeated once.

    :raises LiteLLMError: if keys may still exist.
    """
    for is_last in (False, True):
        try:
            delete_keys(client, key_ids)
        except LiteLLMError as error:
            if error.status == 404:  # none of them exists
                return
            if is_last or not (error.transient or (error.status or 0) >= 500):
                raise
        else:
            return
