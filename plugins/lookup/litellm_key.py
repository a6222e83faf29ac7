# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: litellm_key
short_description: The virtual key of an environment, where a template needs it
version_added: 2.0.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Gives the secret of a virtual key, or another field of it, for use in a playbook or a template. It never creates or
    changes a key.
  - LiteLLM does not tell secrets. A secret is derived from O(key_seed). Otherwise it is looked for in the user data of
    AgnosticD, and then in the play's own fact C(litellm_virtual_key), where it stands beside the alias that is asked
    for.
  - The proxy is then asked whether it has a key with this alias and this secret, and whether that can be used.
  - Several keys are asked for at the same time, and one request serves all references to a key in a template.
options:
  _terms:
    description: The keys that are wanted, as named by O(search).
    type: list
    elements: str
    required: true
  search:
    description: Whether the terms are guids, aliases or ids of the keys.
    type: str
    choices: [guid, alias, id]
    default: guid
  field:
    description:
      - What is wanted of the key. V(key) is the secret, and V(all) a dictionary of everything that
        M(rhpds.litellm_virtual_keys.litellm_key) returns of a key. Its C(key) is null if the secret is not known.
    type: str
    choices: [key, alias, id, name, expires, duration, models, spend, max_budget, user_id, metadata, blocked, all]
    default: key
  alias_prefix:
    description: What the alias of a key begins with, before the guid.
    type: str
    default: virtkey-
  key_seed:
    description: What the secret is derived from, as with M(rhpds.litellm_virtual_keys.litellm_key).
    type: str
  key_version:
    description: The version of the secret that is derived from O(key_seed).
    type: int
    default: 1
  user_data:
    description:
      - The user data of AgnosticD.
      - If it is not given, F(provision-user-data.yaml) in the folder C(output_dir) is read, which by default is the
        folder of the playbook.
    type: dict
  verify:
    description:
      - Whether the proxy is asked about the secret. If not, no proxy is needed, and nobody notices that the secret was
        revoked.
    type: bool
    default: true
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._connection.plugins
seealso:
  - module: rhpds.litellm_virtual_keys.litellm_key
  - module: rhpds.litellm_virtual_keys.litellm_key_info
"""

EXAMPLES = r"""
- name: Write the settings of a program that uses the models
  ansible.builtin.copy:
    dest: "{{ playbook_dir }}/.env"
    mode: "0600"
    content: |
      OPENAI_BASE_URL={{ litellm_url }}/v1
      OPENAI_API_KEY={{ lookup('rhpds.litellm_virtual_keys.litellm_key', guid) }}
  no_log: true

- name: Say when the key of the environment ends
  ansible.builtin.debug:
    msg: "Until {{ lookup('rhpds.litellm_virtual_keys.litellm_key', guid, field='expires') }}"

- name: Say which users may use which models
  ansible.builtin.debug:
    msg: "{{ users | zip(query('rhpds.litellm_virtual_keys.litellm_key', *users, field='models')) }}"
  vars:
    users: ["{{ guid }}-user1", "{{ guid }}-user2"]

- name: Use a secret that needs neither a proxy nor a file
  ansible.builtin.set_fact:
    key: >-
      {{ lookup('rhpds.litellm_virtual_keys.litellm_key', guid, key_seed=vaulted_seed, verify=false) }}
  no_log: true
"""

RETURN = r"""
_raw:
  description: The secrets, or the other fields, in the order of the terms.
  type: list
  elements: raw
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import format_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError, UserError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import Observed, checked_alias, checked_id
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._observe import Observer
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._options import CONNECTION, connect
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._parallel import side_by_side
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._plan import Seen
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._result import described
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import Secret, derive, mask
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._user_data import load, saved_keys

_FIELDS = {"alias": "key_alias", "id": "key_id", "name": "key_name"}

# A template often names one key many times. A process that lives on asks again after so many seconds.
_REMEMBERED = 5.0
_memory: dict[tuple[object, ...], tuple[float, Seen]] = {}


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        variables = variables or {}
        self.set_options(var_options=self._connection_variables(variables, kwargs), direct=kwargs)
        problem = None
        try:
            return self._values([self._name(str(term)) for term in terms], variables)
        except UserError as error:
            _memory.clear()  # what is wrong now may be right when it is asked for again
            problem = mask(str(error), [str(self.get_option(name) or "") for name in ("master_key", "key_seed")])
        raise AnsibleLookupError(problem)  # outside of the except block: ansible-core 2.19 would print the cause too

    def _values(self, names: Sequence[str], variables: Mapping[str, Any]) -> list[Any]:
        """What is asked for of the keys with these aliases or ids."""
        field = self.get_option("field")
        if field == "key":
            secrets = {name: self._known_secret(name, variables) for name in names}
            if self.get_option("verify"):
                for name, seen in self._ask(names).items():
                    _verify(name, secrets[name], seen)
            return [secrets[name].value for name in names]
        keys = {name: _existing(name, seen) for name, seen in self._ask(names).items()}
        if field != "all":
            return [described(keys[name])[_FIELDS.get(field, field)] for name in names]
        found = []
        for name in names:
            secret = self._secret(name, variables)
            matches = secret is not None and secret.key_id == keys[name].key_id
            found.append({**described(keys[name]), "key": secret.value if secret and matches else None})
        return found

    def _name(self, term: str) -> str:
        search = self.get_option("search")
        if search == "id":
            return checked_id(term)
        prefix = self.get_option("alias_prefix") if search == "guid" else ""
        return checked_alias(f"{prefix}{checked_alias(term, search)}", search)

    def _known_secret(self, name: str, variables: Mapping[str, Any]) -> Secret:
        if secret := self._secret(name, variables):
            return secret
        raise OptionError(
            f"The secret of the key {name} is not known here: LiteLLM does not tell it, and neither the user data nor "
            "the play has it; provision the key in this play, or give user_data or key_seed"
        )

    def _secret(self, name: str, variables: Mapping[str, Any]) -> Secret | None:
        """The secret, if it can be derived, was saved as user data, or is the play's own."""
        by_id = self.get_option("search") == "id"
        if (seed := self.get_option("key_seed")) and not by_id:
            return derive(seed, name, self.get_option("key_version"), master_key=self.get_option("master_key"))
        for alias, value in saved_keys(self._saved(variables)):
            secret = Secret(value, "given")
            if name == (secret.key_id if by_id else alias):
                return secret
        # The alias first: the secret of another key may be a template with this very lookup in it.
        if not by_id and self._variable("litellm_key_alias", variables) == name:
            own = self._variable("litellm_virtual_key", variables)
            return Secret(str(own), "given") if own else None
        return None

    def _ask(self, names: Sequence[str]) -> dict[str, Seen]:
        """What the proxy has, by alias or by id."""
        options = {name: self.get_option(name) for name in CONNECTION}
        keys = {name: (*options.values(), name) for name in names}
        fresh = time.monotonic() - _REMEMBERED
        missing = [name for name, key in keys.items() if key not in _memory or _memory[key][0] < fresh]
        if missing:
            client = connect(options)
            observer = Observer(client)
            if self.get_option("search") == "id":
                rows = side_by_side(observer.with_id, missing, client.connection.concurrency)
                found = dict(zip(missing, rows, strict=True))
            else:
                found = observer.with_aliases(missing)
            for name in missing:
                _memory[keys[name]] = (time.monotonic(), Seen(found[name], client.now()))
        return {name: _memory[key][1] for name, key in keys.items()}

    def _saved(self, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        given = self.get_option("user_data")
        if given is not None:
            return dict(given)
        folder = variables.get("output_dir") or variables.get("playbook_dir") or "."
        return load(Path(str(self._templar.template(folder))))

    def _connection_variables(self, variables: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """The variables that may hold connection options; ansible-core would take them with their templates in them."""
        values = {
            option.variable: self._variable(option.variable, variables)
            for name, option in CONNECTION.items()
            if option.variable and name not in given
        }
        return {name: value for name, value in values.items() if value not in (None, "")}

    def _variable(self, name: str, variables: Mapping[str, Any]) -> Any:
        return self._templar.template(variables[name]) if name in variables else None


def _existing(name: str, seen: Seen) -> Observed:
    if not seen.keys:
        raise OptionError(f"There is no key {name}: it was removed, or never created; provision it again")
    return seen.keys[0]


def _verify(name: str, secret: Secret, seen: Seen) -> None:
    """The secret opens the key, or a sentence says why not."""
    _existing(name, seen)
    key = next((key for key in seen.keys if key.key_id == secret.key_id), None)
    if key is None:
        origin = "derived from key_seed" if secret.source == "derived" else "saved"
        raise OptionError(f"The key {name} has another secret than the one that was {origin}; provision it again")
    if key.value("blocked"):
        raise OptionError(f"The key {name} is blocked; unblock it (litellm_key with blocked: false)")
    if key.expires is not None and key.expires <= seen.now:
        raise OptionError(f"The key {name} expired at {format_instant(key.expires)}; extend it")
