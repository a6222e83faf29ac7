# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The test `duration`: whether the duration filter accepts a value."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.filters import jinja_plugin
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import DurationError, parse


@jinja_plugin
def duration(value: object) -> bool:
    try:
        parse(value)
    except DurationError:
        return False
    return True


class TestModule:
    """The tests of this file, for ansible-core."""

    def tests(self) -> dict[str, Callable[..., object]]:
        return {"duration": duration}
