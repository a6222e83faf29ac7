# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text that looks like code stays text: input reaches the proxy unchanged, and responses of a proxy are never executed.

These defects made the tests fail: names in a result that are trusted as templates, messages without escaped control
characters, and a null character that is sent to the proxy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    GRANITE,
    ROLE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY, FakeLiteLLM

KEY = LOOKUP = f"{COLLECTION}.litellm_key"
INFO, ENVIRONMENT = f"{COLLECTION}.litellm_key_info", f"{COLLECTION}.litellm_environment"
# Each of these texts would create this file if it were executed.
CANARY = "canary"
CODE = {
    "jinja": "{{ lookup('ansible.builtin.pipe', 'touch canary') }}",
    "jinja, quoted": "\"}}{{ lookup('pipe', 'touch canary') }}{{\"",
    "jinja statement": "{% set x = lookup('pipe', 'touch canary') %}",
    "jinja comment": "{# nothing #}",
    "jinja arithmetic": "{{ 7 * 7 }}",
    "jinja raw": "{% raw %}{{ 7 * 7 }}{% endraw %}",
    "jinja header": "#jinja2: variable_start_string:'[%'",
    "yaml tag": "!unsafe '{{ 7 * 7 }}'",
    "yaml list": "- a: b",
    "yaml object": "!!python/object/apply:os.system ['touch canary']",
    "yaml document": "--- %YAML 1.2",
    "shell": "$(touch canary) `touch canary` ; touch canary | true && touch canary",
    "sql": '\'; DROP TABLE "LiteLLM_VerificationToken"; --',
    "like": "100%_\\",
    "format": "%s %(x)s {0} {user} \\u0000 \\x1b",
    "url": "a?b=c&d=%2e%2e#e+f",
    "letters": "naïve Ünï 日本語 \N{ROCKET} \N{COMBINING ACUTE ACCENT}",
    "number": "007",
    "word": "null",
}
IN_VALUES = {
    "lines": "one\ntwo\r\n\ttabbed\n",
    "escape": "\x1b[2J\x1b]0;owned\x07 \x9b31m",
    "bidirectional": "safe\u202eefasnu",
    "invisible": "no\u200bthing\ufeff",
    "blanks": "  ",
    "long": "x" * 10_000,
}
REFUSED = {
    "a '..' between slashes": ("../../etc/passwd", "contains '..' between slashes"),
    "bidirectional": ("safe\u202eefasnu", "a character that is not printable"),
    "a new line": ("one\ntwo", "a character that is not printable"),
    "null character": ("a\x00b", "a character that is not printable"),
    "escape": ("a\x1b[2Jb", "a character that is not printable"),
    "a space at the end": ("name ", "starts or ends with white space"),
    "too long": ("x" * 300, "255 are allowed"),
}
NOT_STORABLE = {"null character": ("a\x00b", "a null character")}


@dataclass
class Outcome:
    """What one run left.

    :ivar read: the variables of the play at its end.
    :ivar rows: the keys on the proxy, by alias.
    :ivar executed: whether any of the texts was executed.
    """

    run: CommandResult
    guid: str
    read: dict[str, Any]
    rows: dict[str, list[Json]]
    executed: bool


MODELS = [CODE["jinja arithmetic"], CODE["shell"], GRANITE]
METADATA = {**CODE, **IN_VALUES, **{text: name for name, text in CODE.items()}}
WITHOUT_USER = {name: text for name, text in METADATA.items() if "{user}" not in name + text}
# Users of a workshop. In the options for each of them, `{user}` is replaced by the user.
USERS = [text for text in CODE.values() if "{" not in text]


@pytest.fixture(scope="module")
def outcome(ansible: Ansible, proxy: Proxy, guid: str) -> Outcome:
    """Run all cases at once. The texts come from the output of a command: in a file of variables they are templates."""
    aliases = [f"{guid} {text}" for text in CODE.values()]
    texts = {
        "metadata": METADATA,
        "keys": [{"key_alias": alias, "metadata": {"alias": alias}} for alias in aliases],
        "refused": [{"key_alias": text} for text, _reason in REFUSED.values()]
        + [{"key_alias": f"{guid}-refused", "metadata": {"text": text}} for text, _reason in NOT_STORABLE.values()],
        "users": USERS,
        "role_metadata": WITHOUT_USER,
    }
    (ansible.folder / "texts.json").write_text(json.dumps(texts))
    options = {
        "guid": f"{guid}-hostile",
        "metadata": "{{ texts.metadata }}",
        "user_id": "{{ texts.metadata['jinja'] }}",
        "models": ["{{ texts.metadata['jinja arithmetic'] }}", "{{ texts.metadata['shell'] }}", GRANITE],
        "on_unknown_models": "warn",
        "duration": "1h",
    }
    of_role = {
        "users": "{{ texts.users }}",
        "metadata": "{{ texts.role_metadata }}",
        "user_info_messages": ["{{ texts.metadata['jinja'] }}"],
        "models": ["{{ texts.metadata['jinja'] }}", GRANITE],
        "duration": "1h",
    }
    lab = {
        "guid": f"{guid}-lab {{{{ texts.metadata['jinja'] }}}}",
        "metadata": "{{ texts.role_metadata }}",
        "models": "{{ created.virtual_key.models }}",
        "user_messages": ["{{ texts.metadata['jinja'] }}"],
        "duration": "1h",
    }
    names: tuple[str, ...] = (
        "created",
        "again",
        "named",
        "refused",
        "found",
        "report",
        "looked_up",
        "litellm_available_models",
    )
    names += ("lab", "lab_again", "status", "nothing")
    lab_vars = {"output_dir": "{{ playbook_dir }}/lab"}
    tasks: list[Json] = [
        {"ansible.builtin.command": "cat texts.json", "register": "printed", "changed_when": False},
        {"ansible.builtin.set_fact": {"texts": "{{ printed.stdout | from_json }}"}},
        {KEY: options, "register": "created"},
        {KEY: options, "register": "again"},
        {KEY: {"virtual_keys": "{{ texts['keys'] }}", "duration": "1h"}, "register": "named"},
        {
            KEY: {"virtual_keys": ["{{ item }}"]},
            "loop": "{{ texts.refused }}",
            "register": "refused",
            "ignore_errors": True,
        },
        {INFO: {"key_alias": "{{ texts['keys'] | map(attribute='key_alias') | list }}"}, "register": "found"},
        {
            "ansible.builtin.set_fact": {
                "report": f"{{{{ found.virtual_keys | {COLLECTION}.keys_table }}}}",
                "looked_up": f"{{{{ lookup('{LOOKUP}', '{guid}-hostile', field='metadata') }}}}",
            }
        },
        {ENVIRONMENT: lab, "vars": lab_vars, "register": "lab"},
        {ENVIRONMENT: lab, "vars": lab_vars, "register": "lab_again"},
        {ENVIRONMENT: {"guid": lab["guid"], "operation": "status"}, "vars": lab_vars, "register": "status"},
        {ENVIRONMENT: {"guid": "lab", "operation": "{{ texts.metadata['jinja'] }}"}, "register": "nothing"},
        {
            "ansible.builtin.include_role": {"name": ROLE},
            "vars": {
                "ACTION": "provision",
                "guid": f"{guid}-role",
                "output_dir": "{{ playbook_dir }}/output",
                **{f"ocp4_workload_litellm_virtual_keys_{name}": value for name, value in of_role.items()},
            },
        },
        {
            "ansible.builtin.copy": {
                "dest": str(ansible.folder / "read.json"),
                "content": f"{{{{ {{ {', '.join(f'{name!r}: {name}' for name in names)} }} | to_json }}}}",
                "mode": "0600",
            },
            "no_log": True,
        },
    ]
    run = ansible.play({"hosts": "localhost", "tasks": tasks}, "-v")
    read = ansible.folder / "read.json"
    aliases += [
        f"virtkey-{guid}-lab {CODE['jinja']}",
        f"{guid}-hostile",
        *(f"virtkey-{guid}-role-{user}" for user in USERS),
        f"virtkey-{guid}-hostile",
    ]
    rows = {alias: proxy.rows(alias) for alias in aliases}
    proxy.delete(*aliases)
    executed = any(path.name == CANARY for path in ansible.folder.rglob("*"))
    return Outcome(run, guid, json.loads(read.read_text()) if read.exists() else {}, rows, executed)


@pytest.mark.every_core
def test_all_tasks_succeed_and_no_text_is_executed(outcome):
    assert outcome.run.code == 0, outcome.run.output[-5000:]
    assert not outcome.executed
    assert "Traceback" not in outcome.run.output


def test_settings_reach_the_proxy_unchanged(outcome):
    (row,) = outcome.rows[f"virtkey-{outcome.guid}-hostile"]
    assert row["metadata"] == METADATA
    assert row["user_id"] == CODE["jinja"]
    assert row["models"] == MODELS


@pytest.mark.every_core
def test_settings_are_returned_unchanged(outcome):
    created = outcome.read["created"]["virtual_key"]
    assert created["metadata"] == outcome.read["looked_up"] == METADATA
    assert (created["user_id"], created["models"]) == (CODE["jinja"], MODELS)
    assert outcome.read["again"]["changed"] is False


@pytest.mark.parametrize("name", CODE)
def test_an_alias_is_only_a_name(outcome, name):
    alias = f"{outcome.guid} {CODE[name]}"
    (row,) = outcome.rows[alias]
    assert row["metadata"] == {"alias": alias}
    assert [key["metadata"] for key in outcome.read["named"]["virtual_keys"] if key["key_alias"] == alias] == [
        {"alias": alias}
    ]
    assert [key["metadata"] for key in outcome.read["found"]["virtual_keys"] if key["key_alias"] == alias] == [
        {"alias": alias}
    ]
    assert [line for line in outcome.read["report"] if line.startswith(alias)]


@pytest.mark.parametrize(
    ("number", "reason"), [*enumerate(reason for _text, reason in [*REFUSED.values(), *NOT_STORABLE.values()])]
)
def test_an_invalid_name_is_refused_with_a_sentence(outcome, number, reason):
    result = outcome.read["refused"]["results"][number]
    assert result["failed"]
    assert reason in result["msg"]
    assert result["msg"].isprintable()
    assert len(result["msg"]) < 400


@pytest.mark.parametrize("user", USERS)
def test_the_role_passes_every_text_on(outcome, ansible, user):
    (row,) = outcome.rows[f"virtkey-{outcome.guid}-role-{user}"]
    assert row["user_id"] == f"{user}@lab.opentlc.com"
    assert row["metadata"] == {
        **WITHOUT_USER,
        "guid": f"{outcome.guid}-role",
        "user": user,
        "user_number": USERS.index(user) + 1,
        "models": f"{CODE['jinja']},{GRANITE}",
        "models_count": 2,
        "duration": "1h",
    }
    saved = ansible.file("output/provision-user-data.yaml")["users"][user]
    assert saved["litellm_key_alias"] == f"virtkey-{outcome.guid}-role-{user}"
    assert saved["litellm_available_models"] == outcome.read["litellm_available_models"] == [CODE["jinja"], GRANITE]
    assert CODE["jinja"] in ansible.file("output/provision-user-info.yaml")


@pytest.mark.every_core
def test_an_environment_is_managed_without_executing_its_texts(outcome, ansible):
    alias, read = f"virtkey-{outcome.guid}-lab {CODE['jinja']}", outcome.read
    (row,) = outcome.rows[alias]
    assert WITHOUT_USER.items() <= row["metadata"].items()
    assert row["metadata"]["guid"] == alias.removeprefix("virtkey-")
    assert read["lab"]["virtual_keys"][0]["metadata"] == row["metadata"]
    assert read["lab"]["facts"]["litellm_available_models"] == MODELS
    assert read["lab"]["messages"][-1] == CODE["jinja"]
    assert read["lab_again"]["changed"] is False
    assert read["lab_again"]["facts"] == read["lab"]["facts"]
    assert [key["metadata"] for key in read["status"]["virtual_keys"]] == [row["metadata"]]
    assert [line for line in read["status"]["report"] if line.startswith(alias)]
    record = ansible.file("lab/provision-user-data.yaml")["litellm_keys"][alias]
    assert record["settings"]["metadata"] == row["metadata"]
    assert f"ACTION '{CODE['jinja']}'" in read["nothing"]["report"]


# A proxy whose responses contain code.


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeLiteLLM]:
    with FakeLiteLLM().running() as fake:
        yield fake


@pytest.fixture(scope="module")
def hostile(ansible: Ansible, fake: FakeLiteLLM) -> CommandResult:
    """Manage keys on a proxy all of whose data look like code."""
    code = CODE["jinja"]
    for guid in ("a", "b"):
        fake.add(
            f"virtkey-{guid}",
            f"sk-the-secret-of-{guid}",
            key_name=code,
            models=[code],
            metadata={"guid": guid, code: code, "escape": IN_VALUES["escape"]},
            user_id=code,
            budget_duration=code,
        )
    first = "{{ found.virtual_keys[0]"
    fake.models = [code, IN_VALUES["escape"]]
    tasks: list[Json] = [
        {INFO: {}, "register": "found"},
        {"ansible.builtin.debug": {"var": "found"}},
        {"ansible.builtin.debug": {"msg": f"{{{{ found.virtual_keys | {COLLECTION}.keys_table }}}}"}},
        {"ansible.builtin.set_fact": {"kept": f"{first}.metadata }}}}", "one": f"{first}.models[0] }}}}"}},
        {"ansible.builtin.debug": {"msg": "{{ kept }} {{ one }}"}},
        {"ansible.builtin.debug": {"msg": f"{{{{ lookup('{LOOKUP}', 'a', field='all') }}}}"}},
        {KEY: {"guid": "a", "max_budget": 1}, "register": "updated"},
        {"ansible.builtin.debug": {"msg": "{{ updated.virtual_key }}"}},
        {KEY: {"guid": "a", "key": "sk-a-secret-of-another-key"}, "ignore_errors": True},
        {KEY: {"guid": "c", "models": ["granite"]}, "ignore_errors": True},
        {KEY: {"guid": "c", "models": "{{ [one, 'granite'] }}", "on_unknown_models": "warn"}},
        {
            "ansible.builtin.include_role": {"name": ROLE},
            "vars": {
                "ACTION": "provision",
                "guid": "b",
                "output_dir": "{{ playbook_dir }}/hostile",
                "ocp4_workload_litellm_virtual_keys_settings": {"key": "sk-the-secret-of-b"},
                "ocp4_workload_litellm_virtual_keys_models": [],
                "ocp4_workload_litellm_virtual_keys_duration": "",
            },
        },
        {"ansible.builtin.debug": {"var": "litellm_available_models"}},
        {
            ENVIRONMENT: {"guid": "a", "settings": {"key": "sk-the-secret-of-a"}},
            "vars": {"output_dir": "{{ playbook_dir }}/hostile"},
            "register": "lab",
        },
        {"ansible.builtin.debug": {"var": "lab"}},
        {"ansible.builtin.include_role": {"name": ROLE}, "vars": {"ACTION": "status", "guid": "b"}},
    ]  # fmt: skip
    return ansible.play(
        {"hosts": "localhost", "tasks": tasks}, "-v", LITELLM_URL=fake.url, LITELLM_MASTER_KEY=MASTER_KEY
    )


@pytest.mark.every_core
def test_data_of_a_proxy_are_displayed_and_not_executed(hostile, ansible):
    assert hostile.code == 0, hostile.output[-5000:]
    assert not [path for path in ansible.folder.rglob("*") if path.name == CANARY]
    assert CODE["jinja"] in hostile.output.replace("\\", "")


@pytest.mark.every_core
def test_no_terminal_sequence_of_a_proxy_reaches_the_terminal(hostile):
    """ansible-core escapes these characters in results, except \\x9b, which only messages of this collection escape."""
    assert "owned" in hostile.output
    assert r"The proxy serves \x1b[2J\x1b]0;owned\x07 \x9b31m" in hostile.text
    for sign in ("\x1b", "\x07"):
        assert sign not in hostile.output
        assert sign not in hostile.log
