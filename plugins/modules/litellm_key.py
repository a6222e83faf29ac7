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
      - Exactly one of O(guid), O(key_alias), O(key_id) and O(virtual_keys) is required.
    type: str
  alias_prefix:
    description: What the alias begins with, before O(guid).
    type: str
    default: virtkey-
  key_alias:
    description: The unique name of the key, up to 255 characters.
    type: str
  key_id:
    description: The SHA-256 of the secret, by which LiteLLM knows a key that exists.
    type: str
  users:
    description:
      - One key for each of these users, in place of the one that O(guid) or O(key_alias) names. The alias of each is
        that one, a hyphen and the user. An empty list means none, and the one key.
      - In O(user_id), and in the values of O(metadata), also of those in O(on_create), C({user}) stands for the user.
        With O(users_of), metadata that have it are left out where there are no users.
    type: list
    elements: str
  users_of:
    description:
      - The guid of an environment, for those who do not know its users. If O(users) does not name them, they are the
        users whose keys have it as C(guid) in their metadata, and themselves as C(user), and with O(recall=true) those
        whose keys were saved.
      - If there is no key at all, it is the one that O(guid) or O(key_alias) names.
    type: str
  virtual_keys:
    description:
      - Many keys in one task. Each is a dictionary that names one key by C(guid), C(key_alias) or
        C(key_id), and may have any other option of a key. What it does not say is taken from the task.
      - No alias may be there twice.
    type: list
    elements: dict
  key:
    description:
      - A secret that you know or choose. It starts with V(sk-) and has at least 16 characters.
      - A new key gets it. If the key exists with another secret, see O(regenerate).
      - With neither O(key) nor O(key_seed) a new key gets a random secret. The secret of a key that exists is then not
        known.
      - Empty means not given.
    type: str
  key_seed:
    description:
      - Derives the secret from this, the alias and O(key_version). The same three give the same secret on any
        controller, with nothing stored. It has at least 32 characters and must not be the master key.
      - Empty means not given. It cannot be given with O(key).
    type: str
  key_version:
    description: Derives another secret from the same O(key_seed).
    type: int
    default: 1
  regenerate:
    description:
      - Whether a key gets a new secret, and keeps its alias, its settings and what was spent with it. The old one works
        until the new one exists.
      - V(never) fails if the key exists with another secret than the one given.
      - V(if_unrecoverable) replaces a key whose secret is not known, or is another than the one given.
      - V(always) replaces the key in each run.
    type: str
    choices: [never, if_unrecoverable, always]
    default: never
  recall:
    description:
      - Whether the secrets of keys are looked for where earlier runs have saved them. That is
        F(provision-user-data.yaml) in the folder C(output_dir), as AgnosticD has it, and the facts
        C(litellm_virtual_key) and C(litellm_virtual_keys) of the play, each beside the alias.
      - A key that has such a secret is told with it. What a new key gets, O(on_missing_key) says.
    type: bool
    default: false
  on_missing_key:
    description:
      - What to do with O(state=present) if the key does not exist.
      - With V(create) it is created. A secret that was saved is not used, because whoever removed the key meant it to
        end.
      - With V(recreate) it is created with the secret that it had, which is O(key), derived from O(key_seed), or saved
        (O(recall)). If none is known, the action fails, unless O(regenerate) lets it have a new one.
      - With V(ignore) nothing is done.
    type: str
    choices: [create, recreate, ignore]
    default: create
  on_unknown_key:
    description:
      - What to do if the key exists, its secret is not known, and O(regenerate=never).
      - With V(ignore) its settings are reconciled, and RV(virtual_key.key) is null.
      - With V(fail) the action fails and leaves the key as it is.
    type: str
    choices: [ignore, fail]
    default: ignore
  expires_at:
    description:
      - The instant at which the key ends, in ISO 8601.
      - O(expires_at) comes before O(runtime), and that before O(duration). Empty means not given. If there is none of
        them, a new key never expires, and the expiry of a key that exists is left alone.
    type: raw
  runtime:
    description: How long the environment lives, and the key with it. Like O(duration).
    type: raw
  duration:
    description:
      - How long the key lives, from its creation on. A number is hours. V(30d), V(7 days), V(1d12h), V(P7D) and
        V(1mo) are understood as well.
      - A second run changes nothing, because the time is counted from the creation of the key. A longer one
        extends it. A key that has expired, and whose time is over, begins a new life from now on.
    type: raw
  duration_from:
    description:
      - Whether O(duration) and O(runtime) count from the V(creation) of the key, or from V(now), which moves its end
        with every run.
    type: str
    choices: [creation, now]
    default: creation
  shorten:
    description: Whether the expiry of a key that exists may be brought forward.
    type: bool
    default: true
  models:
    description: The names of the models that may be used. An empty list means all. The order does not matter.
    type: list
    elements: str
  on_unknown_models:
    description:
      - What to do about names in O(models) that the proxy does not serve. LiteLLM itself takes any name.
      - Patterns like V(openai/*), access groups, and names with a meaning of their own like V(all-team-models) are
        understood.
    type: str
    choices: [fail, warn, ignore]
    default: fail
  model_aliases:
    description: Other names for models, each with the model that it stands for.
    type: dict
  max_budget:
    description: How much may be spent with the key, in US dollars.
    type: float
  soft_budget:
    description:
      - From when on LiteLLM warns, in US dollars. Releases before 1.102 take it only for a new key.
      - LiteLLM keeps it in a budget, so that it cannot be given with O(budget_id). A key without a budget gets one of
        its own. For a key that has a budget, the soft budget of that is changed, for every key that shares it.
    type: float
  budget_duration:
    description: After which time LiteLLM counts what is spent anew, like V(30d).
    type: str
  budget_id:
    description: The budget of LiteLLM that applies to the key.
    type: str
  tpm_limit:
    description: How many tokens may be used in a minute.
    type: int
  rpm_limit:
    description: How many requests may be made in a minute.
    type: int
  max_parallel_requests:
    description: How many requests may be under way at the same time.
    type: int
  model_tpm_limit:
    description: How many tokens of each model may be used in a minute, by model.
    type: dict
  model_rpm_limit:
    description: How many requests may be made to each model in a minute, by model.
    type: dict
  model_max_budget:
    description: How much may be spent on each model, by model. It needs a LiteLLM Enterprise licence.
    type: dict
  metadata:
    description:
      - What else to remember about the key. It is merged over what is there. Only the top level is merged, so that
        a dictionary in it replaces the one that is there.
    type: dict
  tags:
    description: Labels by which spending is counted. They need a LiteLLM Enterprise licence.
    type: list
    elements: str
  guardrails:
    description: Guardrails that apply to each request. They need a LiteLLM Enterprise licence.
    type: list
    elements: str
  user_id:
    description: The user that the key belongs to. LiteLLM does not check that there is such a user.
    type: str
  team_id:
    description: The team that the key belongs to.
    type: str
  organization_id:
    description: The organization that the key belongs to.
    type: str
  project_id:
    description: The project that the key belongs to. LiteLLM takes it only for a new key.
    type: str
  key_type:
    description: What the key is for, in place of O(allowed_routes). LiteLLM keeps it as the routes that it stands for.
    type: str
    choices: [default, llm_api, management, read_only]
  allowed_routes:
    description: The routes of the proxy that may be used. An empty list means all that a user may use.
    type: list
    elements: str
  permissions:
    description: Permissions of LiteLLM, by name.
    type: dict
  object_permission:
    description: What the key may reach besides models, like C(mcp_servers). Only what is named here is compared.
    type: dict
  blocked:
    description: Whether the key is refused, without being removed.
    type: bool
  on_create:
    description:
      - Settings, from O(models) to O(blocked), that only a new key gets. Those of a key that exists are left alone.
      - A setting that is given by itself comes before the one in here.
    type: dict
  settings:
    description:
      - Further options of this action, of those that say what the keys should be, as a dictionary. They come before
        those given by themselves; C(metadata) are merged.
      - It is for callers that take options from callers of their own, like a role.
    type: dict
  extra_params:
    description:
      - Further fields of LiteLLM's API, by name. They are sent as they are and read back, so that a name that the
        proxy does not know is an error. Of dictionaries only what is named here is compared.
    type: dict
  unset:
    description:
      - Names of settings to take off, because an empty value means that nothing is said about them. V(expires_at) is
        one of them, which makes a key that never expires (LiteLLM 1.80.12 or later).
    type: list
    elements: str
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
  - When the task's C(timeout) ends it, what was done is told, secrets included. When the user interrupts Ansible,
    nobody would hear of the random secrets of the keys that were made until then, so that these keys are removed again.
  - Keep secrets in variables, as with any action. When a task fails, ansible-core 2.19 and later print the lines of the
    playbook where it stands, and for an ad-hoc command its arguments.
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

- name: Give each user of a workshop a key, virtkey-user123-user1 and so on
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    users: [user1, user2, user3]
    user_id: "{user}@example.com"
    duration: 7d
    max_budget: 10
  register: workshop

- name: Give several environments their keys, in one task
  rhpds.litellm_virtual_keys.litellm_key:
    duration: 7d
    virtual_keys:
      - guid: user124
        models: [openai/granite-3-2-8b-instruct]
      - guid: user125
        duration: 30d

- name: Make the secret one that any controller can derive again
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    key_seed: "{{ lookup('ansible.builtin.password', playbook_dir ~ '/seed', length=40) }}"
    regenerate: if_unrecoverable

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
  returned: when the proxy answered, and one key was asked for
  type: dict
  contains:
    key:
      description: The secret. It is null when it is not known, and when the key was removed.
      type: str
      sample: sk-DHrMfs4TgkFoV0IrpOcQW1Yj8lQdHZ2b
    key_source:
      description:
        - Where the secret came from. It is V(given) by O(key) or by what was saved (O(recall)), V(derived) from
          O(key_seed), V(generated) by this run, or made by the V(server) where that insists. It is null when the secret
          is not known.
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
    user:
      description: The user of the environment whose key it is.
      returned: when O(users) or O(users_of) named one
      type: str
      sample: user1
    operation:
      description:
        - One of V(created), V(updated), V(unchanged), V(regenerated), V(deleted), V(absent) and V(failed).
      type: str
      sample: created
    models:
      description: The models that may be used. An empty list means all.
      type: list
      elements: str
      sample: [openai/granite-3-2-8b-instruct]
    duration:
      description:
        - The lifetime that was asked for, if it is the one that the key has. Otherwise it is the time from creation to
          expiry, to the minute.
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
not_deleted:
  description: The ids of keys of which LiteLLM says that it has deleted them, and which are still there.
  returned: on failure, when the proxy answered
  type: list
  elements: str
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
