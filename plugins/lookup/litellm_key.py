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
    for, or has the id that is asked for.
  - The proxy is then asked whether it has a key with this alias and this secret, and whether that can be used.
  - Several keys are asked for at the same time, and one request serves all references to a key in a template.
options:
  _terms:
    description: The keys that are wanted, as named by O(search). A list of them counts as its members.
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
    description: What the secret is derived from, as with M(rhpds.litellm_virtual_keys.litellm_key). It is text.
    type: raw
  key_version:
    description: The version of the secret that is derived from O(key_seed).
    type: int
    default: 1
  user_data:
    description:
      - The user data of AgnosticD, as a dictionary.
      - If it is not given, F(provision-user-data.yaml) in the folder C(output_dir) is read, which by default is the
        folder of the playbook.
    type: raw
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
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._options import (
    CONNECTION,
    Option,
    connect,
    is_vaulted,
    typed,
    with_sources,
)
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
        given = with_sources(CONNECTION, kwargs, lambda name: self._variable(name, variables))
        given = {name: str(value) if is_vaulted(value) else value for name, value in given.items()}
        problem = None
        try:
            self._set(given)
            return self._values([self._name(term) for term in self._flatten(terms)], variables)
        except UserError as error:
            _memory.clear()  # what is wrong now may be right when it is asked for again
            problem = mask(str(error), [str(given.get(name) or "") for name in ("master_key", "key_seed")])
        raise AnsibleLookupError(problem)  # outside of the except block: ansible-core 2.19 would print the cause too

    def _set(self, given: Mapping[str, Any]) -> None:
        """Let ansible-core complete the options, from ansible.cfg and the defaults, once it cannot say a secret.

        Its own errors quote a wrong value, which may be a secret, and an option that it does not know it ignores.
        """
        # Empty is not given; but an alias_prefix may be empty.
        given = {name: value for name, value in given.items() if name not in CONNECTION or value not in (None, "")}
        given.pop("wantlist", None)  # from a with_ loop
        documented = {
            name: Option(of["type"], of.get("default"), tuple(of.get("choices", ())))
            for name, of in self.option_definitions.items()
            if name != "_terms"
        }
        known = {**documented, **CONNECTION, "key_seed": Option(secret=True)}
        values = typed(known, given, "The lookup litellm_key")
        if not isinstance(values["user_data"], Mapping | None):
            raise OptionError("user_data must be a dictionary")
        self.set_options(direct={name: values[name] for name in given})

    def _values(self, names: Sequence[str], variables: Mapping[str, Any]) -> list[Any]:
        """What is asked for of the keys with these aliases or ids."""
        field = self.get_option("field")
        if field == "key":
            secrets = {name: self._secret(name, variables) for name in names}
            asked = self._ask(names) if self.get_option("verify") else {}
            for name, seen in asked.items():
                _existing(name, seen)  # first: of a key that is not there, nobody can know the secret
            known = {name: _known(name, secret) for name, secret in secrets.items()}
            for name, seen in asked.items():
                _verify(name, known[name], seen)
            return [known[name].value for name in names]
        keys = {name: _existing(name, seen) for name, seen in self._ask(names).items()}
        if field != "all":
            return [described(keys[name])[_FIELDS.get(field, field)] for name in names]
        found = []
        for name in names:
            secret = self._secret(name, variables)
            matches = secret is not None and secret.key_id == keys[name].key_id
            found.append({**described(keys[name]), "key": secret.value if secret and matches else None})
        return found

    def _name(self, term: Any) -> str:
        search = self.get_option("search")
        if isinstance(term, bool) or not (is_vaulted(term) or isinstance(term, str | int | float)):
            # Not quoted: a dictionary may well be one of user data.
            raise OptionError(
                f"A term must be the {search} of a key, as text or a number; null, true or {{}} names none"
            )
        if search == "id":
            return checked_id(str(term))
        prefix = self.get_option("alias_prefix") if search == "guid" else ""
        return checked_alias(f"{prefix}{checked_alias(str(term), search)}", search)

    def _secret(self, name: str, variables: Mapping[str, Any]) -> Secret | None:
        """The secret, if it can be derived, was saved as user data, or is the play's own."""
        by_id = self.get_option("search") == "id"
        if (seed := self.get_option("key_seed")) and not by_id:
            return derive(seed, name, self.get_option("key_version"), master_key=self.get_option("master_key"))
        for saved in saved_keys(self._saved(variables)):
            secret = Secret(saved.secret, "given")
            if name == (secret.key_id if by_id else saved.alias):
                return secret
        # The secret of another key may be a template with this very lookup in it. Hence the alias is looked at first,
        # and where there is none, a template is left alone.
        if by_id:
            mine = not self._templar.is_template(variables.get("litellm_virtual_key"))
        else:
            mine = self._variable("litellm_key_alias", variables) == name
        plays = self._variable("litellm_virtual_key", variables) if mine else None
        own = Secret(str(plays), "given") if plays else None
        return None if own and by_id and own.key_id != name else own

    def _ask(self, names: Sequence[str]) -> dict[str, Seen]:
        """What the proxy has, by alias or by id."""
        options = {name: self.get_option(name) for name in (*CONNECTION, "key_seed")}
        keys = {name: (*options.values(), name) for name in names}
        fresh = time.monotonic() - _REMEMBERED
        missing = [name for name, key in keys.items() if key not in _memory or _memory[key][0] < fresh]
        if missing:
            client = connect(options, self._display.warning)
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

    def _variable(self, name: str, variables: Mapping[str, Any]) -> Any:
        return self._templar.template(variables[name]) if name in variables else None


def _known(name: str, secret: Secret | None) -> Secret:
    if secret is None:
        raise OptionError(
            f"The secret of the key {name} is not known here: LiteLLM does not tell it, and neither the user data nor "
            "the play has it; provision the key in this play, or give user_data or key_seed"
        )
    return secret


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
