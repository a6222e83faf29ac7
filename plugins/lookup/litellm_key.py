# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: litellm_key
short_description: The virtual key of an environment
version_added: 2.0.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Gives the secret of a virtual key for use in a playbook or a template. It never creates or changes a key.
  - LiteLLM does not tell secrets. This one is looked for in the user data of AgnosticD, and then in the play's own
    fact C(litellm_virtual_key), where it stands beside the alias that is asked for.
  - The proxy is then asked whether it has a key with this alias and this secret.
options:
  _terms:
    description: The environments whose keys are wanted, as named by O(search).
    type: list
    elements: str
    required: true
  search:
    description: Whether the terms are the V(guid) or the V(alias) of the keys.
    type: str
    choices: [guid, alias]
    default: guid
  alias_prefix:
    description: What the alias of a key begins with, before the guid.
    type: str
    default: virtkey-
  user_data:
    description:
      - The user data of AgnosticD.
      - If it is not given, F(provision-user-data.yaml) in the folder C(output_dir) is read, which by default is the
        folder of the playbook.
    type: dict
  verify:
    description: Whether the proxy is asked. If not, no proxy is needed, and a secret that was revoked is not noticed.
    type: bool
    default: true
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._connection.plugins
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
"""

RETURN = r"""
_raw:
  description: The secrets, in the order of the terms.
  type: list
  elements: str
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import format_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError, UserError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import Observed, checked_alias
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._observe import Observer
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._options import CONNECTION, connect
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import Secret, mask
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._user_data import (
    find_secret,
    load,
)


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[str]:
        variables = variables or {}
        self.set_options(var_options=self._connection_variables(variables, kwargs), direct=kwargs)
        problem = None
        try:
            return self._secrets(terms, variables)
        except UserError as error:
            problem = mask(str(error), [str(self.get_option("master_key") or "")])
        raise AnsibleLookupError(problem)  # outside of the except block: ansible-core 2.19 would print the cause too

    def _secrets(self, terms: list[Any], variables: Mapping[str, Any]) -> list[str]:
        search = self.get_option("search")
        prefix = self.get_option("alias_prefix") if search == "guid" else ""
        aliases = [checked_alias(f"{prefix}{checked_alias(str(term), search)}", search) for term in terms]
        saved = self._saved(variables)
        secrets = {alias: find_secret(saved, alias) or self._of_the_play(alias, variables) for alias in aliases}
        for alias, secret in secrets.items():
            if not secret:
                raise OptionError(
                    f"The secret of the key {alias} is not known here: LiteLLM does not tell it, and neither the user "
                    "data nor the play has it; provision the key in this play, or give the user data as user_data"
                )
        if self.get_option("verify"):
            client = connect({name: self.get_option(name) for name in CONNECTION})
            for alias, rows in Observer(client).with_aliases(aliases).items():
                _verify(alias, str(secrets[alias]), rows, client.now())
        return [str(secrets[alias]) for alias in aliases]

    def _saved(self, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        if (given_data := self.get_option("user_data")) is not None:
            return dict(given_data)
        folder = variables.get("output_dir") or variables.get("playbook_dir") or "."
        return load(Path(str(self._templar.template(folder))))

    def _of_the_play(self, alias: str, variables: Mapping[str, Any]) -> str | None:
        # The alias first: the secret of another key may be a template with this very lookup in it.
        if self._variable("litellm_key_alias", variables) != alias:
            return None
        return str(self._variable("litellm_virtual_key", variables) or "") or None

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


def _verify(alias: str, secret: str, rows: tuple[Observed, ...], now: datetime) -> None:
    """The secret opens the key, or a sentence says why not."""
    if not rows:
        raise OptionError(f"There is no key {alias}: it was removed, or never created; provision it again")
    key = next((row for row in rows if row.key_id == Secret(secret, "given").key_id), None)
    if key is None:
        raise OptionError(f"The key {alias} has another secret than the one that was saved; provision it again")
    if key.value("blocked"):
        raise OptionError(f"The key {alias} is blocked")
    if key.expires is not None and key.expires <= now:
        raise OptionError(f"The key {alias} expired at {format_instant(key.expires)}; extend it")
