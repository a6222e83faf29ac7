# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: litellm_key
short_description: Look up virtual keys of a LiteLLM proxy
version_added: 2.0.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Returns the secret or another field of a virtual key, for use in a playbook or a template. It never creates or
    modifies a key.
  - LiteLLM does not return secrets of existing keys. If O(key_seed) is specified, the secret is derived from it.
    Otherwise, the secret is taken from the AgnosticD user data, or else from the fact C(litellm_virtual_key) of the
    play. A secret from user data or facts is used only if it was saved together with the requested alias, or if it
    matches the requested id.
  - By default, the lookup then verifies that the proxy has a key with this alias and this secret, and that the key is
    neither blocked nor expired.
  - Several keys are looked up in parallel. All references to the same key in a template share one request, for up to a
    second. What is evaluated later, for example in the next task, asks the proxy again.
options:
  _terms:
    description: The guids, aliases or ids of the keys to look up; see O(search). Nested lists are flattened.
    type: list
    elements: str
    required: true
  search:
    description: Whether the terms are guids, aliases or key ids.
    type: str
    choices: [guid, alias, id]
    default: guid
  field:
    description:
      - The field of the key to return. V(key) returns the secret. V(all) returns a dictionary with all fields that
        M(rhpds.litellm_virtual_keys.litellm_key) returns for a key. Its C(key) is null if the secret is unknown.
    type: str
    choices: [key, alias, id, name, expires, duration, models, spend, max_budget, user_id, metadata, blocked, all]
    default: key
  alias_prefix:
    description: The prefix of the alias, before the guid.
    type: str
    default: virtkey-
  key_seed:
    description:
      - The seed from which the secret is derived, as in M(rhpds.litellm_virtual_keys.litellm_key). It must be a string.
    type: raw
  key_version:
    description:
      - The version of the secret that is derived from O(key_seed). A later version is found, too, if the key has got it
        by a rotation (the option C(rotate) of M(rhpds.litellm_virtual_keys.litellm_key)), unless O(verify=false).
    type: int
    default: 1
  user_data:
    description:
      - The AgnosticD user data, as a dictionary.
      - If it is not specified, the user data is read from F(provision-user-data.yaml) in the directory C(output_dir),
        which defaults to the directory of the playbook.
    type: raw
  verify:
    description:
      - Whether to verify the secret with the proxy. V(false) does not require access to the proxy, but a revoked secret
        is not detected.
    type: bool
    default: true
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._connection.plugins
notes:
  - Environment variables are read from the environment of C(ansible-playbook). Ansible does not pass the C(environment)
    keyword of a task or play to lookups. Use variables such as C(litellm_url) instead.
seealso:
  - module: rhpds.litellm_virtual_keys.litellm_key
  - module: rhpds.litellm_virtual_keys.litellm_key_info
  - name: Hand a key to an application
    description: Templates for common applications.
    link: https://rhpds.github.io/rhpds.litellm_virtual_keys/docsite/hand_over_a_key.html
"""

EXAMPLES = r"""
- name: Write the secret into the settings of an application
  ansible.builtin.copy:
    dest: "{{ playbook_dir }}/.env"
    mode: "0600"
    content: |
      OPENAI_BASE_URL={{ litellm_url }}/v1
      OPENAI_API_KEY={{ lookup('rhpds.litellm_virtual_keys.litellm_key', guid) }}
  no_log: true

- name: Show when the key of an environment expires
  ansible.builtin.debug:
    msg: "Expires at {{ lookup('rhpds.litellm_virtual_keys.litellm_key', guid, field='expires') }}"

- name: Show the models of each user
  ansible.builtin.debug:
    msg: "{{ users | zip(query('rhpds.litellm_virtual_keys.litellm_key', *users, field='models')) }}"
  vars:
    users: ["{{ guid }}-user1", "{{ guid }}-user2"]

- name: Derive the secret without access to the proxy or to saved user data
  ansible.builtin.set_fact:
    key: >-
      {{ lookup('rhpds.litellm_virtual_keys.litellm_key', guid, key_seed=vaulted_seed, verify=false) }}
  no_log: true
"""

RETURN = r"""
_raw:
  description: The secrets, or the values of the specified field, in the order of the terms.
  type: list
  elements: raw
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.facts import (
    localhost_variable,
    play_variable,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import (
    CONNECTION_OPTIONS,
    Option,
    coerce_options,
    connect,
    is_empty,
    is_vaulted,
    register,
    secret_values,
    warning_about_sources,
    with_sources,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._concurrency import run_concurrently
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.secret_sources import known_keys
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.store import load
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError, UserError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import format_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import (
    DesiredKey,
    ObservedKey,
    Snapshot,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.names import checked_alias, checked_id
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.observer import Observer
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.result import (
    describe_key,
    unusable_key,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import (
    Secret,
    SecretVersions,
    derive,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.permission import (
    require_administrator,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._masking import mask
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._text import Wording

_FIELDS = {"alias": "key_alias", "id": "key_id", "name": "key_name"}
_SECRET_OPTIONS = {**CONNECTION_OPTIONS, "key_seed": Option(secret=True)}

# How long one evaluation of templates may use what the proxy returned.
CACHE_TTL_SECONDS = 1.0


class _Evaluation:
    """What the proxy returned while the templates of one task, or of one item of its loop, are evaluated.

    A template often names one key many times, and what is evaluated next may follow a change of the key. Ansible
    evaluates the templates of two tasks, or of their names, with different dictionaries of variables; within a loop,
    it changes the dictionary. A worker inherits the memory of the process that evaluated the name of its task.

    :ivar administrators: the connections whose master key is an administrator's.
    :ivar snapshots: the observed keys, by connection and by alias or id.
    """

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self._variables, self._values = variables, dict(variables)
        self._process, self._start = os.getpid(), time.monotonic()
        self.administrators: set[tuple[object, ...]] = set()
        self.snapshots: dict[tuple[object, ...], Snapshot] = {}

    def continues(self, variables: Mapping[str, Any]) -> bool:
        return (
            variables is self._variables
            and self._process == os.getpid()
            and time.monotonic() < self._start + CACHE_TTL_SECONDS
            and self._values.keys() == variables.keys()
            and all(value is self._values[name] for name, value in variables.items())
        )


_evaluation = _Evaluation({})


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        global _evaluation
        variables = {} if variables is None else variables
        if not _evaluation.continues(variables):
            _evaluation = _Evaluation(variables)
        given, self._names = with_sources(CONNECTION_OPTIONS, kwargs, lambda name: self._variable(name, variables))
        if warning := warning_about_sources(given, self._names):
            self._display.warning(warning)
        given = {name: str(value) if is_vaulted(value) else value for name, value in given.items()}
        problem = None
        try:
            register(_SECRET_OPTIONS, given)
            self._set(given)
            return self._values([self._name(term) for term in self._flatten(terms)], variables)
        except UserError as error:
            _evaluation.snapshots.clear()  # the next call may succeed
            problem = mask(str(error), secret_values(_SECRET_OPTIONS, given))
        raise AnsibleLookupError(problem)  # outside of the except block: ansible-core 2.19 would print the cause, too

    def _set(self, given: Mapping[str, Any]) -> None:
        """Validate the options, then let ansible-core complete them from ansible.cfg and the defaults.

        The errors of ansible-core quote invalid values, which may be secrets, and it ignores unknown options.
        """
        # An empty connection option is not given; an alias_prefix may be empty.
        given = {name: one for name, one in given.items() if name not in CONNECTION_OPTIONS or not is_empty(one)}
        given.pop("wantlist", None)  # set by a with_ loop
        documented = {
            name: Option(of["type"], of.get("default"), tuple(of.get("choices", ())))
            for name, of in self.option_definitions.items()
            if name != "_terms"
        }
        values = coerce_options({**documented, **_SECRET_OPTIONS}, given, "The lookup litellm_key")
        if not isinstance(values["user_data"], Mapping | None):
            raise OptionError("user_data must be a dictionary")
        self.set_options(direct={name: values[name] for name in given})

    def _values(self, names: Sequence[str], variables: Mapping[str, Any]) -> list[Any]:
        """Return the requested field of the keys with these aliases or ids."""
        field = self.get_option("field")
        if field == "key":
            secrets = {name: self._secrets(name, variables) for name in names}
            snapshots = self._observe(names) if self.get_option("verify") else {}
            for name, snapshot in snapshots.items():
                _existing(name, snapshot)  # checked first: the secret of a key that does not exist cannot be known
            for name in names:
                if not secrets[name]:
                    raise OptionError(_unknown_secret(name))
            for name, snapshot in snapshots.items():
                secrets[name] = self._of_keys(name, secrets[name], snapshot.keys)
            found = [_usable(name, secrets[name], snapshots.get(name)).value for name in names]
            for snapshot in snapshots.values():
                # A budget that is spent may be reset in time.
                if problem := unusable_key(describe_key(snapshot.keys[0]), snapshot.now, Wording()):
                    self._display.warning(problem)
            return found
        keys = {name: _existing(name, snapshot) for name, snapshot in self._observe(names).items()}
        if field != "all":
            return [describe_key(keys[name])[_FIELDS.get(field, field)] for name in names]
        return [
            {
                **describe_key(keys[name]),
                "key": next(
                    (
                        one.value
                        for one in self._of_keys(name, self._secrets(name, variables), [keys[name]])
                        if one.key_id == keys[name].key_id
                    ),
                    None,
                ),
            }
            for name in names
        ]

    def _name(self, term: Any) -> str:
        search = self.get_option("search")
        if isinstance(term, bool) or not (is_vaulted(term) or isinstance(term, str | int | float)):
            # Not quoted: a dictionary may contain user data.
            raise OptionError(
                f"A term must be the {search} of a key, as text or a number, and not null, true or a dictionary"
            )
        if search == "id":
            return checked_id(str(term))
        prefix = self.get_option("alias_prefix") if search == "guid" else ""
        return checked_alias(f"{prefix}{checked_alias(str(term), search)}", search)

    def _secrets(self, name: str, variables: Mapping[str, Any]) -> list[Secret]:
        """Return the known secrets that may be the one of this key."""
        by_id = self.get_option("search") == "id"
        if (seed := self.get_option("key_seed")) and not by_id:
            return [derive(seed, name, self.get_option("key_version"), master_key=self.get_option("master_key"))]

        def read_fact(fact: str) -> Any:
            # By id, the secret of any fact is compared, so a template, which may contain this very lookup, is ignored.
            if by_id and self._templar.is_template(play_variable(fact, variables)):
                return None
            value = self._variable(fact, variables)
            # By id, the secret needs no alias beside it.
            return "" if by_id and value is None and fact.endswith("key_alias") else value

        known = known_keys(self._saved(variables), read_fact, None if by_id else [name])
        secrets = [(saved.alias, Secret(saved.secret, "given")) for saved in known]
        return [secret for alias, secret in secrets if name == (secret.key_id if by_id else alias)]

    def _of_keys(self, name: str, secrets: Sequence[Secret], keys: Sequence[ObservedKey]) -> list[Secret]:
        """Return the known secrets, and the version of a derived secret that a key got when it was rotated."""
        seed = self.get_option("key_seed")
        if not seed or self.get_option("search") == "id":
            return list(secrets)
        desired = DesiredKey(name, versions=SecretVersions(seed, name, self.get_option("key_version")))
        return [*secrets, *(secret for key in keys if (secret := desired.secret_of(key)))]

    def _observe(self, names: Sequence[str]) -> dict[str, Snapshot]:
        """Return the observed state by alias or by id."""
        options = {name: self.get_option(name) for name in _SECRET_OPTIONS}
        connection = tuple(options.values())
        snapshots = _evaluation.snapshots
        missing = [name for name in dict.fromkeys(names) if (connection, name) not in snapshots]
        if missing:
            client = connect(options, self._display.warning, self._names)
            if connection not in _evaluation.administrators:
                require_administrator(client)
                _evaluation.administrators.add(connection)
            observer = Observer(client)
            if self.get_option("search") == "id":
                found_by_id = run_concurrently(observer.find_by_id, missing, client.connection.concurrency)
                found = dict(zip(missing, found_by_id, strict=True))
            else:
                found = observer.find_by_alias(missing)
            for name in missing:
                snapshots[connection, name] = Snapshot(found[name], client.now())
        return {name: snapshots[connection, name] for name in names}

    def _saved(self, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        given = self.get_option("user_data")
        if given is not None:
            return dict(given)
        folder = self._variable("output_dir", variables)
        if folder is None:
            folder = self._templar.template(localhost_variable("output_dir", variables))
        return load(Path(str(folder or variables.get("playbook_dir") or ".")))

    def _variable(self, name: str, variables: Mapping[str, Any]) -> Any:
        value = play_variable(name, variables)
        return None if value is None else self._templar.template(value)


def _unknown_secret(name: str) -> str:
    return (
        f"The secret of virtual key {name} is not known: LiteLLM does not return it, and neither the user data nor the "
        "facts of the play contain it. Provision the key in this play, or set user_data or key_seed"
    )


def _existing(name: str, snapshot: Snapshot) -> ObservedKey:
    if not snapshot.keys:
        raise OptionError(f"Virtual key {name} does not exist: it was deleted, or never created. Provision it again")
    return snapshot.keys[0]


def _usable(name: str, secrets: Sequence[Secret], snapshot: Snapshot | None) -> Secret:
    """Return the secret of the key that the proxy accepts; without a snapshot, the first one.

    :raises OptionError: if the proxy does not accept any.
    """
    if snapshot is None:
        return secrets[0]
    by_id = {secret.key_id: secret for secret in secrets}
    key = next((key for key in snapshot.keys if key.key_id in by_id), None)
    if key is None:
        origin = "derived from key_seed" if secrets[0].source == "derived" else "saved"
        raise OptionError(f"Virtual key {name} has another secret than the one that was {origin}. Provision it again")
    if key.value("blocked"):
        raise OptionError(f"Virtual key {name} is blocked. Unblock it (litellm_key with blocked: false)")
    if key.expires is not None and key.expires <= snapshot.now:
        raise OptionError(f"Virtual key {name} expired at {format_instant(key.expires)}. Extend it")
    return by_id[key.key_id]
