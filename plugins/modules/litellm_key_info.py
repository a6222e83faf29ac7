# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_key_info
short_description: Retrieve information about virtual keys of a LiteLLM proxy
version_added: 2.0.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Returns information about specific virtual keys, or about all keys that match the filters. Secrets are never
    returned, because LiteLLM does not store them.
  - If none of O(guid), O(key_alias) and O(key_id) is specified, all keys of the proxy are searched.
options:
  guid:
    description: The guid of an environment, or a list of guids. The alias of each key is O(alias_prefix) plus the guid.
    type: raw
  key_alias:
    description: The alias of a key, or a list of aliases.
    type: raw
  key_id:
    description: The id of a key, or a list of ids. A key id is the SHA-256 hash of the secret.
    type: raw
  alias_prefix:
    description:
      - The prefix of the alias. With O(guid), the default is V(virtkey-).
      - Without O(guid), O(key_alias) and O(key_id), only keys whose alias starts with this prefix are returned.
    type: str
  user_id:
    description: Return only keys of this user.
    type: str
  team_id:
    description: Return only keys of this team.
    type: str
  metadata:
    description: Return only keys whose metadata contains these values.
    type: dict
  expires_before:
    description: Return only keys that expire before this time, in ISO 8601 format. Keys that never expire are excluded.
    type: raw
  status:
    description:
      - Return only keys that are usable (V(active)), expired, or blocked, or keys whose expiry could not be read
        (V(unknown)).
    type: str
    choices: [active, expired, blocked, unknown]
  shared_budgets:
    description:
      - Whether to return the shared budgets of the environments of the keys, too. This lists the teams of the proxy if
        a key is in a team that can be such a budget. If the teams are listed and no option but O(alias_prefix) selects
        keys, the budgets that no key is in any more, or yet, are returned, too. If the teams cannot be listed, a
        warning says why.
    type: bool
    version_added: 2.1.0
    default: false
seealso:
  - module: rhpds.litellm_virtual_keys.litellm_key
  - name: Report on keys
    description: How to report on the keys of a proxy.
    link: https://rhpds.github.io/rhpds.litellm_virtual_keys/docsite/report_on_keys.html
  - name: Clean up
    description: How to find and delete keys that nobody needs.
    link: https://rhpds.github.io/rhpds.litellm_virtual_keys/docsite/clean_up.html
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._connection
  - rhpds.litellm_virtual_keys._attributes
  - rhpds.litellm_virtual_keys._attributes.info
  - rhpds.litellm_virtual_keys._attributes.actiongroup_litellm
"""

EXAMPLES = r"""
- name: Get the key of an environment
  rhpds.litellm_virtual_keys.litellm_key_info:
    guid: user123

- name: Get the keys of all users of an environment
  rhpds.litellm_virtual_keys.litellm_key_info:
    alias_prefix: virtkey-user123
    metadata:
      guid: user123

- name: List the keys of lab environments that expire within a day
  rhpds.litellm_virtual_keys.litellm_key_info:
    alias_prefix: virtkey-
    expires_before: "{{ '24h' | rhpds.litellm_virtual_keys.expires_at }}"
    status: active
"""

RETURN = r"""
virtual_keys:
  description:
    - The keys, in the order in which they were specified. If no specific keys were specified, oldest first.
    - Keys that do not exist are omitted.
  returned: success
  type: list
  elements: dict
  sample: []
  contains:
    key_alias:
      description: The unique alias of the key.
      type: str
      sample: virtkey-user123
    key_id:
      description: The SHA-256 hash of the secret, which identifies the key in LiteLLM.
      type: str
      sample: 87aa8ee6bb86da4b9ac4dcd6a2c8e7da0b5e5e8b7b9a42b0c3d1b9e3f1c44a3e
    key_name:
      description: The secret, abbreviated by LiteLLM.
      type: str
      sample: sk-...HZ2b
    guid:
      description: The alias without O(alias_prefix), if the alias starts with it.
      type: str
      sample: user123
    status:
      description: One of V(active), V(expired), V(blocked), and V(unknown) if the expiry could not be read.
      type: str
      sample: active
    is_previous:
      description:
        - Whether another key has replaced this one by age (the option C(rotate) of
          M(rhpds.litellm_virtual_keys.litellm_key)). It works until it expires. It is returned beside the key that is
          named by O(guid) or O(key_alias).
      type: bool
      sample: false
      version_added: 2.1.0
    previous:
      description:
        - The key that this one has replaced by age and whose secret works until its expiry, as in
          M(rhpds.litellm_virtual_keys.litellm_key). It is null if there is none, or if the key is named by O(key_id).
      type: dict
      contains:
        key_id:
          description: The SHA-256 hash of the old secret.
          type: str
        key_alias:
          description: The alias that the old key has until then.
          type: str
        expires:
          description: The time until which the old secret works, in ISO 8601 format.
          type: str
      version_added: 2.1.0
    problem:
      description:
        - Which data of the key could not be read, because another client stored unexpected values, such as the expiry
          V(99999-01-01). The corresponding fields are null.
        - It is null if all data could be read. A key with a problem can be deleted, but not changed.
      type: str
      sample: null
    unreadable:
      description: The names of the fields of LiteLLM that could not be read, such as V(expires).
      type: list
      elements: str
      sample: []
    models:
      description: The models that the key can use. An empty list means all models.
      type: list
      elements: str
      sample: [openai/granite-3-2-8b-instruct]
    duration:
      description: The time from creation to expiry, to the minute. It is null if the key never expires.
      type: str
      sample: 7d
    expires:
      description: The expiry of the key, in ISO 8601 format. It is null if the key never expires.
      type: str
      sample: "2026-11-30T08:00:00Z"
    created_at:
      description: The creation time of the key, in ISO 8601 format.
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
      description: The maximum spend of the key, in US dollars.
      type: float
      sample: 10.0
    spend:
      description: The current spend of the key, in US dollars.
      type: float
      sample: 0.0
    metadata:
      description: The metadata of the key.
      type: dict
      sample: {"team": "workshop"}
shared_budgets:
  description:
    - The budgets that all keys of an environment share, in the order of the guids, each with the fields of
      RV(rhpds.litellm_virtual_keys.litellm_environment#module:shared_budget) and its guid. It is empty unless
      O(shared_budgets=true).
  returned: success
  type: list
  elements: dict
  sample: [{"guid": "user124", "limit": 100.0, "spent": 12.34, "left": 87.66, "team_id": "virtkey-user124"}]
now:
  description: The current time of the proxy's clock, in ISO 8601 format. The status of each key is based on it.
  returned: success
  type: str
  sample: "2026-11-23T08:00:00Z"
api_endpoint:
  description: The URL of the proxy.
  returned: success
  type: str
  sample: https://litellm.example.com
api_base_url:
  description: The base URL for OpenAI clients.
  returned: success
  type: str
  sample: https://litellm.example.com/v1
api_calls:
  description: The number of API requests that were sent.
  returned: success
  type: int
  sample: 1
"""
