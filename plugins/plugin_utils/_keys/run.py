# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of one run, and how their state is observed.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .._concurrency import run_concurrently
from .._litellm.client import Client
from .model import ObservedKey, Snapshot
from .observer import KeysByAlias, Observer, group_by_alias
from .progress import KeyProgress
from .settings import LIFETIME_START

Notify = Callable[[str], None]


@dataclass
class Run:
    """The keys of one run, and what is needed to work on them.

    :ivar warn: called with what the user should know.
    :ivar show_progress: called with a progress message from time to time.
    """

    client: Client
    keys: Sequence[KeyProgress]
    warn: Notify
    show_progress: Notify
    observer: Observer


def take_snapshots(run: Run, keys: Sequence[KeyProgress], found: Sequence[ObservedKey] | None = None) -> None:
    """Take a snapshot for each key and plan its next step.

    :param found: the observed keys, if they are known; else they are read from the proxy.
    :raises LiteLLMError: if they cannot be read.
    """
    names, otherwise = set(), {}
    for one in keys:
        alias, predecessor_alias = one.desired.alias, one.desired.predecessor_alias
        if alias and predecessor_alias:
            names.add(alias)
            if one.needs_predecessors:
                names.add(predecessor_alias)
            elif one.desired.present and (one.snapshot is None or one.snapshot.predecessors):
                otherwise[alias] = predecessor_alias
    if found is None:
        by_alias = run.observer.find_by_alias(sorted(names), otherwise)
        by_alias.update(_predecessors_of_replacements(run, keys, by_alias))
    else:
        by_alias = group_by_alias(found, [*names, *(str(one.desired.predecessor_alias) for one in keys)])
    ids = [one.desired.key_id for one in keys if one.desired.key_id]
    found_by_id = run_concurrently(run.observer.find_by_id, ids, run.client.connection.concurrency)
    by_id = dict(zip(ids, found_by_id, strict=True))
    now = run.client.now()
    for one in keys:
        alias = one.desired.alias
        own = by_alias[alias] if alias else by_id[str(one.desired.key_id)]
        renamed = by_alias.get(str(one.desired.predecessor_alias), ())
        one.observe(Snapshot(own, now, tuple(key for key in renamed if key.is_being_replaced_as(alias))))


def _predecessors_of_replacements(
    run: Run, keys: Sequence[KeyProgress], by_alias: KeysByAlias
) -> dict[str, tuple[ObservedKey, ...]]:
    """Return the predecessors of keys that replaced them: one that was not deleted still works.

    Looked up in the first snapshot only, and only for keys whose metadata say that they replaced another.
    """
    names = [
        one.desired.predecessor_alias
        for one in keys
        if one.snapshot is None and not one.needs_predecessors
        if not by_alias.get(str(one.desired.predecessor_alias))
        if any(LIFETIME_START in (key.value("metadata") or {}) for key in by_alias.get(str(one.desired.alias), ()))
    ]
    return run.observer.find_by_alias(name for name in names if name) if names else {}
