# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the code blocks of the READMEs and guides, from the top of each page to its end.

The tests replace three things: user123 and the like by unique guids, the URL of the proxy, and the master key. Sweeps
are restricted to the keys of the test, because other tests may use the proxy, too. test_hand_over.py also uses the
templates of the guide on handing over keys.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    GRANITE,
    MISTRAL,
    PATIENCE,
    ROLE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
)

ROOT = Path(__file__).parents[2]
RST = ROOT / "docs" / "docsite" / "rst"
OF_ROLE = ROOT / "roles" / ROLE.rpartition(".")[2]
VARIABLES = yaml.safe_load((OF_ROLE / "defaults" / "main.yml").read_text())
PAGES = {
    "collection": ROOT / "README.md",
    "role": OF_ROLE / "README.md",
    **{path.stem: path for path in sorted(RST.glob("*.rst"))},
}
# These pages start with an environment that has a key.
PROVISIONED = ("extend_and_pause", "hand_over_a_key", "replace_a_key")
# These blocks contain templates.
EXPRESSIONS = ("fields", "filters")
# What a catalog item contains besides variables of the role: AgnosticD and Babylon read it, which the tests do not run.
OF_THE_PLATFORM = {"__meta__", "lifecycle_hooks", "num_users", "requirements_content", "workloads"}
# What other files contain: requirements.yml, and a file with variables.
OF_FILES = {"collections", "litellm_master_key", "litellm_url"}
# This block looks up user data with a plugin of AgnosticD, which is not installed.
LOOKUPS = "lookups"
# These blocks are for Automation Platform and ansible-builder; test_automation_platform.py covers their files.
# tests/rulebook runs the rulebook.
NOT_RUN = {LOOKUPS, "credential", "environment", "rulebook", "variables"}
SEED = "a seed that is good for running the guides only"


@dataclass(frozen=True)
class Block:
    """A block of code on a page.

    :ivar name: the name of the block, or of the file to save it as.
    """

    language: str
    name: str
    text: str

    @property
    def is_yaml(self) -> bool:
        return self.language.startswith("yaml") and self.name not in NOT_RUN

    @property
    def is_file(self) -> bool:
        return self.name.endswith((".j2", ".txt", ".yml"))

    @property
    def commands(self) -> list[str]:
        joined = self.text.replace("\\\n", "")
        return [line for line in joined.splitlines() if line and not line.startswith("#")]

    @property
    def can_run(self) -> bool:
        """Return whether the block can run here: without a cluster, the internet, or make inside make."""
        return all(line.split()[0] in ("ansible", "ansible-playbook", "curl", "export") for line in self.commands)


def blocks(page: str) -> list[Block]:
    path = PAGES[page]
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return [Block(language, "", code) for language, code in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)]
    found = re.findall(
        r"^\.\. code-block:: (\S+)\n(?:   :(?:name|caption): (\S+)\n)?\n((?:    .*\n|\n)+)", text, re.MULTILINE
    )
    return [Block(language, name, textwrap.dedent(code).strip() + "\n") for language, name, code in found]


class Reader:
    """Follow a page block by block."""

    def __init__(self, page: str, ansible: Ansible, proxy: Proxy, guid: str) -> None:
        self.page, self.ansible, self.proxy = page, ansible, proxy
        self.guid = f"{guid}-{page.replace('_', '')}"
        self.output = ansible.folder / "virtual_keys"  # the folder that the pages and playbooks use
        self.ran, self.checked = 0, False
        self.items: list[Json] = []

    def read(self) -> None:
        if self.page in ("clean_up", "report_on_keys"):
            self.create_reported_keys()
        plays: list[Json] = []
        if self.page in PROVISIONED:
            self.play([self.role("provision", {})])
        for block in blocks(self.page):
            if block.is_file:
                self.save(block)
            elif block.name in EXPRESSIONS:
                content = yaml.safe_load(self.personalize(block.text))
                plays.append({"hosts": "localhost", "tasks": [{"ansible.builtin.debug": {"msg": content}}]})
            elif block.is_yaml:
                plays += self.plays(yaml.safe_load(self.personalize(block.text)))
            elif block.language == "bash":
                self.play(plays)
                plays = []
                self.shell(block)
        self.play(plays)
        self.check_saved_secret()
        if self.items:
            self.play([self.role("destroy", *self.items)])
            assert [alias for alias in self.aliases() if alias.startswith(f"virtkey-{self.guid}-123")] == []

    def create_reported_keys(self) -> None:
        """Create keys of the environments that the page lists, one of which expires, and of a deleted environment."""
        for name, duration in (("7hx2q", "1s"), ("9kw28-user3", "1d"), ("jpxfm", "2d"), ("gone", "3d")):
            alias = f"virtkey-{self.guid}-{name}"
            body = {"key_alias": alias, "duration": duration, "metadata": {"guid": name.removesuffix("-user3")}}
            status, response = self.proxy.request("POST", "/key/generate", body)
            assert status == 200, response

    def check_saved_secret(self) -> None:
        """Check that the saved secret is that of the key at the end of the page."""
        guid = f"{self.guid}-123"
        path, rows = self.output / guid / "provision-user-data.yaml", self.proxy.rows(f"virtkey-{guid}")
        saved = yaml.safe_load(path.read_text()) if path.exists() else {}
        if rows and saved.get("litellm_key_alias") == rows[0]["key_alias"]:
            secret = saved["litellm_virtual_key"]
            assert [row["token"] for row in rows] == [hashlib.sha256(secret.encode()).hexdigest()]
            assert self.proxy.chat(secret) == 200
            self.checked = True

    def personalize(self, text: str) -> str:
        text = re.sub(r"\buser(12[0-9])\b", rf"{self.guid}-\1", text)
        text = re.sub(
            r"^(ansible-playbook \S+\.(?:cleanup|sweep)_keys .*)",
            rf"\1 -e alias_prefix=virtkey-{self.guid}-",
            text,
            flags=re.M,
        )
        text = text.replace("https://litellm.example.com", self.proxy.url).replace("sk-...", "$LITELLM_MASTER_KEY")
        return text.replace("sk-…", self.last_secret()) if "sk-…" in text else text

    def last_secret(self) -> str:
        """Return the secret that was saved last, which the output of a playbook contains."""
        paths = sorted(self.output.glob("*/provision-user-data.yaml"), key=lambda path: path.stat().st_mtime)
        return str(yaml.safe_load(paths[-1].read_text())["litellm_virtual_key"])

    def plays(self, content: Any) -> list[Json]:
        """Return the content of a block as plays; it contains plays, tasks, or the variables of a catalog item."""
        if isinstance(content, list):
            return content if "hosts" in content[0] else [{"hosts": "localhost", "tasks": content}]
        assert set(content) <= OF_THE_PLATFORM | OF_FILES | set(VARIABLES)
        of_role = {name: value for name, value in content.items() if name in VARIABLES or name == "num_users"}
        # Catalog items are alternatives, so each kind gets its own environment: with one key, with a number of users,
        # and with named users.
        kinds = [kind for kind in ("multi_user", "users") if f"{OF_ROLE.name}_{kind}" in of_role]
        item = {"guid": "-".join([self.guid, "123", *kinds]), **of_role}
        if not of_role:
            return []
        self.items.append(item)
        return [self.role("provision", item)]

    def save(self, block: Block) -> None:
        file = self.ansible.folder / block.name
        file.write_text(self.personalize(block.text))
        if block.is_yaml:
            self.check(self.ansible.run("ansible-playbook", "--syntax-check", str(file)))
            self.ran += 1

    def role(self, action: str, *items: Json) -> Json:
        tasks = [{"ansible.builtin.include_role": {"name": ROLE}, "vars": {"ACTION": action, **item}} for item in items]
        return {"hosts": "localhost", "tasks": tasks}

    def play(self, plays: list[Json]) -> None:
        if not plays:
            return
        extra = {
            "output_dir": f"{self.output}/{{{{ guid }}}}",
            "vaulted_master_key": "{{ lookup('ansible.builtin.env', 'LITELLM_MASTER_KEY') }}",
            "vaulted_seed": SEED,
            "vaulted_key_seed": SEED,
            "runtime_hours": 336,
            "ocp4_workload_tenant_keycloak_username": "ann",
        }
        connection = {"litellm_url": self.proxy.url, "litellm_master_key": "{{ vaulted_master_key }}"}
        common = {**extra, **connection, "guid": f"{self.guid}-123"}
        run = self.ansible.play([{**play, "vars": {**common, **play.get("vars", {})}} for play in plays])
        self.check(run)
        self.ran += len(plays)

    def shell(self, block: Block) -> None:
        if not block.can_run:
            subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
            return
        done = subprocess.run(
            ["bash", "-euc", f'curl() {{ command curl --fail-with-body "$@"; }}\n{self.personalize(block.text)}'],
            cwd=self.ansible.folder,
            env={**self.ansible.environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.check(CommandResult(done.returncode, done.stdout, done.stderr, ""))
        self.ran += len(block.commands)

    def check(self, run: CommandResult) -> None:
        assert run.code == 0, run.output
        warnings = run.text.split("[WARNING]: ")[1:]
        assert [text for text in warnings if "that this destroy does not include" not in text] == [], run.output

    def aliases(self) -> list[str]:
        status, listing = self.proxy.request(
            "GET", f"/key/list?return_full_object=true&size=100&substring_matching=true&key_alias=virtkey-{self.guid}-"
        )
        assert status == 200, listing
        return [row["key_alias"] for row in listing["keys"]]


@pytest.fixture
def reader(request: pytest.FixtureRequest, ansible: Ansible, proxy: Proxy, guid: str) -> Iterator[Reader]:
    reader = Reader(request.param, ansible, proxy, guid)
    yield reader
    proxy.delete(*reader.aliases())


# The minimum number of plays and commands that run on each page, so that none is skipped unnoticed.
MINIMUM = {
    "agnosticd": 3,
    "automation_platform": 1,
    "clean_up": 4,
    "collection": 7,
    "delegated_keys": 3,
    "event_driven": 3,
    "expiry": 2,
    "extend_and_pause": 9,
    "hand_over_a_key": 5,
    "install": 1,
    "playbooks": 19,
    "quick_start": 10,
    "replace_a_key": 8,
    "report_on_keys": 8,
    "role": 11,
    "rotate_keys": 6,
    "run_a_workshop": 10,
    "secrets": 1,
    "share_a_budget": 8,
    "symptoms": 2,
}


def test_every_page_with_something_to_run_is_run() -> None:
    runnable = {
        page
        for page in PAGES
        if any(block.is_yaml or block.is_file or (block.language == "bash" and block.can_run) for block in blocks(page))
    }
    assert set(MINIMUM) == runnable


@pytest.mark.parametrize(("reader", "minimum"), MINIMUM.items(), indirect=["reader"], ids=list(MINIMUM))
def test_the_blocks_of_a_page_run(reader: Reader, minimum: int) -> None:
    reader.read()
    assert reader.ran >= minimum
    assert reader.checked or reader.page not in ("replace_a_key", "role")
    if reader.page == "clean_up":
        assert {alias.rpartition(f"{reader.guid}-")[2] for alias in reader.aliases()} == {"9kw28-user3", "jpxfm"}


def test_the_user_data_that_the_page_looks_up_are_documented() -> None:
    (block,) = [block for block in blocks("facts_and_user_data") if block.name == LOOKUPS]
    names = re.findall(r"'agnosticd_user_data', '(\w+)'", block.text)
    assert len(names) == len(yaml.safe_load(block.text))
    assert {f"``{name}``" for name in names} <= set(PAGES["facts_and_user_data"].read_text().split())


@pytest.mark.parametrize("users", [[], ["user1", "user2"]], ids=["one", "many"])
def test_an_environment_of_release_1_3_2_is_taken_over(
    ansible: Ansible, proxy: Proxy, guid: str, users: list[str]
) -> None:
    """Create the keys and user data as 1.3.2 did, then run the role, which has nothing to do."""
    guid = f"{guid}-original{len(users)}"
    saved: Json = {"users": {}} if users else {}
    names = [f"virtkey-{guid}-{user}" for user in users] or [f"virtkey-{guid}"]
    for user, alias in zip(users or [""], names, strict=True):
        metadata = {
            "guid": guid,
            "owner": "unknown",
            "models": f"{GRANITE},{MISTRAL}",
            "duration": "30d",
            "models_count": 2,
        }
        status, response = proxy.request(
            "POST",
            "/key/generate",
            {
                "models": [GRANITE, MISTRAL],
                "duration": "30d",
                "user_id": f"{user or guid}@lab.opentlc.com",
                "key_alias": alias,
                "metadata": {
                    **metadata,
                    "created_by": "babylon",
                    "environment": "sandbox",
                    "catalog_item": "unknown",
                    **({"user": user, "user_number": int(user[-1])} if user else {}),
                },
            },
        )
        assert status == 200, response
        data = {
            "litellm_api_endpoint": proxy.url,
            "litellm_api_base_url": f"{proxy.url}/v1",
            "litellm_virtual_key": response["key"],
            "litellm_key_alias": alias,
            "litellm_key_id": response["token"],
        }
        if user:
            saved["users"][user] = data
        else:
            saved.update(data)
    folder = ansible.folder / guid
    folder.mkdir()
    (folder / "provision-user-data.yaml").write_text(yaml.safe_dump(saved))
    before = [proxy.row(alias) for alias in names]
    variables: Json = {"ACTION": "provision", "guid": guid, "output_dir": str(folder)}
    if users:
        variables |= {"num_users": len(users), f"{OF_ROLE.name}_multi_user": True}
    try:
        run = ansible.play(
            {"hosts": "localhost", "tasks": [{"ansible.builtin.include_role": {"name": ROLE}, "vars": variables}]}
        )
        assert run.code == 0, run.output
        assert run.recap()["changed"] == 0
        assert [proxy.row(alias) for alias in names] == before
        again = yaml.safe_load((folder / "provision-user-data.yaml").read_text())
        sections = [(again["users"][user], saved["users"][user]) for user in users] or [(again, saved)]
        for after, first in sections:
            assert first.items() <= after.items()
    finally:
        proxy.delete(*names)
