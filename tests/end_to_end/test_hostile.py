# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What looks like code is text: what users write reaches the proxy unchanged, and what a proxy answers is never run.

Seen to turn it red: names that are trusted as templates on their way into a result, messages without escapes, and a
character zero that is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    ROLE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY, FakeLiteLLM

KEY, INFO, LOOKUP = f"{COLLECTION}.litellm_key", f"{COLLECTION}.litellm_key_info", f"{COLLECTION}.litellm_key"
# Each would leave this file, if it were run.
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
    "a '..' between slashes": ("../../etc/passwd", "has '..' between slashes"),
    "bidirectional": ("safe\u202eefasnu", "a character that cannot be printed"),
    "a new line": ("one\ntwo", "a character that cannot be printed"),
    "zero": ("a\x00b", "a character that cannot be printed"),
    "escape": ("a\x1b[2Jb", "a character that cannot be printed"),
    "a blank at the end": ("name ", "begins or ends with a blank"),
    "too long": ("x" * 300, "255 are allowed"),
}


NOT_STORED = {"zero": ("a\x00b", "the character zero")}


@dataclass
class Told:
    """What was told, what was read by the play, and the truth."""

    run: CommandResult
    guid: str
    read: dict[str, Any]
    rows: dict[str, list[Json]]
    touched: bool


METADATA = {**CODE, **IN_VALUES, **{text: name for name, text in CODE.items()}}
# A user of many; in what is asked for each of them `{user}` is the user.
USERS = [text for text in CODE.values() if "{" not in text]


@pytest.fixture(scope="module")
def told(ansible: Ansible, proxy: Proxy, guid: str) -> Told:
    """All of it in one run. The texts come as what a command has said: in files of variables they are templates."""
    aliases = [f"{guid} {text}" for text in CODE.values()]
    texts = {
        "metadata": METADATA,
        "keys": [{"key_alias": alias, "metadata": {"alias": alias}} for alias in aliases],
        "refused": [{"key_alias": text} for text, _says in REFUSED.values()]
        + [{"key_alias": f"{guid}-refused", "metadata": {"text": text}} for text, _says in NOT_STORED.values()],
        "users": USERS,
        "role_metadata": {name: text for name, text in METADATA.items() if "{user}" not in name + text},
    }
    (ansible.folder / "texts.json").write_text(json.dumps(texts))
    options = {
        "guid": f"{guid}-hostile",
        "metadata": "{{ texts.metadata }}",
        "user_id": "{{ texts.metadata['jinja'] }}",
        "models": ["{{ texts.metadata['jinja arithmetic'] }}", "{{ texts.metadata['shell'] }}"],
        "on_unknown_models": "warn",
        "duration": "1h",
    }
    of_role = {
        "users": "{{ texts.users }}",
        "metadata": "{{ texts.role_metadata }}",
        "user_info_messages": ["{{ texts.metadata['jinja'] }}"],
        "models": ["{{ texts.metadata['jinja'] }}"],
        "duration": "1h",
    }
    names = ("made", "again", "named", "refused", "found", "report", "looked_up", "litellm_available_models")
    tasks: list[Json] = [
        {"ansible.builtin.command": "cat texts.json", "register": "said", "changed_when": False},
        {"ansible.builtin.set_fact": {"texts": "{{ said.stdout | from_json }}"}},
        {KEY: options, "register": "made"},
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
    aliases += [f"{guid}-hostile", *(f"virtkey-{guid}-role-{user}" for user in USERS), f"virtkey-{guid}-hostile"]
    rows = {alias: proxy.rows(alias) for alias in aliases}
    proxy.delete(*aliases)
    touched = any(path.name == CANARY for path in ansible.folder.rglob("*"))
    return Told(run, guid, json.loads(read.read_text()) if read.exists() else {}, rows, touched)


def test_all_of_it_is_done_and_none_of_it_is_run(told):
    assert told.run.code == 0, told.run.output[-5000:]
    assert not told.touched
    assert "Traceback" not in told.run.output


def test_settings_arrive_unchanged(told):
    (row,) = told.rows[f"virtkey-{told.guid}-hostile"]
    assert row["metadata"] == METADATA
    assert row["user_id"] == CODE["jinja"]
    assert row["models"] == [CODE["jinja arithmetic"], CODE["shell"]]


def test_settings_come_back_unchanged(told):
    made = told.read["made"]["virtual_key"]
    assert made["metadata"] == told.read["looked_up"] == METADATA
    assert (made["user_id"], made["models"]) == (CODE["jinja"], [CODE["jinja arithmetic"], CODE["shell"]])
    assert told.read["again"]["changed"] is False


@pytest.mark.parametrize("name", CODE)
def test_an_alias_is_only_a_name(told, name):
    alias = f"{told.guid} {CODE[name]}"
    (row,) = told.rows[alias]
    assert row["metadata"] == {"alias": alias}
    assert [key["metadata"] for key in told.read["named"]["virtual_keys"] if key["key_alias"] == alias] == [
        {"alias": alias}
    ]
    assert [key["metadata"] for key in told.read["found"]["virtual_keys"] if key["key_alias"] == alias] == [
        {"alias": alias}
    ]
    assert [line for line in told.read["report"] if line.startswith(alias)]


@pytest.mark.parametrize(
    ("number", "says"), [*enumerate(says for _text, says in [*REFUSED.values(), *NOT_STORED.values()])]
)
def test_what_cannot_be_a_name_is_refused_with_a_sentence(told, number, says):
    result = told.read["refused"]["results"][number]
    assert result["failed"]
    assert says in result["msg"]
    assert result["msg"].isprintable()
    assert len(result["msg"]) < 400


@pytest.mark.parametrize("user", USERS)
def test_the_role_hands_everything_on(told, ansible, user):
    (row,) = told.rows[f"virtkey-{told.guid}-role-{user}"]
    assert row["user_id"] == f"{user}@lab.opentlc.com"
    assert row["metadata"] == {
        **{name: text for name, text in METADATA.items() if "{user}" not in name + text},
        "guid": f"{told.guid}-role",
        "user": user,
    }
    saved = ansible.file("output/provision-user-data.yaml")["users"][user]
    assert saved["litellm_key_alias"] == f"virtkey-{told.guid}-role-{user}"
    assert saved["litellm_available_models"] == told.read["litellm_available_models"] == [CODE["jinja"]]
    assert CODE["jinja"] in ansible.file("output/provision-user-info.yaml")


# A proxy that tells code.


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeLiteLLM]:
    with FakeLiteLLM().running() as fake:
        yield fake


@pytest.fixture(scope="module")
def hostile(ansible: Ansible, fake: FakeLiteLLM) -> CommandResult:
    """Everything that it says of its keys is code."""
    said = CODE["jinja"]
    for guid in ("a", "b"):
        fake.add(
            f"virtkey-{guid}",
            f"sk-the-secret-of-{guid}",
            key_name=said,
            models=[said],
            metadata={"guid": guid, said: said, "escape": IN_VALUES["escape"]},
            user_id=said,
            budget_duration=said,
        )
    first = "{{ found.virtual_keys[0]"
    fake.models = [said, IN_VALUES["escape"]]
    tasks: list[Json] = [
        {INFO: {}, "register": "found"},
        {"ansible.builtin.debug": {"var": "found"}},
        {"ansible.builtin.debug": {"msg": f"{{{{ found.virtual_keys | {COLLECTION}.keys_table }}}}"}},
        {"ansible.builtin.set_fact": {"kept": f"{first}.metadata }}}}", "one": f"{first}.models[0] }}}}"}},
        {"ansible.builtin.debug": {"msg": "{{ kept }} {{ one }}"}},
        {"ansible.builtin.debug": {"msg": f"{{{{ lookup('{LOOKUP}', 'a', field='all') }}}}"}},
        {KEY: {"guid": "a", "max_budget": 1}, "register": "made"},
        {"ansible.builtin.debug": {"msg": "{{ made.virtual_key }}"}},
        {KEY: {"guid": "a", "key": "sk-a-secret-of-another-key"}, "ignore_errors": True},
        {KEY: {"guid": "c", "models": ["granite"]}, "ignore_errors": True},
        {KEY: {"guid": "c", "models": ["granite"], "on_unknown_models": "warn"}},
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
        {"ansible.builtin.include_role": {"name": ROLE}, "vars": {"ACTION": "status", "guid": "b"}},
    ]  # fmt: skip
    return ansible.play(
        {"hosts": "localhost", "tasks": tasks}, "-v", LITELLM_URL=fake.url, LITELLM_MASTER_KEY=MASTER_KEY
    )


def test_what_a_proxy_says_is_shown_and_not_run(hostile, ansible):
    assert hostile.code == 0, hostile.output[-5000:]
    assert not [path for path in ansible.folder.rglob("*") if path.name == CANARY]
    assert CODE["jinja"] in hostile.output.replace("\\", "")


def test_what_a_proxy_says_reaches_no_terminal_as_a_command(hostile):
    """The results that ansible-core prints have escapes for these; for \\x9b only our own messages have one."""
    assert "owned" in hostile.output
    assert r"it serves \x1b[2J\x1b]0;owned\x07 \x9b31m" in hostile.text
    for sign in ("\x1b", "\x07"):
        assert sign not in hostile.output
        assert sign not in hostile.log
