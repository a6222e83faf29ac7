# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a plan. Each is one request, or none.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Literal

from .durations import Duration
from .model import ObservedKey
from .secrets import Secret


class Never(Enum):
    """The expiry of a key that never expires, where None means that the expiry is not changed."""

    NEVER = "never"


NEVER = Never.NEVER
End = datetime | Duration | Never


@dataclass(frozen=True)
class Create:
    """Create the key.

    :ivar end: an instant, a duration that counts from the creation, or never.
    :ivar spend: US dollars that the key starts with; a replacement inherits them.
    :ivar server_secret: let the proxy generate the secret, because it refuses those of callers.
    :ivar new_secret: a saved secret is not used again.
    :ivar secret: the secret that the key must have; None for the one of the run.
    """

    alias: str
    settings: Mapping[str, Any]
    end: End
    spend: float | None = None
    server_secret: bool = False
    new_secret: bool = False
    secret: Secret | None = None


@dataclass(frozen=True)
class Update:
    """Change the settings that differ. `end` is None if the expiry is not changed."""

    key_id: str
    settings: Mapping[str, Any]
    end: End | None


@dataclass(frozen=True)
class Rename:
    """Give a key that replaces another the alias of that one, which was deleted."""

    key_id: str
    alias: str


@dataclass(frozen=True)
class Retire:
    """Give a key that was replaced another alias, and let it expire when its overlap ends.

    :ivar overlap: counts from the request.
    :ivar latest: the expiry of the key; None if it never expires. It is not moved to a later time.
    :ivar metadata: all metadata of the key, which LiteLLM replaces as a whole.
    """

    key_id: str
    alias: str
    overlap: Duration
    latest: datetime | None
    metadata: Mapping[str, Any]

    def end(self, now: datetime) -> datetime:
        """Return when the key expires if it is retired now."""
        end = self.overlap.after(now)
        return min(end, self.latest) if self.latest else end


@dataclass(frozen=True)
class Delete:
    """Delete these keys."""

    key_ids: tuple[str, ...]


Step = Create | Update | Rename | Retire | Delete

Operation = Literal["created", "updated", "unchanged", "regenerated", "deleted", "absent"]


@dataclass(frozen=True)
class Plan:
    """What to do next about one desired key.

    :ivar operation: the result for the user if the step succeeds.
    :ivar key: the key before the step; None if there is none.
    :ivar step: the next step; None if the key is as desired.
    :ivar problem: why the key cannot be made as desired, as a sentence.
    """

    operation: Operation
    key: ObservedKey | None = None
    step: Step | None = None
    problem: str | None = None
