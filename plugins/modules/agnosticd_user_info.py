# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: agnosticd_user_info
short_description: Tell the users of an AgnosticD environment what they need to know
version_added: 2.0.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Shows messages and saves messages and data, in the files and with the meaning of AgnosticD's own
    C(agnosticd_user_info). Roles that use it run where AgnosticD is not installed.
  - The files are F(<ACTION>-user-info.yaml), F(<ACTION>-user-body.yaml) and F(<ACTION>-user-data.yaml) in the folder
    C(output_dir). The variables C(ACTION) and C(output_dir) are those of the play or of localhost. Without them it is
    V(provision) and the folder of the playbook.
  - Where the collection C(agnosticd.core) is installed, its own action saves them, with what C(module_defaults) say for
    C(agnosticd.core.agnosticd_user_info). Otherwise this one does.
  - What the files hold is kept and added to. Each is written whole or not at all, by one writer at a time, and
    only its owner can read it.
options:
  msg:
    description: A message, or a list of messages.
    type: raw
  body:
    description: A longer text. It cannot be given with O(msg).
    type: str
  data:
    description: Names and values. They are merged over what is there.
    type: dict
  data_prefix:
    description: Is put before each name in O(data).
    type: str
    default: ""
  user:
    description:
      - The one user that this is for. Messages and data are saved below this user.
      - AgnosticD takes an environment that has such a user for one with many users.
    type: str
  users:
    description:
      - Data for many users at once, as a dictionary for each user. They are saved below the users, besides O(data).
    type: dict
  action:
    description:
      - Which files are meant. The default is the variable C(ACTION). A hook that runs later says V(provision) to change
        what the environment was told in the beginning, which is what lab guides read.
    type: str
attributes:
  check_mode:
    description: Shows the messages and saves nothing.
    support: full
  diff_mode:
    description: Does not return a difference, because the data may hold secrets.
    support: none
  idempotent:
    description: Data are merged. Messages are added each time.
    support: partial
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._attributes
"""

EXAMPLES = r"""
- name: Tell the user where the models are
  rhpds.litellm_virtual_keys.agnosticd_user_info:
    msg: "Your models are at {{ litellm_api_base_url }}"

- name: Save what the lab guide shows
  rhpds.litellm_virtual_keys.agnosticd_user_info:
    data:
      litellm_api_base_url: "{{ litellm_api_base_url }}"
      litellm_virtual_key: "{{ litellm_virtual_key }}"
"""

RETURN = r"""
msg:
  description: The messages as the platform reads them from the log.
  returned: when O(msg) or O(body) was given
  type: raw
  sample: "user.info: Your models are at https://litellm.example.com/v1"
user:
  description: The user that this is for.
  returned: when O(user) was given
  type: str
  sample: user1
error:
  description: Why it failed.
  returned: on failure
  type: str
  sample: "User data cannot be saved in /output: No space left on device"
"""
