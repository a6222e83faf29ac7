# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets are in nothing that Ansible prints, keeps or hands on, except where the user asked to see one.

Each channel is one run of ansible-playbook, most of them as verbose as can be, with every case in it: a front end that
works, or fails in some way. Afterwards everything that the run has left is searched for every secret.

These were seen to turn it red: results without `_ansible_no_log` (of a loop, before ansible-core 2.19, also without
`no_log` of the task), messages that are not masked, an exception in place of a failed result, a secret in an address,
the password in the arguments of psql, user data of mode 0644, a temporary file that is left. LiteLLM's own log leaves
queries out, so that nothing of ours has turned the test of it red so far.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible import release
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import derive
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    NOWHERE,
    ROLE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
    Relay,
)

TELLS = "user.info: LiteLLM Virtual Key: "
SEED = "a-seed-of-more-than-thirty-two-characters"
# Given or saved; `{of}` makes them the secrets of one run. One has signs in it that our masks do not guess.
GIVEN = {
    "a wrong master key": "sk-wrong-master-key-of-some-length",
    "the seed": SEED,
    "a chosen secret": "sk-chosen-for-{of}-and-no-other",
    "an odd secret": "sk-odd-one-$for$-{of}-(and)-no-other",
    "a secret that does not match": "sk-unlike-all-others-of-{of}",
    "a secret that was saved": "sk-was-saved-once-in-{of}",
    "the password of the database": "pass%2Fword-of-{of}",
}


@dataclass(frozen=True)
class Case:
    """Tasks, and whether they fail in the end.

    :ivar says: what must be said when they fail, as a pattern.
    """

    tasks: list[Json]
    says: str = ""
    variables: Json = field(default_factory=dict)


def role(guid: str = "role", says: str = "", action: str = "provision", **variables: Any) -> Case:
    """The role, which tells the key only where that is asked for."""
    own = {"display_key": False, "retry_count": 0, "duration": "1h"}
    own.update((name.removeprefix("_"), value) for name, value in variables.items() if name.startswith("_"))
    return Case(
        [{"ansible.builtin.include_role": {"name": ROLE}}],
        says,
        {
            "ACTION": action,
            "guid": f"{{{{ prefix }}}}-{guid}",
            "output_dir": f"{{{{ folder }}}}/{guid}",
            **{f"ocp4_workload_litellm_virtual_keys_{name}": value for name, value in own.items()},
            **{name: value for name, value in variables.items() if not name.startswith("_")},
        },
    )


def key(*further: Json, says: str = "", keywords: Json | None = None, **options: Any) -> Case:
    """The action, and the tasks after it."""
    guid = {} if {"virtual_keys", "key_id"} & set(options) else {"guid": "{{ prefix }}-action"}
    task = {f"{COLLECTION}.litellm_key": {"duration": "1h", **guid, **options}, "register": "made", **(keywords or {})}
    return Case([task, *further], says)


def task(name: str, options: Any, says: str = "", variables: Json | None = None, **keywords: Any) -> Case:
    return Case([{name: options, **keywords}], says, variables or {})


def looked_up(arguments: str, says: str = "", **variables: Any) -> Case:
    template = f"{{{{ lookup('{COLLECTION}.litellm_key', {arguments}) }}}}"
    return task("ansible.builtin.debug", {"msg": template}, says, variables)


GUID = "{{ prefix }}"
WRONG = {"litellm_master_key": "{{ wrong }}"}
REFUSED = r"does not accept the master key \(401\)"
MISMATCH = "exists with another secret than the one given"
PSQL = {"postgres_url": "postgresql://litellm:{{ password }}@db.example:5432/litellm", "key_ids": ["0" * 64]}

CASES = {
    "role, with a seed": role("seed", _key_seed="{{ seed }}"),
    "role, telling": role(_display_key=True),
    "role, again": role(),
    "role, many users": role("many", _users=["ann", "bob"], _display_key=True),
    "role, another was saved": role("seed", "its secret is not known", output_dir="{{ folder }}/saved"),
    "role, extended": role(action="extend", _runtime="48"),
    "role, replaced": role(_regenerate="always"),
    "role, stopped": role(action="stop", _block_on_stop=True),
    "role, status": role(action="status"),
    "role, wrong master key": role("wrong", REFUSED, **WRONG),
    "role, proxy down": role("down", "No LiteLLM proxy answers", litellm_url=NOWHERE),
    "role, odd settings": role("odd", "max_budget must be a number", _settings={"max_budget": "x", "key": "{{ odd }}"}),
    "role, unknown variable in settings": role("odd", "settings has 'kye'", _settings={"kye": "{{ chosen }}"}),
    "role, not destroyed": role("role", REFUSED, action="destroy", **WRONG),
    "role, destroyed": role(action="destroy"),
    "action": key(key="{{ chosen }}", metadata={"purpose": "secrecy"}),
    "action, in check mode": key(key="{{ chosen }}", max_budget=3, keywords={"check_mode": True}),
    "action, changing": key(key="{{ chosen }}", max_budget=3),
    "action, mismatch": key(key="{{ unlike }}", says=MISMATCH),
    "action, belongs to another": key(guid=f"{GUID}-other", key="{{ chosen }}", says="is that of the key"),
    "action, odd secret": key(guid=f"{GUID}-odd", key="{{ odd }}"),
    "action, refused odd secret": key(
        guid=f"{GUID}-odd2", key="{{ odd }}", extra_params={"rotation_interval": [1]}, says="LiteLLM answered"
    ),
    "action, seed": key(guid=f"{GUID}-derived", key_seed="{{ seed }}"),
    "action, replaced": key(guid=f"{GUID}-derived", key_seed="{{ seed }}", key_version=2, regenerate="always"),
    "action, random, and then into a file": key(
        {
            "ansible.builtin.copy": {
                "dest": "{{ folder }}/random",
                "content": "{{ made.virtual_key.key }}",
                "mode": "0600",
            },
            "no_log": True,
        },
        guid=f"{GUID}-random",
    ),
    "action, in a loop": key(
        guid=f"{GUID}-loop-{{{{ item }}}}",
        key_seed="{{ seed }}",
        keywords={"loop": ["a", "b"]},
    ),
    "action, many, one fails": key(
        virtual_keys=[
            {"guid": f"{GUID}-many-a", "key_seed": "{{ seed }}"},
            {"guid": f"{GUID}-action", "key": "{{ unlike }}"},
        ],
        says="1 of 2 keys failed",
    ),
    "action, until": key(
        guid=f"{GUID}-until",
        key_seed="{{ seed }}",
        keywords={"until": "made.virtual_key.key == ''", "retries": 1, "delay": 0},
        says="output has been hidden",
    ),
    "action, failed_when": key(
        key="{{ chosen }}", keywords={"failed_when": "made.virtual_key.key != ''"}, says="output has been hidden"
    ),
    "action, and an assertion": key(
        {"ansible.builtin.assert": {"that": "made.virtual_key.key == seed"}},
        key="{{ chosen }}",
        says="Assertion failed",
    ),
    "action, and an odd condition": key(
        {"ansible.builtin.debug": {}, "when": "made.virtual_key.key.nothing.at.all"}, key="{{ chosen }}", says="nothing"
    ),
    "action, time is out": key(
        url="{{ silent }}", key="{{ chosen }}", keywords={"timeout": 1}, says="Timed out after|expected time frame"
    ),
    "action, odd option": key(key="{{ chosen }}", key_seed=["{{ seed }}"], says="key_seed must be text"),
    "action, odd number": key(key="{{ chosen }}", max_budget="lots", says="max_budget must be a number"),
    "action, unknown option": key(key="{{ chosen }}", master_kye="{{ wrong }}", says="did you mean 'master_key'"),
    "action, secret for an id": key(key_id="{{ chosen }}", says="key_id must be 64 hexadecimal digits"),
    "action, secret for a url": key(url="{{ wrong }}", key="{{ chosen }}", says="is not usable"),
    "action, secret for a model": key(guid=f"{GUID}-model", models=["{{ wrong }}"], says="the proxy does not serve"),
    "action, wrong master key": key(master_key="{{ wrong }}", key="{{ chosen }}", says=REFUSED),
    "action, proxy down": key(url=NOWHERE, retries=0, key="{{ chosen }}", says="No LiteLLM proxy answers"),
    "info": task(f"{COLLECTION}.litellm_key_info", {"guid": f"{GUID}-action"}),
    "info, wrong master key": task(f"{COLLECTION}.litellm_key_info", {"master_key": "{{ wrong }}"}, REFUSED),
    "info, secret for an id": task(f"{COLLECTION}.litellm_key_info", {"key_id": "{{ chosen }}"}, "key_id must be 64"),
    "lookup, in a template": task(
        "ansible.builtin.template",
        {"src": "env.j2", "dest": "{{ folder }}/env", "mode": "0600"},
        variables={"saved": {"litellm_key_alias": f"virtkey-{GUID}-action", "litellm_virtual_key": "{{ chosen }}"}},
        no_log=True,
    ),
    "lookup, wrong master key": looked_up("prefix ~ '-action', key_seed=seed, master_key=wrong", REFUSED),
    "lookup, mismatch": looked_up("prefix ~ '-action', key_seed=seed", "than the one that was derived"),
    "lookup, not known": looked_up("prefix ~ '-action'", "is not known here"),
    "lookup, odd option": looked_up("prefix, key_seed=[seed]", "key_seed must be text"),
    "lookup, secret for an id": looked_up("chosen, search='id'", "key_id must be 64"),
    "lookup, proxy down": looked_up("prefix, key_seed=seed, url=nowhere", "No LiteLLM proxy answers", nowhere=NOWHERE),
    "user info": task(
        f"{COLLECTION}.agnosticd_user_info",
        {
            "data": {"litellm_virtual_key": "{{ chosen }}", "many": [{"key": "{{ chosen }}"}]},
            "users": {"ann": {"key": "{{ chosen }}"}},
        },
        variables={"output_dir": "{{ folder }}/told"},
    ),
    "user info, folder is a file": task(
        f"{COLLECTION}.agnosticd_user_info",
        {"data": {"litellm_virtual_key": "{{ chosen }}"}},
        "User data cannot be saved",
        {"output_dir": "{{ playbook_dir }}/playbook.yml"},
    ),
    "user info, odd data": task(
        f"{COLLECTION}.agnosticd_user_info", {"data": "{{ chosen }}"}, "data must be a dictionary"
    ),
    "row": task(f"{COLLECTION}.litellm_key_row", PSQL),
    "row, refused": task(f"{COLLECTION}.litellm_key_row", {**PSQL, "key_ids": ["f" * 64]}, "authentication failed"),
    "row, odd url": task(
        f"{COLLECTION}.litellm_key_row", {**PSQL, "postgres_url": "litellm:{{ password }}"}, "postgres_url must look"
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Channel:
    """How a run shows what it does.

    :ivar source: where the play has the master key from.
    """

    arguments: tuple[str, ...]
    environment: dict[str, str]
    source: str
    cases: tuple[str, ...]


THE_ROLE = tuple(name for name in CASES if name.startswith("role"))
THE_REST = ("role, telling", *(name for name in CASES if name not in THE_ROLE))
FAILING = ("role, telling", "action", *(name for name in THE_REST if CASES[name].says))
FEW = (
    *("role, telling", "action", "action, changing", "action, mismatch", "action, in a loop", "action, failed_when"),
    *("action, seed", "action, replaced", "info"),
)
LOUD = ("-vvvvv", "--diff")
KEEPING = {
    "ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.junit,ansible.builtin.tree",
    "ANSIBLE_CACHE_PLUGIN": "jsonfile",
    "ANSIBLE_KEEP_REMOTE_FILES": "true",
    "ANSIBLE_RETRY_FILES_ENABLED": "true",
}
TALKING = {
    "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
    "ANSIBLE_DEBUG": "true",
    "ANSIBLE_DISPLAY_TRACEBACK": "always",  # ansible-core 2.19 and later
}
CHANNELS = {
    "role": Channel(LOUD, KEEPING, "vars_files", THE_ROLE),
    "rest": Channel(LOUD, KEEPING, "vars_files", THE_REST),
    "yaml": Channel(LOUD, TALKING, "environment", FAILING),
    "minimal": Channel(("-vvv", "--diff"), {"ANSIBLE_STDOUT_CALLBACK": "minimal"}, "extra vars", FEW),
    "oneline": Channel(("-vvv",), {"ANSIBLE_STDOUT_CALLBACK": "oneline"}, "environment", FEW),
}


@dataclass
class Told:
    """All that was told, in one channel."""

    folder: Path
    run: CommandResult
    secrets: dict[str, str]
    commands: set[str]


FAKE_PSQL = """\
#!/bin/sh
# The client of PostgreSQL, which talks too much when it fails.
printf '%s ' "$0" "$@" >> "{folder}/psql.log"
sleep 0.3  # so that its arguments are seen
case "$*" in
  *ffff*) echo "psql: error: password authentication failed for user litellm ($PGPASSWORD, $2)" >&2; exit 2;;
esac
"""


def prepared(folder: Path, channel: str, guid: str, proxy: Proxy, silent: str) -> dict[str, str]:
    """Lay out what a run needs: the secrets of it."""
    secrets = {what: secret.format(of=f"{guid}-{channel}") for what, secret in GIVEN.items()}
    for name in ("saved", "tmp", "bin", "home"):
        (folder / name).mkdir()
    saved = folder / "saved" / "provision-user-data.yaml"
    alias = f"virtkey-{guid}-{channel}-seed"
    saved.write_text(
        yaml.safe_dump({"litellm_key_alias": alias, "litellm_virtual_key": secrets["a secret that was saved"]})
    )
    psql = folder / "bin" / "psql"
    psql.write_text(FAKE_PSQL.format(folder=folder))
    psql.chmod(0o700)
    (folder / "env.j2").write_text(
        f"KEY={{{{ lookup('{COLLECTION}.litellm_key', prefix ~ '-action', user_data=saved) }}}}\n"
    )
    given = {
        "wrong": secrets["a wrong master key"],
        "seed": secrets["the seed"],
        "chosen": secrets["a chosen secret"],
        "odd": secrets["an odd secret"],
        "unlike": secrets["a secret that does not match"],
        "password": secrets["the password of the database"],
        **({} if CHANNELS[channel].source == "environment" else {"litellm_master_key": proxy.master_key}),
    }
    others = {"prefix": f"{guid}-{channel}", "folder": str(folder), "silent": silent}
    for name, variables in (("given.yml", given), ("others.yml", others)):
        (folder / name).touch(0o600)
        (folder / name).write_text(yaml.safe_dump(variables))
    saved.chmod(0o600)
    secrets["the database's password itself"] = secrets["the password of the database"].replace("%2F", "/")
    secrets["the master key"] = proxy.master_key
    for guid_of, version in (("derived", 1), ("derived", 2), ("seed", 1), ("until", 1), ("loop-a", 1), ("many-a", 1)):
        derived = derive(SEED, f"virtkey-{others['prefix']}-{guid_of}", version).value
        secrets[f"the derived secret of {guid_of}, {version}"] = derived
    return secrets


def play_of(channel: Channel) -> Json:
    blocks = [
        {
            "name": name,
            "vars": CASES[name].variables,
            "block": CASES[name].tasks,
            "rescue": [{"ansible.builtin.debug": {"msg": f"It has {{{{ 'failed' }}}}: {name}!"}}],
        }
        for name in channel.cases
    ]
    first = {"ansible.builtin.set_fact": {"of_no_importance": "a fact", "cacheable": True}}
    last = {f"{COLLECTION}.litellm_key": {"guid": GUID, "master_key": "{{ wrong }}", "key": "{{ chosen }}"}}
    files = ["others.yml", *(["given.yml"] if channel.source != "extra vars" else [])]
    return {"hosts": "localhost", "vars_files": files, "tasks": [first, *blocks, last]}


def run_channel(ansible: Ansible, channel: str, proxy: Proxy, guid: str, url: str, silent: str) -> Told:
    one, folder = CHANNELS[channel], ansible.folder / channel
    folder.mkdir()
    secrets = prepared(folder, channel, guid, proxy, silent)
    own = {
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(folder / "cache"),
        "ANSIBLE_CALLBACK_TREE_DIR": str(folder / "tree"),
        "ANSIBLE_HOME": str(folder / "home" / ".ansible"),
        "HOME": str(folder / "home"),
        "JUNIT_OUTPUT_DIR": str(folder / "junit"),
        "ANSIBLE_REMOTE_TMP": str(folder / "home" / "remote"),
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "TMPDIR": str(folder / "tmp"),
        "LITELLM_URL": url,
    }
    mine = replace(ansible, folder=folder, environment={**ansible.environment, **own, **one.environment})
    arguments = (*one.arguments, *(("-e", "@given.yml") if one.source == "extra vars" else ()))
    master_key = proxy.master_key if one.source == "environment" else None
    with commands_of(str(folder)) as commands:
        run = mine.play(play_of(one), *arguments, LITELLM_MASTER_KEY=master_key)
    for path in [*folder.glob("*/provision-user-data.yaml"), folder / "random"]:
        if path.exists():
            for number, secret in enumerate(re.findall(r"\bsk-\w{32}\b", path.read_text())):
                secrets[f"{path.relative_to(folder)}, {number}"] = secret
    secrets.update((TELLS, secret) for secret in re.findall(rf"{TELLS}(sk-\w{{32}})\b", run.stdout))
    return Told(folder, run, secrets, commands)


@contextmanager
def commands_of(sign: str) -> Iterator[set[str]]:
    """The command lines, as anybody on this machine can see them, of processes with a sign in their environment."""
    seen: dict[tuple[str, bytes], bool] = {}
    enough = threading.Event()

    def look() -> None:
        while not enough.wait(0.03):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    command = (process / "cmdline").read_bytes()
                    if command and (process.name, command) not in seen:
                        seen[process.name, command] = sign.encode() in (process / "environ").read_bytes()
                except OSError:  # it has ended, or is another user's
                    continue

    thread = threading.Thread(target=look)
    thread.start()
    commands: set[str] = set()
    try:
        yield commands
    finally:
        enough.set()
        thread.join()
        commands.update(command.decode(errors="replace") for (_pid, command), ours in seen.items() if ours)


@pytest.fixture(scope="module")
def told(ansible: Ansible, proxy: Proxy, relay: Relay, guid: str) -> dict[str, Told]:
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(2) as threads:
        silent = f"http://127.0.0.1:{listening.getsockname()[1]}"
        running = {
            name: threads.submit(run_channel, ansible, name, proxy, guid, relay.url, silent) for name in CHANNELS
        }
        return {name: future.result() for name, future in running.items()}


def found_in(text: str, told: Told) -> list[str]:
    """The secrets in a text, other than in the sentence by which the role tells the user's own."""
    text = text.replace(f"{TELLS}{told.secrets[TELLS]}", "")
    lines = text.splitlines()
    return [f"{what}: {line[:200]}" for what, secret in told.secrets.items() for line in lines if secret in line]


EACH = pytest.mark.parametrize("channel", CHANNELS)


@EACH
def test_each_case_ends_as_expected(told, channel):
    run = told[channel].run
    assert run.code == 2, run.output[-3000:]
    failed = set(re.findall(r"It has failed: ([^!]*)!", run.output))
    assert failed == {name for name in CHANNELS[channel].cases if CASES[name].says}
    missing = {name: CASES[name].says for name in CHANNELS[channel].cases if not re.search(CASES[name].says, run.text)}
    assert missing == {}


@EACH
def test_no_secret_is_shown(told, channel):
    run = told[channel].run
    assert run.stdout
    assert run.log
    for text in (run.stdout, run.stderr, run.log):
        assert found_in(text, told[channel]) == []


@EACH
def test_a_failure_is_a_sentence_and_no_traceback(told, channel):
    """Tracebacks were asked for in one channel: there those of ansible-core's own errors are."""
    run = told[channel].run
    assert "made an error" not in run.text
    assert "MODULE FAILURE" not in run.text
    if "ANSIBLE_DISPLAY_TRACEBACK" not in CHANNELS[channel].environment:
        assert "Traceback" not in run.output


def test_all_was_shown_that_can_be(told):
    """Otherwise there would be nothing to find."""
    assert "<localhost>" in told["rest"].run.output or "task path:" in told["rest"].run.output
    assert "+max_budget: 3.0" in told["rest"].run.stderr
    assert "PLAY RECAP" in told["rest"].run.log
    assert re.search(r"^ *\d+ \d+\.\d+: ", told["yaml"].run.stdout, re.MULTILINE)  # ansible-core's debug output
    assert re.search(r"^ +msg: ", told["yaml"].run.stdout, re.MULTILINE)
    assert "localhost | FAILED! =>" in told["minimal"].run.stdout
    assert re.search(r"^localhost \| FAILED!", told["oneline"].run.stdout, re.MULTILINE)
    if tuple(map(int, release.__version__.split(".")[:2])) >= (2, 19):
        assert "Traceback" in told["yaml"].run.output


@EACH
def test_the_user_is_told_one_key(told, channel):
    """Where that is asked for; it may have been replaced later on."""
    one = told[channel]
    assert set(re.findall(rf"{TELLS}(sk-\w{{32}})\b", one.run.output + one.run.log)) == {one.secrets[TELLS]}
    saved = one.secrets["role/provision-user-data.yaml, 0"]
    assert (saved == one.secrets[TELLS]) == ("role, replaced" not in CHANNELS[channel].cases)


@pytest.mark.parametrize("channel", ["role", "rest"])
def test_reports_facts_and_lists_of_hosts_on_disk_have_no_secret(told, channel):
    folder = told[channel].folder
    kept = {
        name: "".join(path.read_text() for path in folder.glob(pattern))
        for name, pattern in {"junit": "junit/*.xml", "tree": "tree/*", "facts": "cache/*", "retry": "*.retry"}.items()
    }
    assert "It has failed" in kept["junit"]
    assert "localhost" in kept["retry"]
    assert "of_no_importance" in kept["facts"]
    assert '"msg"' in kept["tree"]
    for text in kept.values():
        assert found_in(text, told[channel]) == []


@EACH
def test_no_command_line_has_a_secret(told, channel):
    """Which everybody on the machine can see."""
    commands = told[channel].commands
    assert any("ansible-playbook" in command for command in commands)
    assert found_in("\n".join(commands), told[channel]) == []


@pytest.mark.parametrize("channel", ["rest", "yaml"])
def test_the_client_of_the_database_is_not_given_the_password_in_public(told, channel):
    said = (told[channel].folder / "psql.log").read_text()
    assert "postgresql://litellm@db.example:5432/litellm" in said
    assert found_in(said, told[channel]) == []


@EACH
def test_nobody_else_can_read_a_file_with_a_secret(told, channel):
    one = told[channel]
    holding = {}
    for path in one.folder.rglob("*"):
        if path.is_file() and path.name not in ("given.yml", "ansible.log"):
            text = path.read_text(errors="replace")
            if found_in(text, one):
                holding[path] = stat.S_IMODE(path.stat().st_mode)
    kept = [path for path in holding if "ansible-tmp-" in str(path)]  # as ANSIBLE_KEEP_REMOTE_FILES says
    assert {path.name for path in holding if path not in kept} <= {
        *("provision-user-data.yaml", "provision-user-info.yaml"),  # the users' own
        *("random", "env"),  # the play has written them
    }
    assert (one.folder / "role" / "provision-user-data.yaml") in holding
    assert {path: oct(mode) for path, mode in holding.items() if mode & 0o077 and path not in kept} == {}
    assert all(stat.S_IMODE(path.parent.stat().st_mode) == 0o700 for path in kept)


@EACH
def test_nothing_is_left_in_the_folder_for_temporary_files(told, channel):
    assert list((told[channel].folder / "tmp").iterdir()) == []


def test_addresses_have_no_secret(told, relay):
    """They are in the logs of all that is on the way. Keys are named by their hashes."""
    asked = [request for _agent, request, _body in relay.requests]
    chosen = told["rest"].secrets["a chosen secret"]
    assert [request for request in asked if hashlib.sha256(chosen.encode()).hexdigest() in request]
    for one in told.values():
        assert found_in("\n".join(asked), one) == []


def test_the_log_of_the_proxy_has_no_secret(told, proxy):
    """Of a sandbox of ours."""
    instances = Path(__file__).resolve().parents[2] / ".cache" / "sandbox" / "instances"
    (log,) = [env.with_name("proxy.log") for env in instances.glob("*/env") if f"={proxy.url}\n" in env.read_text()]
    said = log.read_text(errors="replace")
    assert "/key/generate" in said
    for one in told.values():
        assert found_in(said, one) == []


@pytest.fixture(scope="module")
def ad_hoc(ansible: Ansible, proxy: Proxy, guid: str) -> dict[str, CommandResult]:
    given = {"wrong": "sk-wrong-master-key-of-some-length", "seed": SEED}
    (ansible.folder / "given.yml").touch(0o600)
    (ansible.folder / "given.yml").write_text(yaml.safe_dump(given))
    arguments = {
        "right": "key_seed='{{ seed }}'",
        "wrong": "key_seed='{{ seed }}' master_key='{{ wrong }}'",
        "odd": "key_seed='{{ seed }}' max_budget='{{ seed }}'",
    }
    command = ("ansible", "localhost", "-m", f"{COLLECTION}.litellm_key", "-e", "@given.yml", "-vvvvv", "--diff", "-a")
    return {
        name: ansible.run(*command, f"guid={guid}-ad-hoc duration=1h {further}") for name, further in arguments.items()
    }


def test_ad_hoc_the_key_is_shown_and_nothing_else(ad_hoc, proxy, guid):
    derived = derive(SEED, f"virtkey-{guid}-ad-hoc").value
    assert ad_hoc["right"].code == 0
    assert derived in ad_hoc["right"].stdout
    for name, run in ad_hoc.items():
        for secret in (proxy.master_key, SEED, "sk-wrong-master-key-of-some-length"):
            assert secret not in run.output + run.log, name
        assert name == "right" or (run.code == 2 and derived not in run.output + run.log)
    assert re.search(REFUSED, ad_hoc["wrong"].text)
    assert "max_budget must be a number" in ad_hoc["odd"].text


def test_a_master_key_that_is_vaulted_inline_is_understood(ansible, proxy, guid):
    """Before ansible-core 2.19 such a value is no text."""
    password = ansible.folder / "password"
    password.write_text("a password")
    vault = ("--vault-password-file", str(password))
    vaulted = ansible.run("ansible-vault", "encrypt_string", *vault, "--name", "litellm_master_key", proxy.master_key)
    (ansible.folder / "vaulted.yml").write_text(vaulted.stdout)
    run = ansible.play(
        {
            "hosts": "localhost",
            "vars_files": ["vaulted.yml"],
            "tasks": [
                {f"{COLLECTION}.litellm_key": {"guid": f"{guid}-vault", "duration": "1h"}},
                {
                    "ansible.builtin.include_role": {"name": ROLE},
                    "vars": {"ACTION": "destroy", "guid": f"{guid}-vault"},
                },
            ],
        },
        *vault,
        "-vvvv",
        LITELLM_MASTER_KEY=None,
    )
    assert run.code == 0, run.output
    assert run.recap()["changed"] == 2
    assert proxy.master_key not in run.output + run.log


def test_secrets_that_leave_this_machine_unencrypted_are_warned_about_once_in_a_task(ansible, proxy, guid):
    """0.0.0.0 is this machine, but does not look like it."""
    url = proxy.url.replace("127.0.0.1", "0.0.0.0")
    keys = [{"guid": f"{guid}-clear-{number}"} for number in range(3)]
    both = "{{ lookup(name, guid ~ '-clear-0', field='id') ~ lookup(name, guid ~ '-clear-1', field='id') }}"
    tasks = [
        {f"{COLLECTION}.litellm_key": {"virtual_keys": keys, "duration": "1h", "url": url}},
        {"ansible.builtin.debug": {"msg": both}},
        {f"{COLLECTION}.litellm_key": {"virtual_keys": keys, "state": "absent", "url": proxy.url}},
    ]
    variables = {"litellm_url": url, "guid": guid, "name": f"{COLLECTION}.litellm_key"}
    run = ansible.play({"hosts": "localhost", "vars": variables, "tasks": tasks}, NO_PROXY="*", no_proxy="*")
    assert run.code == 0, run.output
    assert run.text.count(f"travel to {url} unencrypted") in (1, 2)
