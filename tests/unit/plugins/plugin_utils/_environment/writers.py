# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Functions for the processes of test_lock.py, which cannot import the test module itself."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.store import save


def refuse_flock(number: int) -> None:
    """Make `flock` fail in this process, as on some network file systems."""

    def flock(_handle: Any, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    fcntl.flock = flock


def save_section(folder: Path, number: int) -> None:
    save(folder, "provision", users={f"user{number}": {"a": number}}, messages=[str(number)])
