# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How catalog items and other workloads read the result of the role: lazily, for Helm, for each user, on a bastion."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import (
    BASTION,
    BASTION_PREFIX,
    BASTION_ROLE,
    PREFIX,
    exported_variables,
    key_id,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    GRANITE,
    MISTRAL,
    ROLE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
)

SEED = "a seed for the tests of consumers, which is long enough"
USERS = [{"name": "user1"}, {"name": "user2"}]


def show(name: str, value: object) -> Json:
    return {"name": name, "ansible.builtin.debug": {"msg": value}}


def workload(variables: Json | None = None, role: str = ROLE) -> Json:
    return {"ansible.builtin.include_role": {"name": role}, "vars": variables or {}}


@pytest.fixture(scope="module")
def keys(proxy: Proxy, guid: str) -> Iterator[dict[str, str]]:
    """Return the guids of an environment with one key and of one with many users, and delete their keys at the end."""
    guids = {"one": f"{guid}-consumer", "many": f"{guid}-consumers"}
    yield guids
    users = [f"virtkey-{guids['many']}-{user['name']}" for user in USERS]
    proxy.delete(f"virtkey-{guids['one']}", *users)


# An environment with one key, whose user data are switched off: only facts contain the secret.


def without_user_data(ansible: Ansible, guid: str) -> CommandResult:
    """Provision a catalog item whose variables contain the facts before they exist."""
    catalog = {
        "guid": guid,
        "output_dir": str(ansible.folder / "one"),
        f"{PREFIX}models": [GRANITE, MISTRAL],
        f"{PREFIX}key_seed": SEED,
        f"{PREFIX}enable_user_info_data": False,
        f"{PREFIX}enable_user_info_messages": False,
        "assistant_base_url": "{{ litellm_api_endpoint }}/v1",
        "assistant_api_key": "{{ litellm_virtual_key }}",
        "assistant_chart_values": {
            "models": {
                "endpoint": "{{ litellm_api_endpoint }}",
                "token": "{{ litellm_virtual_key }}",
                "names": "{{ litellm_available_models | join(',') }}",
            }
        },
    }
    read = {name: f"{{{{ assistant_{name} }}}}" for name in ("base_url", "api_key", "chart_values")}
    return ansible.play({"hosts": "localhost", "vars": catalog, "tasks": [workload(), show("Read", read)]})


@pytest.fixture(scope="module")
def lazy(ansible: Ansible, keys: dict[str, str]) -> tuple[CommandResult, CommandResult]:
    return without_user_data(ansible, keys["one"]), without_user_data(ansible, keys["one"])


def test_catalog_variables_can_contain_facts_that_are_set_later(lazy, ansible, proxy, keys):
    first, _second = lazy
    assert first.code == 0, first.output
    read = first.task_msg("Read")
    assert read["base_url"] == f"{proxy.url}/v1"
    assert key_id(read["api_key"]) == proxy.row(f"virtkey-{keys['one']}")["token"]
    assert proxy.chat(read["api_key"]) == 200
    assert not list((ansible.folder / "one").glob("*"))


def test_chart_values_contain_the_models_as_text(lazy, proxy):
    read = lazy[0].task_msg("Read")
    assert read["chart_values"] == {
        "models": {"endpoint": proxy.url, "token": read["api_key"], "names": f"{GRANITE},{MISTRAL}"}
    }


def test_a_second_provision_without_user_data_finds_the_key_by_its_seed(lazy):
    first, second = lazy
    assert second.code == 0, second.output
    assert second.recap()["changed"] == 0
    assert second.task_msg("Read") == first.task_msg("Read")


# An environment with many users, whose keys others read by the name of the user, and on the bastion.


@pytest.fixture(scope="module")
def many(ansible: Ansible, keys: dict[str, str]) -> CommandResult:
    """Provision keys for two users, read them, and export that of the first user on a bastion."""
    read = show("Read the key of a user", "{{ _litellm_user_data['litellm_' ~ item.name ~ '_virtual_key'] }}")
    profile = {"path": str(ansible.folder / "litemaas.sh"), "become": False}
    plays: list[Json] = [
        {
            "hosts": "localhost",
            "tasks": [
                workload({"num_users": 2, f"{PREFIX}models": [GRANITE, MISTRAL]}),
                {**read, "loop": USERS},
                {"ansible.builtin.add_host": {"name": "bastion", **BASTION}},
            ],
        },
        {
            "hosts": "bastion",
            "tasks": [workload({f"{BASTION_PREFIX}{name}": one for name, one in profile.items()}, BASTION_ROLE)],
        },
    ]
    extra = json.dumps({"guid": keys["many"], "output_dir": str(ansible.folder / "many")})
    return ansible.play(plays, "-e", extra)


def test_facts_contain_the_key_of_each_user_by_name(many, proxy, keys):
    assert many.code == 0, many.output
    printed = re.findall(r'"msg": "(sk-.*?)"', many.stdout)
    rows = [proxy.row(f"virtkey-{keys['many']}-{user['name']}") for user in USERS]
    assert [key_id(secret) for secret in printed] == [row["token"] for row in rows]


def test_shells_on_the_bastion_export_the_key(many, ansible, proxy):
    assert many.recap("bastion")["changed"] == 1
    shell = exported_variables(ansible.folder / "litemaas.sh")
    assert shell == {
        "LITELLM_API_URL": f"{proxy.url}/v1",
        "LITELLM_API_KEY": ansible.file("many/provision-user-data.yaml")["litellm_user1_virtual_key"],
        "LITELLM_MODELS": f"{GRANITE}, {MISTRAL}",
    }
    assert proxy.chat(shell["LITELLM_API_KEY"]) == 200
