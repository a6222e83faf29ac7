# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The laws that the engine breaks today, with the reason. An entry is removed with the fault.

`test_found.py` has a history for each. The sample and `make simulate` do not fail because of these laws.
"""

from __future__ import annotations

KNOWN: dict[str, str] = {}
