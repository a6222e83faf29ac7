# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fixtures of the end-to-end tests."""

from __future__ import annotations

from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.conftest import guid, proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.in_process import controller

__all__ = ["controller", "guid", "proxy"]
