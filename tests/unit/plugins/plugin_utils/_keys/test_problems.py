# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages name the value that the proxy did not store."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.problems import not_applied


@pytest.mark.parametrize(
    ("wanted", "found", "text"),
    [
        (5, None, "x is None"),
        ({"a": 1}, None, "x is None"),
        ({"a": 1}, {"a": 1, "b": 2}, "x is {'a': 1, 'b': 2}"),
        ({"servers": ["no"]}, {"id": "0" * 200, "servers": []}, "servers of x is [] instead of ['no']"),
        ({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 1}, "b of x is 1 instead of 2, c of x is None instead of 3"),
        ({"a": "n" * 200}, {}, f"a of x is None instead of '{'n' * 96}..."),
    ],
)
def test_the_value_that_was_not_stored_is_named(wanted: Any, found: Any, text: str) -> None:
    assert not_applied("x", wanted, found) == text
