# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Distinguish the variables of the play from facts: any module on a managed host can return a fact with any name.

ansible-core also sets facts as variables (INJECT_FACTS_AS_VARS), and they replace variables of the inventory and the
defaults of roles. They do not replace the variables of plays, roles and tasks, `include_vars`, `set_fact`, registered
results, parameters of roles, and extra variables.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

# Variables of the platform that the roles read, and the one of a playbook that an inventory can set. Those of this
# collection are recognized by their prefix.
PLATFORM_VARIABLES = {
    "ACTION",
    "agnosticd_action",
    "agnosticd_user_info",
    "catalog_item",
    "catalog_item_name",
    "email",
    "env_type",
    "guid",
    "num_users",
    "ocp4_workload_multi_user",
    "ocp4_workload_user_base",
    "ocp4_workload_user_count",
    "output_dir",
    "report_guids",
    "requester",
    "requester_email",
}
_PREFIXES = ("litellm_", "_litellm_", "ocp4_workload_litellm_", "_ocp4_workload_litellm_")
# ansible-core itself returns these, and with this prefix everything that it finds out about a host.
_OF_SETUP = {"gather_subset", "module_setup"}
FACT_PREFIX = "ansible_"


def is_input(name: str) -> bool:
    """Return whether the collection reads this variable."""
    return name in PLATFORM_VARIABLES or name.startswith(_PREFIXES)


def possible_facts(variables: Mapping[str, Any]) -> Iterator[str]:
    """Return the names of the variables that may be facts of the host, except those of ansible-core.

    `ansible_facts` contains every fact, without the prefix `ansible_`. So the name of a variable of the play can be in
    it, too.
    """
    for name in variables.get("ansible_facts") or ():
        if name in variables and name not in _OF_SETUP and not name.startswith(FACT_PREFIX):
            yield name


class FactsOfAnsible:
    """A fact cache that only contains what ansible-core finds out about a host."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def get(self, host: str, _default: object = None) -> dict[str, Any]:
        """Return the facts of a host."""
        try:
            facts = self._cache.get(host) or {}
        except KeyError:  # ansible-core 2.19 and later
            facts = {}
        return {name: value for name, value in facts.items() if name.startswith(FACT_PREFIX) or name in _OF_SETUP}


def manager_of(variables: Mapping[str, Any]) -> Any:
    """Return a copy of ansible-core's manager of variables without other facts; None without such a manager."""
    hostvars: Any = variables.get("hostvars")
    manager = getattr(hostvars, "_variable_manager", None)
    if manager is None:
        return None
    copied = copy.copy(manager)
    copied._loader, copied._fact_cache = manager._loader, FactsOfAnsible(manager._fact_cache)
    type(hostvars)(manager._inventory, copied, manager._loader)  # sets itself as the hostvars of the copy
    return copied


def play_variable(name: str, variables: Mapping[str, Any]) -> Any:
    """Return a variable of a host for a plugin that does not know its task; not templated, and None for a fact.

    A list, or a value that is also the value of the fact, counts as a fact if a play, a role or a task has set it.
    """
    if name not in set(possible_facts(variables)):
        return variables.get(name)
    value, manager = variables[name], manager_of(variables)
    # The values can differ although it is a fact: ansible-core removes parts of lists and dictionaries from a variable,
    # and two facts, such as `name` and `ansible_name`, may have the same name in `ansible_facts`.
    is_plain = isinstance(value, str | int | float) and f"{FACT_PREFIX}{name}" not in variables
    is_fact = not is_plain or value == variables["ansible_facts"][name]
    # A fact can also replace the name of the host.
    if manager is None or "inventory_hostname" in variables["ansible_facts"]:
        return None if is_fact else value
    host = variables.get("inventory_hostname")
    above_facts = (manager._vars_cache, manager._nonpersistent_fact_cache)
    for stored in (manager.extra_vars, *(cache.get(host, {}) for cache in above_facts)):
        if name in stored and value == stored[name]:
            return value
    if not is_fact:
        return value
    return manager.get_vars(host=manager._inventory.get_host(host), include_hostvars=False).get(name)


def localhost_variable(name: str, variables: Mapping[str, Any]) -> Any:
    """Return a variable of localhost, where AgnosticD runs its own plays, or None."""
    manager = manager_of(variables)
    hostvars = manager._hostvars if manager else variables.get("hostvars", {})
    of_localhost = hostvars.get("localhost", {})
    if not manager and name in (of_localhost.get("ansible_facts") or ()):
        return None
    return of_localhost.get(name)
