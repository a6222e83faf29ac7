# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Render every template of the guide on handing over keys unchanged, and use the results on the real proxy."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    GRANITE,
    MISTRAL,
    PATIENCE,
    ROLE,
    Ansible,
    Proxy,
    Relay,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "docsite" / "rst" / "hand_over_a_key.rst").read_text()
TEMPLATES = {
    name: textwrap.dedent(block)
    for name, block in re.findall(
        r"^\.\. code-block:: jinja\n   :caption: (\w+)\.j2\n\n((?:    .*\n|\n)+)", PAGE, re.MULTILINE
    )
}
SEED = "a seed for the tests of handing over keys"
CLIENTS = sorted((ROOT / ".cache" / "sandbox" / "releases").glob("*/venv/bin/python"))


@pytest.fixture(scope="module")
def rendered(ansible: Ansible, guid: str) -> dict[str, str]:
    """Return the rendered templates by name, for an environment with a key, a workshop and a derived key."""
    for name, template in TEMPLATES.items():
        (ansible.folder / f"{name}.j2").write_text(template)
    users = ["user1", "user2", "user3"]
    run = ansible.play(
        {
            "hosts": "localhost",
            "vars": {
                "ACTION": "provision",
                "guid": guid,
                "output_dir": str(ansible.folder),
                "vaulted_seed": SEED,
            },
            "tasks": [
                {"ansible.builtin.include_role": {"name": ROLE}},
                {
                    f"{COLLECTION}.litellm_key": {"virtual_keys": [{"guid": f"{guid}-{user}"} for user in users]},
                    "register": "workshop",
                },
                {
                    f"{COLLECTION}.agnosticd_user_info": {
                        "user": "{{ item.guid | regex_replace('.*-', '') }}",
                        "data": {
                            "litellm_key_alias": "{{ item.key_alias }}",
                            "litellm_virtual_key": "{{ item.key }}",
                        },
                    },
                    "loop": "{{ workshop.virtual_keys }}",
                    "no_log": True,
                },
                {
                    f"{COLLECTION}.litellm_key": {
                        "key_alias": f"virtkey-{guid}",
                        "state": "present",
                        "key": "{{ litellm_virtual_key }}",
                    },
                },
                {
                    "ansible.builtin.template": {"src": "{{ item }}.j2", "dest": "{{ item }}.out", "mode": "0600"},
                    "loop": list(TEMPLATES),
                    "no_log": True,
                },
            ],
        }
    )
    assert run.code == 0, run.output
    return {name: (ansible.folder / f"{name}.out").read_text() for name in TEMPLATES}


def test_a_shell_can_chat_with_the_env_file(rendered: dict[str, str], proxy: Proxy) -> None:
    shell = 'set -eu; eval "$TEXT"; printf \'%s\\n%s\' "$OPENAI_BASE_URL" "$OPENAI_API_KEY"'
    read = subprocess.run(
        ["bash", "-c", shell], env={**os.environ, "TEXT": rendered["env"]}, capture_output=True, text=True, check=True
    )
    url, key = read.stdout.split("\n")
    assert url == f"{proxy.url}/v1"
    assert proxy.chat(key) == 200


def test_opencode_can_use_every_model_with_the_key(rendered: dict[str, str], proxy: Proxy) -> None:
    settings = json.loads(rendered["opencode"])
    lab = settings["provider"]["lab"]
    assert lab["options"]["baseURL"] == f"{proxy.url}/v1"
    assert list(lab["models"]) == [GRANITE, MISTRAL]
    assert settings["model"] == f"lab/{GRANITE}"
    assert [proxy.chat(lab["options"]["apiKey"], model) for model in lab["models"]] == [200, 200]


def test_continue_can_use_every_model_with_the_key(rendered: dict[str, str], proxy: Proxy) -> None:
    models = yaml.safe_load(rendered["continue"])["models"]
    assert [model["model"] for model in models] == [GRANITE, MISTRAL]
    assert {model["apiBase"] for model in models} == {f"{proxy.url}/v1"}
    assert [proxy.chat(model["apiKey"], model["model"]) for model in models] == [200, 200]


def test_the_kubernetes_secret_contains_the_key_and_its_expiry(
    rendered: dict[str, str], proxy: Proxy, guid: str
) -> None:
    secret = yaml.safe_load(rendered["secret"])
    assert proxy.chat(secret["stringData"]["OPENAI_API_KEY"]) == 200
    assert secret["metadata"]["annotations"]["expires"][:19] == proxy.row(f"virtkey-{guid}")["expires"][:19]


@pytest.mark.skipif(not CLIENTS, reason="requires an installed sandbox, whose Python contains the clients")
@pytest.mark.parametrize("client", ["openai", "litellm"])
def test_a_python_client_gets_a_response(rendered: dict[str, str], tmp_path: Path, client: str) -> None:
    program = tmp_path / "ask.py"
    program.write_text(rendered[client])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LITELLM_"))}
    response = subprocess.run(
        [str(CLIENTS[-1]), program.name],
        cwd=tmp_path,
        env={**environment, "NO_PROXY": "127.0.0.1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert response.returncode == 0, response.stderr
    assert "Granite" in response.stdout


def test_each_user_of_a_workshop_gets_their_own_key(rendered: dict[str, str], proxy: Proxy, guid: str) -> None:
    rows = list(csv.DictReader(rendered["users"].splitlines()))
    assert [row["user"] for row in rows] == ["user1", "user2", "user3"]
    for row in rows:
        assert (
            proxy.request("GET", f"/key/info?key={row['key']}")[1]["info"]["key_alias"]
            == f"virtkey-{guid}-{row['user']}"
        )


def test_a_key_derived_without_the_proxy_is_the_one_that_is_created(
    rendered: dict[str, str], ansible: Ansible, proxy: Proxy, guid: str
) -> None:
    key = rendered["derived"].strip()
    alias = f"virtkey-{guid}"
    proxy.delete(alias)
    run = ansible.play(
        {"hosts": "localhost", "tasks": [{f"{COLLECTION}.litellm_key": {"guid": guid, "key_seed": SEED}}]}
    )
    assert run.code == 0, run.output
    assert proxy.chat(key, "fake-gpt") == 200


@pytest.mark.every_core
def test_a_thousand_references_in_one_template_need_few_requests(
    rendered: dict[str, str], ansible: Ansible, relay: Relay, guid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(relay, "before", sent.append)
    reference = "{{ lookup('" + COLLECTION + ".litellm_key', guid ~ '-user1', field='alias') }}\n"
    (ansible.folder / "thousand.j2").write_text(reference * 1000)
    run = ansible.play(
        {
            "hosts": "localhost",
            "vars": {"guid": guid, "litellm_url": relay.url},
            "tasks": [
                {"ansible.builtin.template": {"src": "thousand.j2", "dest": "thousand.out", "mode": "0600"}},
            ],
        }
    )
    assert run.code == 0, run.output
    assert (ansible.folder / "thousand.out").read_text() == f"virtkey-{guid}-user1\n" * 1000
    # The lookup trusts a response for a second. A busy machine may need many seconds for the template.
    assert 0 < len(sent) < 100
