# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a value looks like a virtual key of LiteLLM."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import given
from jinja2 import Undefined


def virtual_key(value: object) -> bool | Undefined:
    if isinstance(value, Undefined):
        return value  # as ansible-core 2.19 and later do by themselves
    if not isinstance(value, str):
        return False
    try:
        given(value)
    except OptionError:
        return False
    return True


class TestModule:
    """What ansible-core asks for tests."""

    def tests(self) -> dict[str, Callable[..., object]]:
        return {"virtual_key": virtual_key}
