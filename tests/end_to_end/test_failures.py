# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check that every failure is one clear sentence, before any request if possible."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    NOWHERE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
)

ACTION = "rhpds.litellm_virtual_keys.litellm_key"
A_KEY = {"guid": "e2e-failure"}
HOW_TO_WRITE = "write a number, 7d, 36h, 1mo, '1 day 12 hours' or P7D"
NOT_A_MASTER_KEY = "the-hash-and-not-the-key"
WRONG = "sk-wrong-master-key-of-some-length"


@dataclass(frozen=True)
class Case:
    """A task that fails, and its message. By default, its proxy does not exist."""

    message: str
    options: Json
    variables: Json | None = None


CASES = {
    "wrong-master-key": Case(
        "{url} does not accept the master key (401); check litellm_master_key",
        A_KEY,
        {"litellm_url": "{url}", "litellm_master_key": WRONG},
    ),
    "proxy-not-running": Case(
        f"No connection to a LiteLLM proxy at {NOWHERE} (Connection refused); "
        "check litellm_url and that the proxy is running",
        {**A_KEY, "retries": 0},
    ),
    "master-key-without-sk": Case(
        "litellm_master_key must start with 'sk-': pass the key itself, not its hash",
        A_KEY,
        {"litellm_master_key": NOT_A_MASTER_KEY},
    ),
    "no-master-key": Case(
        "master_key is not set; set the option, the variable litellm_master_key "
        "or the environment variable LITELLM_MASTER_KEY",
        A_KEY,
        {"litellm_master_key": ""},
    ),
    "no-url": Case(
        "url is not set; set the option, the variable litellm_url or the environment variable LITELLM_URL",
        A_KEY,
        {"litellm_url": ""},
    ),
    "url-without-scheme": Case(
        "url 'litellm.example.com' is invalid; it must look like https://litellm.example.com",
        {**A_KEY, "url": "litellm.example.com"},
    ),
    "url-with-credentials": Case(
        "url must not contain credentials; pass the master key as litellm_master_key",
        {**A_KEY, "url": "https://admin:secret@litellm.example.com"},
    ),
    "no-guid": Case(
        "exactly one of guid, key_alias and key_id must name the key, but none is given", {"duration": "7d"}
    ),
    "guid-and-alias": Case(
        "exactly one of guid, key_alias and key_id must name the key, but guid and key_alias are given",
        {**A_KEY, "key_alias": "virtkey-other"},
    ),
    "empty-alias": Case("key_alias is empty; it must name the key", {"key_alias": ""}),
    "empty-guid": Case("guid is empty; it must name the environment", {"guid": ""}),
    "unknown-option": Case(
        "litellm_key has no option 'modles'; did you mean 'models'?", {**A_KEY, "modles": ["granite"]}
    ),
    "models-as-text-of-a-list": Case(
        "models must be a list of names, like [a, b], or names with commas, but is '[granite, mistral]'",
        {**A_KEY, "models": "[granite, mistral]"},
    ),
    "years": Case(
        "duration: '1y' is not a duration: LiteLLM has no unit for years; write 365d or 12mo",
        {**A_KEY, "duration": "1y"},
    ),
    "no-unit": Case("duration: '7' has no unit; write 7h for hours or 7d for days", {**A_KEY, "duration": "7"}),
    "negative": Case("duration: '-1h' is not a duration: it must be more than zero", {**A_KEY, "duration": "-1h"}),
    "zero": Case("duration: '0s' is not a duration: it must be more than zero", {**A_KEY, "duration": "0s"}),
    "soon": Case(f"duration: 'soon' is not a duration: {HOW_TO_WRITE}", {**A_KEY, "duration": "soon"}),
    "unknown-state": Case("state must be one of present, absent, but is 'gone'", {**A_KEY, "state": "gone"}),
    "short-secret": Case("key is 8 characters long; LiteLLM requires at least 16", {**A_KEY, "key": "sk-short"}),
}


@pytest.fixture(scope="module")
def failures(ansible: Ansible, proxy: Proxy) -> CommandResult:
    """Run all cases at once: each is a host that includes its own task."""

    def with_url(values: Json) -> Json:
        return {
            name: value.replace("{url}", proxy.url) if isinstance(value, str) else value
            for name, value in values.items()
        }

    hosts = {}
    for name, case in CASES.items():
        common = {"litellm_url": NOWHERE, "litellm_master_key": "sk-some-master-key"}
        hosts[name] = with_url({**common, **(case.variables or {})})
        (ansible.folder / f"{name}.yml").write_text(yaml.safe_dump([{"name": name, ACTION: with_url(case.options)}]))
    (ansible.folder / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    play = {"hosts": "all", "tasks": [{"ansible.builtin.include_tasks": "{{ inventory_hostname }}.yml"}]}
    return ansible.play(play, "-i", "inventory.yml", LITELLM_URL=None, LITELLM_MASTER_KEY=None)


@pytest.mark.parametrize("name", CASES)
def test_the_message_is_one_clear_sentence(failures, proxy, name):
    (task,) = [task for task in failures.tasks if task.host == name and task.name == name]
    message = CASES[name].message.replace("{url}", proxy.url)
    assert task.status == "fatal"
    assert task.result["msg"] == message
    assert failures.recap(name)["failed"] == 1


@pytest.mark.every_core
@pytest.mark.parametrize("name", CASES)
def test_a_failure_displays_only_its_message(failures, name):
    """The result of the task contains it; ansible-core 2.19 and later displays it once more, with its location."""
    (task,) = [task for task in failures.tasks if task.host == name and task.name == name]
    assert set(task.result) == {"changed", "msg"}
    (block,) = [block for block in failures.stdout.split("\nTASK ") if block.startswith(f"[{name}]")]
    count = " ".join((block + failures.stderr).split()).count(task.result["msg"])
    assert count in (1, 2)


@pytest.mark.every_core
def test_a_failing_run_displays_no_traceback(failures):
    assert failures.code == 2
    for sign in ("Traceback", "exception", "Unexpected", "WARNING", "AnsibleTagged", "\\n"):
        assert sign not in failures.output, sign


@pytest.mark.parametrize("secret", [WRONG, NOT_A_MASTER_KEY, "sk-some-master-key", "sk-short", "admin:secret"])
def test_a_failure_displays_no_secret(failures, secret):
    assert secret not in failures.output
    assert secret not in failures.log


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", CASES["no-guid"].message),
        ("guid=e2e-failure modles=granite", CASES["unknown-option"].message),
        ("guid=e2e-failure duration=1y", CASES["years"].message),
    ],
)
def test_an_ad_hoc_command_fails_with_the_same_message(ansible, arguments, message):
    run = ansible.run("ansible", "localhost", "-m", ACTION, "-a", arguments, LITELLM_URL=NOWHERE)
    assert run.code == 2
    assert message in run.stdout
    assert run.text.count(message) in (1, 2)
    assert "Traceback" not in run.output


def test_the_role_requires_the_guid(ansible):
    role = {"name": "rhpds.litellm_virtual_keys.ocp4_workload_litellm_virtual_keys"}
    run = ansible.play(
        {"hosts": "localhost", "vars": {"ACTION": "destroy"}, "tasks": [{"ansible.builtin.include_role": role}]},
        LITELLM_URL=NOWHERE,
    )
    assert run.code == 2
    message = "guid is not set; it must name the lab environment that the virtual keys belong to"
    assert run.failed.result["msg"] == message
    assert "Traceback" not in run.output
