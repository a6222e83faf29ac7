# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The outcome for one desired key.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from dataclasses import dataclass

from .._text import printable
from .model import DesiredKey, ObservedKey
from .secrets import Secret
from .steps import Operation


@dataclass
class Outcome:
    """The outcome for one desired key.

    :ivar before: the key as it was found; None if there was none.
    :ivar after: the key as it was read back, or in check mode as it would be; None if there is none.
    :ivar secret: the secret of `after`; None if it is not known.
    :ivar error: why the key is not as desired, as a sentence.
    :ivar unconfirmed_secret: the secret of a key that this run may have created, and that could not be read back.
    :ivar end_set: this run has set the expiry.
    :ivar previous: the key that `after` has replaced and that works until its overlap ends.
    :ivar deleted_previous: the previous keys that were deleted, or would be.
    :ivar not_deleted: the ids of keys that LiteLLM reported as deleted and that still exist.
    """

    desired: DesiredKey
    operation: Operation
    before: ObservedKey | None
    after: ObservedKey | None
    secret: Secret | None = None
    error: str | None = None
    unconfirmed_secret: Secret | None = None
    end_set: bool = False
    not_deleted: tuple[str, ...] = ()
    previous: ObservedKey | None = None
    deleted_previous: tuple[ObservedKey, ...] = ()

    def __post_init__(self) -> None:
        self.error = self.error and printable(self.error)

    @property
    def changed(self) -> bool:
        return self.operation not in ("unchanged", "absent")
