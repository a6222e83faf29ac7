# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clean up after a failed or interrupted run: no surplus key, no lost secret, no key under another alias.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .._errors import LiteLLMError
from .._litellm.client import Client
from .apply import delete_keys, update_key
from .plan import restoration
from .progress import KeyProgress
from .run import Run, take_snapshots


def delete_surplus_key(client: Client, one: KeyProgress) -> None:
    """Delete the key that a failed run created beside the one that it reports: nobody learns its secret."""
    reported = one.plan.key.key_id if one.plan.key else None
    is_surplus = one.created and one.created != reported and one.snapshot and one.created in one.snapshot.ids
    if not one.error or not is_surplus:
        return
    try:
        delete_existing(client, [str(one.created)])
    except LiteLLMError as error:
        one.add_to_error(f"the second key that this run created could not be deleted: {error}")


def restore_alias(client: Client, one: KeyProgress) -> None:
    """Give the predecessor its alias back if its successor could not be created."""
    snapshot = one.snapshot
    if not one.error or not one.desired.present or not snapshot or not snapshot.predecessors or snapshot.keys:
        return
    step = restoration(one.desired, snapshot)
    try:
        update_key(client, step)
    except LiteLLMError as error:
        one.add_to_error(f"the old key still works, but its alias is {one.desired.predecessor_alias}: {error}")
    else:
        one.restored(replace(snapshot.predecessors[0], alias=step.alias))


def undo_changes(run: Run, *, saves_secrets: bool = False) -> None:
    """Delete the keys that this run created unless their secrets are known elsewhere, and undo its replacements.

    :param saves_secrets: the caller saves the secrets of the keys that are left.
    """
    created = [one for one in run.keys if one.secret_unrecoverable]
    replacing = [one for one in run.keys if one.desired.present and one.needs_predecessors and one.attempted]
    try:
        delete_existing(run.client, [str(one.created) for one in created])
        for one in created:
            one.deleted_again()
        take_snapshots(run, replacing)
        unfinished = [one for one in replacing if one.snapshot and one.snapshot.predecessors]
        successors = [
            key.key_id for one in unfinished if one.snapshot for key in one.snapshot.keys if key.key_id == one.created
        ]
        delete_existing(run.client, successors)
        for one in unfinished:
            if one.snapshot and all(key.key_id == one.created for key in one.snapshot.keys):
                step = restoration(one.desired, one.snapshot)
                update_key(run.client, step)
                one.restored(replace(one.snapshot.predecessors[0], alias=step.alias))
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
    lost = [
        one.desired.name
        for one in replacing
        if one.has_replaced and one not in unfinished and not one.desired.new_secret
    ]
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
