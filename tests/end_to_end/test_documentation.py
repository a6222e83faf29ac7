# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Show the documentation of every plugin with ansible-doc, and run its examples."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    ROLE,
    Ansible,
    Json,
    Proxy,
)

PLUGINS = Path(__file__).parents[2] / "plugins"
PAGES = {
    kind: sorted(
        path.stem for pattern in patterns for path in (PLUGINS / folder).glob(pattern) if path.stem != "__init__"
    )
    for kind, folder, patterns in (
        ("module", "modules", ["*.py"]),
        ("lookup", "lookup", ["*.py"]),
        ("filter", "filter", ["*.yml"]),
        ("test", "test", ["*.yml"]),
    )
}


@pytest.mark.every_core
@pytest.mark.parametrize("kind", PAGES)
def test_ansible_doc_shows_every_plugin(ansible, kind):
    names = [f"{COLLECTION}.{name}" for name in PAGES[kind]]
    run = ansible.run("ansible-doc", "-t", kind, *names, ANSIBLE_NOCOLOR="1")
    assert run.code == 0, run.output
    assert run.stderr == ""
    for name in names:
        assert re.search(rf"^> .*\b{re.escape(name)}\b", run.stdout, re.MULTILINE | re.IGNORECASE), name
    assert len(re.findall(r"^EXAMPLES:", run.stdout, re.MULTILINE)) == len(names)
    assert "DEPRECATED" not in run.stdout


@pytest.mark.every_core
def test_ansible_doc_shows_the_role(ansible):
    run = ansible.run("ansible-doc", "-t", "role", ROLE, ANSIBLE_NOCOLOR="1")
    assert run.code == 0, run.output
    # ansible-core 2.20 and later warn about the missing version of their own collection when they list roles.
    assert [line for line in run.stderr.splitlines() if line and "/_protomatter' does not have" not in line] == []
    for name in ("ACTION", "guid", "litellm_url", "litellm_master_key", f"{ROLE.rsplit('.', maxsplit=1)[-1]}_models"):
        assert re.search(rf"^[-=] {name}\b", run.stdout, re.MULTILINE), name


def examples(ansible: Ansible, kind: str, *names: str) -> dict[str, str]:
    """Return the examples of plugins as YAML text."""
    run = ansible.run("ansible-doc", "-t", kind, "--json", *(f"{COLLECTION}.{name}" for name in names))
    return {name: str(json.loads(run.stdout)[f"{COLLECTION}.{name}"]["examples"]) for name in names}


def test_the_examples_of_the_documentation_run(ansible: Ansible, proxy: Proxy, guid: str):
    """Run the examples of the actions, the lookup and the user data filter in one play, after keys were provisioned."""
    guid = f"{guid}-docs"
    common = {
        "guid": guid,
        "litellm_url": proxy.url,
        "vaulted_seed": "a seed that is good for running the examples only",
        "virtual_key": {"key": "sk-the-key-of-an-example"},
    }
    provision: list[Json] = [
        {"ansible.builtin.include_role": {"name": ROLE}, "vars": {"ACTION": "provision"}},
        {
            f"{COLLECTION}.litellm_key": {"guid": guid + "-{{ item }}", "key_seed": "{{ vaulted_seed }}"},
            "loop": ["user1", "user2"],
            "register": "of_users",
        },
        {
            f"{COLLECTION}.agnosticd_user_info": {"user": "{{ item.item }}", "data": "{{ data }}"},
            "vars": {
                "data": {
                    "litellm_key_alias": "{{ item.virtual_key.key_alias }}",
                    "litellm_virtual_key": "{{ item.virtual_key.key }}",
                }
            },
            "loop": "{{ of_users.results }}",
            "no_log": True,
        },
    ]
    texts = {
        "lookup": examples(ansible, "lookup", "litellm_key")["litellm_key"],
        "filter": examples(ansible, "filter", "litellm_user_data")["litellm_user_data"],
        **examples(ansible, "module", *PAGES["module"]),
    }
    # The user of this example does not exist here.
    own_file = texts["private_file"].replace("/home/user1/.env", str(ansible.folder / "private.env"))
    texts["private_file"] = own_file.replace("    owner: user1\n", "")
    # Each page gets guids of its own for user123 and the like: other test sessions may use the proxy, too.
    texts = {page: re.sub(r"\buser(?=12[0-9]\b)", f"{guid}-{page}-", text) for page, text in texts.items()}
    tasks: list[Json] = [task for text in texts.values() for task in yaml.safe_load(text)]
    try:
        run = ansible.play({"hosts": "localhost", "vars": common, "tasks": [*provision, *tasks]})
        assert run.code == 0, run.output
        assert "reserved name" not in run.text
        shown = {task.name for task in run.tasks}
        assert {task["name"] for task in tasks if "when" not in task} <= shown
        secret = ansible.file("provision-user-data.yaml")["litellm_keys"][f"virtkey-{guid}"]["virtual_key"]
        assert (ansible.folder / ".env").read_text().splitlines() == [
            f"OPENAI_BASE_URL={proxy.url}/v1",
            f"OPENAI_API_KEY={secret}",
        ]

        commands = [
            (page, command)
            for page, text in texts.items()
            for command in re.findall(r"^# (ansible(?:-playbook)? .*)$", re.sub(r"\\\n#", "", text), re.MULTILINE)
        ]
        assert commands
        for page, command in commands:
            program, *arguments = shlex.split(command)
            run = ansible.run(program, *arguments)
            assert run.code == 0, run.output
            assert bool(proxy.rows(f"virtkey-{guid}-{page}-123")) == ("state=absent" not in command)
    finally:
        query = f"substring_matching=true&size=100&return_full_object=true&key_alias=virtkey-{guid}"
        proxy.delete(*(row["key_alias"] for row in proxy.request("GET", f"/key/list?{query}")[1]["keys"]))
