# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of one run, and how their state is observed.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .._concurrency import run_concurrently
from .._litellm.client import Client
from .model import ObservedKey, Snapshot
from .names import previous_alias, successor_alias
from .observer import Observer, group_by_alias
from .previous import find_previous
from .progress import KeyProgress

Notify = Callable[[str], None]


@dataclass
class Run:
    """The keys of one run, and what is needed to work on them.

    :ivar warn: called with what the user should know.
    :ivar show_progress: called with a progress message from time to time.
    :ivar unproven: the keys that look as if one with the alias had replaced them. Nothing proves it.
    """

    client: Client
    keys: Sequence[KeyProgress]
    warn: Notify
    show_progress: Notify
    observer: Observer
    unproven: dict[str, list[ObservedKey]] = field(default_factory=dict)


def take_snapshots(run: Run, keys: Sequence[KeyProgress], found: Sequence[ObservedKey] | None = None) -> None:
    """Take a snapshot for each key and plan its next step.

    :param found: the observed keys, if they are known; else they are read from the proxy.
    :raises LiteLLMError: if they cannot be read.
    """
    named = [one for one in keys if one.desired.alias]
    aliases = sorted(str(one.desired.alias) for one in named)
    if found is None:
        successors = {
            str(one.desired.alias): str(one.desired.successor_alias)
            for one in named
            if one.desired.present or one.needs_successors
        }
        always = [str(one.desired.alias) for one in named if one.needs_successors]
        always_previous = [
            str(one.desired.alias)
            for one in named
            if one.needs_successors and (one.desired.rotate or not one.desired.present)
        ]
        by_alias = run.observer.find_by_alias(
            aliases, successors, always, previous=True, always_previous=always_previous
        )
    else:
        related = (of(alias) for alias in aliases for of in (successor_alias, previous_alias))
        by_alias = group_by_alias(found, [*aliases, *related])
    ids = [one.desired.key_id for one in keys if one.desired.key_id]
    found_by_id = run_concurrently(run.observer.find_by_id, ids, run.client.connection.concurrency)
    by_id = dict(zip(ids, found_by_id, strict=True))
    now = run.client.now()
    for one in keys:
        alias = one.desired.alias
        own = by_alias[alias] if alias else by_id[str(one.desired.key_id)]
        created = by_alias.get(successor_alias(str(alias)), ())
        successors_of_key = tuple(key for key in created if key.final_alias == alias)
        candidates = by_alias.get(previous_alias(str(alias)), ())
        previous = find_previous(one.desired, candidates, (*own, *successors_of_key))
        run.unproven[str(alias)] = [key for key in candidates if key not in previous]
        one.observe(Snapshot(own, now, successors_of_key, previous))
