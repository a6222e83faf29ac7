# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_key
short_description: Manage virtual keys of a LiteLLM proxy
version_added: 2.0.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Creates, updates and deletes virtual keys. A virtual key gives one user access to selected models through a LiteLLM
    proxy until it expires.
  - The action is idempotent. It looks up the existing keys first, sends only the differences, and verifies the result
    by reading it back from the proxy.
  - A new key is as permissive as its options allow. Without O(models), it can use every model. Without O(max_budget),
    its spend is not limited. Without O(duration), O(runtime) and O(expires_at), it never expires. A proxy can have
    defaults that restrict such keys.
  - LiteLLM shows the secret of a key only once, when the key is created. The action therefore generates the secret
    itself, so that the secret is not lost if the response of the proxy is lost.
options:
  state:
    description:
      - V(present) creates the key, or updates the settings that differ. Settings that are not specified are left
        unchanged.
      - V(absent) deletes every key with exactly this alias. With the last key of a shared budget of
        M(rhpds.litellm_virtual_keys.litellm_environment), it also deletes the team that holds the budget.
    type: str
    choices: [present, absent]
    default: present
  guid:
    description:
      - The guid of the environment that the key is for. The alias of the key is O(alias_prefix) plus the guid.
      - Exactly one of O(guid), O(key_alias), O(key_id) and O(virtual_keys) is required.
    type: str
  alias_prefix:
    description: The prefix of the alias, before O(guid).
    type: str
    default: virtkey-
  key_alias:
    description: The unique alias of the key. The maximum length is 255 characters.
    type: str
  key_id:
    description:
      - The id of an existing key. It is the SHA-256 hash of the secret.
      - LiteLLM calls it C(token) or C(token_id), and its user interface calls it I(Key ID).
    type: str
  virtual_keys:
    description:
      - A list of keys to manage in one task. Each entry is a dictionary that identifies one key by C(guid),
        C(key_alias) or C(key_id), and can contain any other option of a key. Options that an entry does not contain are
        taken from the task.
      - Each alias must be unique within the list.
    type: list
    elements: dict
  key:
    description:
      - A secret that you know or choose. It must start with V(sk-) and have at least 16 characters.
      - A new key is created with this secret. If the key exists with a different secret, O(regenerate) determines what
        happens.
      - If neither O(key) nor O(key_seed) is specified, a new key gets a random secret, and the secret of an existing
        key is unknown.
      - An empty value is ignored.
    type: str
  key_seed:
    description:
      - A seed from which the secret is derived, together with the alias and O(key_version). The same three values give
        the same secret on any controller, without storing it. The seed must have at least 32 characters, must not
        consist of repetitions or sequences, and must not be the master key.
      - An empty value is ignored. The option is mutually exclusive with O(key).
    type: str
  key_version:
    description: The version of the secret. Change it to derive another secret from the same O(key_seed).
    type: int
    default: 1
  regenerate:
    description:
      - Whether to replace an existing key with one that has a new secret. The new key keeps the alias, the settings and
        the spend. The old secret remains valid until the new key exists.
      - V(never) does not replace the key. The task fails if the key exists with a different secret than the specified
        one.
      - V(if_unrecoverable) replaces the key if its secret is unknown or differs from the specified one.
      - V(always) replaces the key in every run.
    type: str
    choices: [never, if_unrecoverable, always]
    default: never
  rotate:
    description:
      - Replace the key by age. A key whose secret is older than C(rotate.every) is replaced by one with a new secret,
        which gets its alias, its settings and its expiry. The old secret works until the overlap ends.
      - During the overlap, the alias of the old key has the suffix C(.previous), and RV(virtual_key.previous) is set.
        The proxy itself enforces the end of the overlap. A second run during the overlap changes nothing. The first run
        after it deletes the old key, and O(state=absent) deletes both.
      - Both keys can spend their budget until the overlap ends. The new key starts with the spend of the old one, and
        neither counts what the other spends from then on.
      - With O(key_seed), the new secret is the next version, so any controller with the seed returns it.
        O(key_version) is then the version of a new key, and the lowest one that is accepted.
      - A key that has expired is not replaced. O(rotate) cannot be combined with O(key_id), O(key) and
        O(regenerate=always). An empty dictionary rotates nothing.
    type: dict
    suboptions:
      every:
        description:
          - The age from which a secret is replaced, such as V(30d). See O(duration) for other formats.
        type: str
        required: true
      overlap:
        description:
          - How long the old secret works after it was replaced, such as V(24h). It must be shorter than
            O(rotate.every). V(0) revokes the old secret at once.
        type: str
        default: 24h
    version_added: 2.1.0
  recall:
    description:
      - Whether to look for secrets that earlier runs saved. They are read from the AgnosticD user data in
        F(provision-user-data.yaml) in the directory C(output_dir), and from the facts C(litellm_virtual_key) and
        C(litellm_virtual_keys) of the play. A saved secret is used only if it was saved together with the alias of the
        key.
      - The role and M(rhpds.litellm_virtual_keys.litellm_environment) always do this. Set the option only to read what
        they saved.
      - If a secret is found, it is returned. O(on_missing_key) controls whether a new key reuses it.
    type: bool
    default: false
  on_missing_key:
    description:
      - What to do if O(state=present) and the key does not exist.
      - V(create) creates the key. It does not reuse a saved secret, because the key may have been deleted to revoke
        that secret.
      - V(recreate) creates the key with its previous secret. This is the secret from O(key), derived from O(key_seed),
        or saved (see O(recall)). If no secret is known, the task fails, unless O(regenerate) allows a new one.
      - V(ignore) does nothing. Use it to change a key, for example with O(blocked), without creating it by mistake.
      - V(recreate) is meant for M(rhpds.litellm_virtual_keys.litellm_environment), which extends expired keys with it.
    type: str
    choices: [create, recreate, ignore]
    default: create
  on_unknown_key:
    description:
      - What to do if the key exists, its secret is unknown, and O(regenerate=never).
      - V(ignore) updates the settings of the key and returns null in RV(virtual_key.key).
      - V(fail) fails and leaves the key unchanged, as the role does.
    type: str
    choices: [ignore, fail]
    default: ignore
  expires_at:
    description:
      - The time at which the key expires, in ISO 8601 format, such as V(2026-11-30T08:00:00Z). The default time zone is
        UTC.
      - O(expires_at) takes precedence over O(runtime), which takes precedence over O(duration). Empty values are
        ignored. If none of them is specified, a new key B(never expires), and the expiry of an existing key is left
        unchanged.
    type: raw
  runtime:
    description:
      - The lifetime of the environment, and thus of the key. A number is interpreted as hours; see O(duration) for
        other formats.
    type: raw
  duration:
    description:
      - The lifetime of the key, counted from its creation, such as V(30d), V(36h), V(7 days), V(1d12h), V(P7D) or
        V(1mo). A number without a unit is refused.
      - A second run changes nothing, because the lifetime is counted from the creation of the key. A longer duration
        extends the key. If the key has expired and the resulting expiry is in the past, the key is renewed for the
        whole duration, counted from now.
    type: raw
  duration_from:
    description:
      - Whether O(duration) and O(runtime) are counted from the V(creation) of the key or from V(now). V(now) moves the
        expiry in every run.
    type: str
    choices: [creation, now]
    default: creation
  shorten:
    description: Whether the expiry of an existing key can be moved to an earlier time.
    type: bool
    default: true
  models:
    description:
      - The names of the models that the key can use. The order is ignored.
      - If this option is not specified, a new key can use B(all models) of the proxy, and the models of an existing key
        are left unchanged. An empty list also means all models.
    type: list
    elements: str
  on_unknown_models:
    description:
      - What to do if O(models) contains names that the proxy does not serve. LiteLLM itself accepts any name.
      - Wildcards such as V(openai/*), access groups, and special names such as V(all-team-models) are supported.
    type: str
    choices: [fail, warn, ignore]
    default: fail
  model_aliases:
    description: Alternative names for models, as a dictionary that maps each alternative name to a model.
    type: dict
  max_budget:
    description:
      - The maximum spend of the key, in US dollars. When it is spent, the proxy rejects the requests of the key, until
        LiteLLM resets the spend (see O(budget_duration)) or the budget is raised.
      - If this option is not specified, the spend of a new key is B(not limited), and the budget of an existing key is
        left unchanged.
    type: float
  soft_budget:
    description:
      - The spend at which LiteLLM sends a warning, in US dollars. LiteLLM before 1.102 accepts it for new keys only.
      - LiteLLM stores it in a budget, so it is mutually exclusive with O(budget_id). If the key has no budget, LiteLLM
        creates one. If the key has a budget, the soft budget changes for every key that shares this budget.
    type: float
  budget_duration:
    description:
      - The interval after which LiteLLM resets the spend, such as V(30d). A number without a unit is in hours.
    type: str
  budget_id:
    description: The id of the LiteLLM budget that applies to the key.
    type: str
  tpm_limit:
    description: The maximum number of tokens per minute.
    type: int
  rpm_limit:
    description: The maximum number of requests per minute.
    type: int
  max_parallel_requests:
    description: The maximum number of parallel requests.
    type: int
  model_tpm_limit:
    description: The maximum number of tokens per minute for each model, as a dictionary by model.
    type: dict
  model_rpm_limit:
    description: The maximum number of requests per minute for each model, as a dictionary by model.
    type: dict
  model_max_budget:
    description: The budget of each model, as a dictionary by model. This requires a LiteLLM Enterprise license.
    type: dict
  budget_limits:
    description:
      - Maximum spends in several intervals at once, as a list of dictionaries with C(budget_duration), such as V(1d),
        and C(max_budget), in US dollars. Each interval can be listed once. The order is ignored. JSON text is accepted
        as well.
      - LiteLLM resets V(7d) on Mondays and V(168h) at midnight, so these two are different intervals.
      - This requires LiteLLM 1.83.10 or later.
    type: list
    elements: dict
    version_added: 2.1.0
  temp_budget_increase:
    description:
      - An amount in US dollars that is added to O(max_budget) until O(temp_budget_expiry), which is also required. It
        has no effect on a key without O(max_budget), or on O(budget_limits).
    type: float
    version_added: 2.1.0
  temp_budget_expiry:
    description:
      - The time until which O(temp_budget_increase) applies, in ISO 8601 format. The default time zone is UTC. A time
        in the past is accepted, and ends the increase.
      - It is stored without a time zone, because LiteLLM up to 1.85 rejects all requests of the key otherwise. These
        releases interpret it in the time zone of the proxy.
    type: raw
    version_added: 2.1.0
  metadata:
    description:
      - The metadata of the key. It is merged into the existing metadata at the top level only. A nested dictionary
        replaces the existing one.
    type: dict
  tags:
    description: The tags for spend tracking. This requires a LiteLLM Enterprise license.
    type: list
    elements: str
  guardrails:
    description: The guardrails that apply to each request. This requires a LiteLLM Enterprise license.
    type: list
    elements: str
  enforced_params:
    description:
      - The parameters that each request must have, such as V(user) or V(metadata.generation_name). This requires a
        LiteLLM Enterprise license. B(Without one), LiteLLM stores them, and then rejects every request of the key.
    type: list
    elements: str
    version_added: 2.1.0
  user_id:
    description: The user that the key belongs to. LiteLLM does not check whether the user exists.
    type: str
  team_id:
    description: The team that the key belongs to.
    type: str
  organization_id:
    description: The organization that the key belongs to.
    type: str
  project_id:
    description:
      - The project that the key belongs to. It must be a project of the team of the key (LiteLLM 1.108 and later).
      - It can be removed from a key. LiteLLM 1.109 and later can also give a project to an existing key that has none.
    type: str
  agent_id:
    description:
      - The agent that the key belongs to. LiteLLM does not check whether the agent exists.
      - This requires LiteLLM 1.81.16 or later.
    type: str
    version_added: 2.1.0
  access_group_ids:
    description:
      - The ids of the access groups whose models the key can use in addition to O(models). A key without O(models) can
        use all models in any case. LiteLLM does not check whether the groups exist. The order is ignored.
      - This requires LiteLLM 1.81.12 or later.
    type: list
    elements: str
    version_added: 2.1.0
  key_type:
    description:
      - The type of the key. It is mutually exclusive with O(allowed_routes), because LiteLLM stores the type as the
        corresponding routes.
      - If neither is set, a new key gets the default routes of the proxy (LiteLLM 1.109 and later), or can use all
        routes if there are none.
    type: str
    choices: [default, llm_api, management, read_only]
  allowed_routes:
    description:
      - The routes of the proxy that the key can use. An empty list means all routes that are available to users.
    type: list
    elements: str
  permissions:
    description: The LiteLLM permissions of the key, as a dictionary by name.
    type: dict
  object_permission:
    description:
      - The objects other than models that the key can access, such as C(mcp_servers). Only the names in this dictionary
        are compared.
    type: dict
  router_settings:
    description:
      - Settings of LiteLLM's router for the requests of this key, as a dictionary, such as C(num_retries) and
        C(fallbacks). They replace the present ones. LiteLLM ignores unknown names, so the task fails when it reads them
        back. Where LiteLLM expects a number or a boolean, text that contains one is converted.
      - This requires LiteLLM 1.80.15 or later.
    type: dict
    version_added: 2.1.0
  auto_rotate:
    description:
      - Whether the proxy replaces the secret of the key after each O(rotation_interval), which is also required.
      - The replacement requires a LiteLLM Enterprise license, and C(LITELLM_KEY_ROTATION_ENABLED) in the environment of
        the proxy. LiteLLM accepts the option without them.
      - B(This collection does not know the new secret). The saved secret stops working, and the secret of the key is
        then unknown (see O(on_unknown_key)). To replace secrets so that they are known, use O(rotate), which cannot be
        combined with it, or O(regenerate).
      - This requires LiteLLM 1.77.5 or later.
    type: bool
    version_added: 2.1.0
  rotation_interval:
    description:
      - The interval of O(auto_rotate), such as V(30d). A number without a unit is in hours. A change starts a new
        interval.
    type: str
    version_added: 2.1.0
  blocked:
    description:
      - Whether the key is blocked. The proxy rejects a blocked key, but does not delete it. Its secret, settings and
        expiry stay the same.
    type: bool
  on_create:
    description:
      - Settings that apply to new keys only, as a dictionary. It can contain any option that LiteLLM stores with the
        key, such as O(models), O(max_budget) and O(metadata). An existing key keeps its values.
      - The role uses it to record with which models and duration a key was created.
      - A setting that is also specified as an option of its own takes precedence over the one in this dictionary.
    type: dict
  extra_params:
    description:
      - More fields of the LiteLLM API, as a dictionary. They are sent unchanged and read back, so a name that the proxy
        does not support causes a failure. In nested dictionaries, only the specified names are compared.
      - LiteLLM does not store C(send_invite_email). It is sent only when a key is created for the first time, not when
        a key is replaced (see O(regenerate)), and it is not read back.
    type: dict
  unset:
    description:
      - The names of settings to remove from the key. This option exists because an empty value leaves a setting
        unchanged. Use V(expires_at) for a key that never expires (LiteLLM 1.80.12 or later).
    type: list
    elements: str
seealso:
  - module: rhpds.litellm_virtual_keys.litellm_environment
  - name: Run a workshop
    description: How to create a key for each participant.
    link: https://rhpds.github.io/rhpds.litellm_virtual_keys/docsite/run_a_workshop.html
  - name: Replace a leaked or lost key
    description: How to replace a leaked or lost key.
    link: https://rhpds.github.io/rhpds.litellm_virtual_keys/docsite/replace_a_key.html
  - name: Expiry
    description: How lifetimes are counted.
    link: https://rhpds.github.io/rhpds.litellm_virtual_keys/docsite/expiry.html
attributes:
  check_mode:
    description: Predicts the changes without making them.
    support: full
  diff_mode:
    description: Returns the key before and after the change, without its secret.
    support: full
  idempotent:
    description: A second run with the same options changes nothing, except with O(regenerate=always) or
      O(duration_from=now), or if O(rotate) is due.
    support: full
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._connection
  - rhpds.litellm_virtual_keys._attributes
  - rhpds.litellm_virtual_keys._attributes.actiongroup_litellm
notes:
  - If the result contains a secret, Ansible hides it from the output. Register the result and use RV(virtual_key.key).
    Only an ad-hoc command prints the secret, because there is no other way to obtain it.
  - If the C(timeout) keyword of the task stops the action, the result reports what was done, including secrets. If you
    interrupt Ansible, the random secrets of new keys would be lost. Therefore, these keys are deleted again.
  - Do not repeat the task with C(until). If an attempt creates a key and the condition is not met, the next attempt
    does not know the random secret, which is lost. The action retries requests itself (O(retries)).
  - Store secrets in variables, as with any action. If a task fails, ansible-core 2.19 and later print the lines of the
    task from the playbook, or the arguments of an ad-hoc command.
"""

EXAMPLES = r"""
# The URL and the master key are read from the variables litellm_url and litellm_master_key,
# or from the environment variables LITELLM_URL and LITELLM_MASTER_KEY.
- name: Create a key that expires after seven days
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    duration: 7d
    models:
      - openai/granite-3-2-8b-instruct
    metadata:
      team: workshop
  register: granite

- name: List the models that the key can use
  ansible.builtin.uri:
    url: "{{ granite.api_base_url }}/models"
    headers:
      Authorization: Bearer {{ granite.virtual_key.key }}

- name: Extend the key to fourteen days after its creation
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    duration: 14 days

- name: Set the date on which the key expires
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    expires_at: "2099-12-24T18:00:00Z"

- name: Make sure that the key is valid for at least two more hours
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    duration: 2h
    duration_from: now
    shorten: false

- name: Block the key without creating it if it does not exist
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    blocked: true
    on_missing_key: ignore

- name: Unblock the key
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    blocked: false

- name: Limit what the key can spend and how often it can be used
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    max_budget: 10
    rpm_limit: 60

- name: Let the key spend more until the end of a workshop
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    temp_budget_increase: 5
    temp_budget_expiry: "2099-12-24T18:00:00Z"

- name: Remove the limits again
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    unset: [max_budget, rpm_limit, temp_budget_increase, temp_budget_expiry]

- name: Replace a key that has leaked, once
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    regenerate: always
  register: replaced

- name: Replace the key every 30 days, and let the old secret work for another day
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    rotate:
      every: 30d
      overlap: 24h
  register: rotated

- name: Show until when the old secret works
  ansible.builtin.debug:
    msg: "{{ rotated.virtual_key.previous.expires }}"
  when: rotated.virtual_key.previous is not none

- name: Derive the secret from a seed, so that every run on any controller returns it
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user126
    key_seed: "{{ vaulted_seed }}"

- name: Replace the derived secret, and use version 2 from now on
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user126
    key_seed: "{{ vaulted_seed }}"
    key_version: 2
    regenerate: if_unrecoverable

- name: Create keys for several environments in one task
  rhpds.litellm_virtual_keys.litellm_key:
    duration: 7d
    virtual_keys:
      - guid: user124
        models: [openai/granite-3-2-8b-instruct]
      - guid: user125
        duration: 30d
  register: several

- name: Save these keys as CSV
  ansible.builtin.copy:
    content: |
      guid,key,expires
      {% for one in several.virtual_keys %}
      {{ one.guid }},{{ one.key }},{{ one.expires }}
      {% endfor %}
    dest: "{{ playbook_dir }}/keys.csv"
    mode: "0600"
  no_log: true

- name: Delete the key
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    state: absent

# From the command line, which prints the secret:
# ansible localhost -m rhpds.litellm_virtual_keys.litellm_key \
#   -a 'guid=user123 duration=7d models=openai/granite-3-2-8b-instruct max_budget=5'
# ansible localhost -m rhpds.litellm_virtual_keys.litellm_key -a 'guid=user123 regenerate=always'
# ansible localhost -m rhpds.litellm_virtual_keys.litellm_key -a 'guid=user123 blocked=true'
# ansible localhost -m rhpds.litellm_virtual_keys.litellm_key -a 'guid=user123 blocked=false'
# ansible localhost -m rhpds.litellm_virtual_keys.litellm_key -a 'guid=user123 state=absent'
"""

RETURN = r"""
virtual_key:
  description: The key, if the task manages a single key.
  returned: when the proxy responded and the task manages a single key
  type: dict
  contains:
    key:
      description: The secret. It is null if the secret is unknown or the key was deleted.
      type: str
      sample: sk-DHrMfs4TgkFoV0IrpOcQW1Yj8lQdHZ2b
    key_source:
      description:
        - The source of the secret. V(given) means that it was specified by O(key) or saved earlier (see O(recall)).
          V(derived) means that it was derived from O(key_seed). V(generated) means that this run generated it.
          V(server) means that the proxy generated it, because the proxy does not accept secrets from clients. It is
          null if the secret is unknown.
      type: str
      sample: generated
    key_alias:
      description: The unique alias of the key.
      type: str
      sample: virtkey-user123
    key_id:
      description: The SHA-256 hash of the secret, which identifies the key in LiteLLM. LiteLLM calls it C(token).
      type: str
      sample: 87aa8ee6bb86da4b9ac4dcd6a2c8e7da0b5e5e8b7b9a42b0c3d1b9e3f1c44a3e
    key_name:
      description: The secret, abbreviated by LiteLLM.
      type: str
      sample: sk-...HZ2b
    guid:
      description: The value of O(guid), if specified.
      type: str
      sample: user123
    operation:
      description:
        - One of V(created), V(updated), V(unchanged), V(regenerated), V(deleted), V(absent) and V(failed).
      type: str
      sample: created
    models:
      description: The models that the key can use. An empty list means all models.
      type: list
      elements: str
      sample: [openai/granite-3-2-8b-instruct]
    duration:
      description:
        - The specified lifetime, if it matches the lifetime of the key. Otherwise, the time from the start of the
          lifetime to the expiry, to the minute. The lifetime of a replaced key starts with the creation of the first.
        - It is null if the key never expires.
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
    previous:
      description:
        - The key that was replaced by O(rotate) and whose secret works until its expiry. It is null if there is none.
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
      sample: null
    error:
      description: The reason why the key does not have the desired state.
      returned: when the operation failed
      type: str
      sample: "LiteLLM returned 500 for POST /key/generate: Internal Server Error."
virtual_keys:
  description: All keys that the task manages, in the specified order. Each has the same format as RV(virtual_key).
  returned: when the proxy responded
  type: list
  elements: dict
  sample: []
not_deleted:
  description: The ids of keys that LiteLLM reported as deleted but that still exist.
  returned: on failure, when the proxy responded
  type: list
  elements: str
  sample: []
api_endpoint:
  description: The URL of the proxy.
  returned: when the proxy responded
  type: str
  sample: https://litellm.example.com
api_base_url:
  description: The base URL for OpenAI clients.
  returned: when the proxy responded
  type: str
  sample: https://litellm.example.com/v1
api_calls:
  description: The number of API requests that were sent.
  returned: when the proxy responded
  type: int
  sample: 3
"""
