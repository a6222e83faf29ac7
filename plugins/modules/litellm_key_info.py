# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_key_info
short_description: See which virtual keys a LiteLLM proxy has
version_added: 2.0.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Tells what a LiteLLM proxy says of keys that are named, or of all keys that pass the filters. It never tells a
    secret, which LiteLLM does not know.
  - Without a name all keys of the proxy are looked through.
options:
  guid:
    description: The environment whose key it is about, or a list of them. The alias is O(alias_prefix) and this.
    type: raw
  key_alias:
    description: The alias of a key, or a list of them.
    type: raw
  key_id:
    description: The id of a key, or a list of them. It is the SHA-256 of the secret.
    type: raw
  alias_prefix:
    description:
      - What the alias begins with. With O(guid) the default is V(virtkey-).
      - Without a name it is a filter. Only keys whose alias begins with it are told.
    type: str
  user_id:
    description: Only keys of this user.
    type: str
  team_id:
    description: Only keys of this team.
    type: str
  metadata:
    description: Only keys whose metadata have these values.
    type: dict
  expires_before:
    description: Only keys that end before this instant, in ISO 8601. A key that never expires does not.
    type: raw
  status:
    description: Only keys that can be used (V(active)), that are past their end, or that are blocked.
    type: str
    choices: [active, expired, blocked]
attributes:
  check_mode:
    description: It changes nothing, in check mode or otherwise.
    support: full
  diff_mode:
    description: It changes nothing.
    support: none
  idempotent:
    description: It changes nothing.
    support: full
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._connection
  - rhpds.litellm_virtual_keys._attributes
  - rhpds.litellm_virtual_keys._attributes.actiongroup_litellm
"""

EXAMPLES = r"""
- name: See what the key of an environment may do
  rhpds.litellm_virtual_keys.litellm_key_info:
    guid: user123

- name: See the keys of all users of an environment
  rhpds.litellm_virtual_keys.litellm_key_info:
    alias_prefix: virtkey-user123
    metadata:
      guid: user123

- name: See which keys of lab environments end within a day
  rhpds.litellm_virtual_keys.litellm_key_info:
    alias_prefix: virtkey-
    expires_before: "{{ '24h' | rhpds.litellm_virtual_keys.expires_at }}"
    status: active
"""

RETURN = r"""
virtual_keys:
  description:
    - The keys, in the order in which they were named, or from the oldest to the newest.
    - A name without a key has none.
  returned: success
  type: list
  elements: dict
  sample: []
  contains:
    key_alias:
      description: The unique name of the key.
      type: str
      sample: virtkey-user123
    key_id:
      description: The SHA-256 of the secret, by which LiteLLM knows the key.
      type: str
      sample: 87aa8ee6bb86da4b9ac4dcd6a2c8e7da0b5e5e8b7b9a42b0c3d1b9e3f1c44a3e
    key_name:
      description: The secret as LiteLLM abbreviates it.
      type: str
      sample: sk-...HZ2b
    guid:
      description: The alias without O(alias_prefix), if it begins with it.
      type: str
      sample: user123
    status:
      description: One of V(active), V(expired) and V(blocked).
      type: str
      sample: active
    models:
      description: The models that may be used. An empty list means all.
      type: list
      elements: str
      sample: [openai/granite-3-2-8b-instruct]
    duration:
      description: The time from creation to expiry, to the minute. It is null for a key that never expires.
      type: str
      sample: 7d
    expires:
      description: When the key ends, in ISO 8601. It is null for a key that never expires.
      type: str
      sample: "2026-11-30T08:00:00Z"
    created_at:
      description: When the key was created, in ISO 8601.
      type: str
      sample: "2026-11-23T08:00:00Z"
    blocked:
      description: Whether the key is blocked.
      type: bool
      sample: false
    user_id:
      description: The user that the key belongs to.
      type: str
      sample: null
    team_id:
      description: The team that the key belongs to.
      type: str
      sample: null
    max_budget:
      description: How much may be spent with the key, in US dollars.
      type: float
      sample: 10.0
    spend:
      description: How much was spent with the key, in US dollars.
      type: float
      sample: 0.0
    metadata:
      description: What else is remembered about the key.
      type: dict
      sample: {"team": "workshop"}
now:
  description: The time by the proxy's clock, in ISO 8601, from which the status of the keys was judged.
  returned: success
  type: str
  sample: "2026-11-23T08:00:00Z"
api_endpoint:
  description: The address of the proxy.
  returned: success
  type: str
  sample: https://litellm.example.com
api_base_url:
  description: The address that OpenAI clients take as their base URL.
  returned: success
  type: str
  sample: https://litellm.example.com/v1
api_calls:
  description: How many requests were made.
  returned: success
  type: int
  sample: 1
"""
