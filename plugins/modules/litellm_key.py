# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_key
short_description: Give and take away virtual keys of a LiteLLM proxy
version_added: 2.0.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Creates, changes and removes virtual keys. A virtual key lets one user reach chosen models through a LiteLLM proxy
    until a chosen time.
  - A second run changes nothing. What the proxy has is looked up first, only differences are sent, and the result
    is read back from the proxy.
  - LiteLLM shows the secret of a key only when it is created. This action chooses the secret itself, so that it is
    known even when the answer of the proxy is lost.
options:
  state:
    description:
      - V(present) creates the key, or changes what differs. Options that are not given are left as they are.
      - V(absent) removes every key with exactly this alias.
    type: str
    choices: [present, absent]
    default: present
  guid:
    description:
      - The environment that the key is for. The alias of the key is O(alias_prefix) and this.
      - Exactly one of O(guid) and O(key_alias) is required.
    type: str
  alias_prefix:
    description: What the alias begins with, before O(guid).
    type: str
    default: virtkey-
  key_alias:
    description: The unique name of the key, up to 255 characters.
    type: str
  key:
    description:
      - A secret that you know or choose. It starts with V(sk-) and has at least 16 characters.
      - A new key gets it. If the key exists with another secret, the action fails and changes nothing.
      - Without it a new key gets a random secret. The secret of a key that exists is then not known.
      - Empty means not given.
    type: str
  on_unknown_key:
    description:
      - What to do if the key exists and its secret is not known.
      - With V(ignore) its settings are reconciled, and RV(virtual_key.key) is null.
      - With V(fail) the action fails and leaves the key as it is.
    type: str
    choices: [ignore, fail]
    default: ignore
  models:
    description: The names of the models that may be used. An empty list means all. The order does not matter.
    type: list
    elements: str
  duration:
    description:
      - How long the key lives, from its creation on. A number is hours. V(30d), V(7 days), V(1d12h), V(P7D) and
        V(1mo) are understood as well.
      - A second run changes nothing, because the time is counted from the creation of the key. A longer one
        extends it. A key that has expired, and whose time is over, begins a new life from now on.
      - Empty means not given. If there is none of O(expires_at), O(runtime) and O(duration), a new key never
        expires, and the expiry of a key that exists is left alone.
    type: raw
  runtime:
    description: How long the environment lives, like O(duration) and before it.
    type: raw
  expires_at:
    description: The instant at which the key ends, in ISO 8601, before O(runtime) and O(duration).
    type: raw
  shorten:
    description: Whether the expiry of a key that exists may be brought forward.
    type: bool
    default: true
  max_budget:
    description: How much may be spent with the key, in US dollars.
    type: float
  user_id:
    description: The user that the key belongs to. LiteLLM does not check that there is such a user.
    type: str
  metadata:
    description: What else to remember about the key. It is merged over what is there.
    type: dict
attributes:
  check_mode:
    description: Can run in check mode and tells what would be done, without doing it.
    support: full
  diff_mode:
    description: Shows the key before and after, without its secret.
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._connection
  - rhpds.litellm_virtual_keys._attributes
  - rhpds.litellm_virtual_keys._attributes.actiongroup_litellm
notes:
  - No output shows the result if it holds a secret. Register it and use RV(virtual_key.key). Only an ad-hoc command
    prints the secret, because its output is all there is.
"""

EXAMPLES = r"""
# The address and the master key come from the variables litellm_url and litellm_master_key,
# or from the environment variables LITELLM_URL and LITELLM_MASTER_KEY.
- name: Give an environment a key for seven days
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    duration: 7d
    models:
      - openai/granite-3-2-8b-instruct
    metadata:
      team: workshop
  register: granite

- name: Use the key
  ansible.builtin.uri:
    url: "{{ granite.api_base_url }}/models"
    headers:
      Authorization: Bearer {{ granite.virtual_key.key }}

- name: Let the key live for fourteen days in all
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    duration: 14 days

- name: Take the key away
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    state: absent

# The same at once, from the command line:
# ansible localhost -m rhpds.litellm_virtual_keys.litellm_key -a 'guid=user123 duration=7d'
"""

RETURN = r"""
virtual_key:
  description: The key that was asked for.
  returned: when the proxy answered
  type: dict
  contains:
    key:
      description: The secret. It is null when it is not known, and when the key was removed.
      type: str
      sample: sk-DHrMfs4TgkFoV0IrpOcQW1Yj8lQdHZ2b
    key_source:
      description:
        - Where the secret came from. It is V(given) by O(key), or V(generated) by this run. It is null when the
          secret is not known.
      type: str
      sample: generated
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
      description: The environment, if O(guid) was given.
      type: str
      sample: user123
    operation:
      description: One of V(created), V(updated), V(unchanged), V(deleted), V(absent) and V(failed).
      type: str
      sample: created
    models:
      description: The models that may be used. An empty list means all.
      type: list
      elements: str
      sample: [openai/granite-3-2-8b-instruct]
    duration:
      description:
        - The lifetime that was asked for. If none was, or an instant, it is the time from creation to expiry.
        - It is null for a key that never expires.
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
    error:
      description: Why the key is not as it was asked for.
      returned: when it failed
      type: str
      sample: "LiteLLM answered POST /key/generate with 500: Internal Server Error."
virtual_keys:
  description: All keys that were asked for, in that order, each like RV(virtual_key).
  returned: when the proxy answered
  type: list
  elements: dict
  sample: []
api_endpoint:
  description: The address of the proxy.
  returned: when the proxy answered
  type: str
  sample: https://litellm.example.com
api_base_url:
  description: The address that OpenAI clients take as their base URL.
  returned: when the proxy answered
  type: str
  sample: https://litellm.example.com/v1
api_calls:
  description: How many requests were made.
  returned: when the proxy answered
  type: int
  sample: 3
"""
