# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the attributes that all actions share. Private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
attributes:
  action:
    description: This is an action plugin. It runs on the controller and does not connect to the target host.
    support: full
  async:
    description: Supports the C(async) keyword.
    support: none
"""

    INFO = r"""
attributes:
  check_mode:
    description: This action does not modify anything.
    support: full
  diff_mode:
    description: This action does not modify anything.
    support: none
  idempotent:
    description: This action does not modify anything.
    support: full
"""

    ACTIONGROUP_LITELLM = r"""
attributes:
  action_group:
    description: Use C(group/rhpds.litellm_virtual_keys.litellm) in C(module_defaults) to set defaults for this action.
    support: full
    membership:
      - rhpds.litellm_virtual_keys.litellm
"""
