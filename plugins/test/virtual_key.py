# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The test `virtual_key`: whether a value has the form of a virtual key of LiteLLM."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.filters import jinja_plugin
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import given


@jinja_plugin
def virtual_key(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        given(value)
    except OptionError:
        return False
    return True


class TestModule:
    """The tests of this file, for ansible-core."""

    def tests(self) -> dict[str, Callable[..., object]]:
        return {"virtual_key": virtual_key}
