# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nothing that Ansible prints, stores or sends contains a secret, unless the user asked for it.

Each channel is one run of ansible-playbook, most of them at the highest verbosity, with many cases: tasks that succeed,
or that fail in some way. Afterwards, everything that the run left is searched for every secret.

These defects made the tests fail: results without `_ansible_no_log` (in a loop, before ansible-core 2.19, also without
`no_log` on the task), a diff in spite of `no_log`, messages that are not masked, an option `settings` that is not
secret, an exception instead of a failed result, a secret in a URL, the password in the arguments of psql, user data
with mode 0644, and a temporary file that is left behind. No defect has made the test of LiteLLM's log fail yet,
because that log omits query strings.
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
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from ansible import release
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import derive
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.secrecy_cases import (
    CASES,
    ENVIRONMENT_CASES,
    GUID,
    OTHER_CASES,
    REFUSED,
    ROLE_CASES,
    SECRET_VARIABLES,
    SEED,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    ROLE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
    Relay,
)

KEY_MESSAGE = "user.info: LiteLLM Virtual Key: "
GENERATED = re.compile(r"\bsk-\w{32}\b")


@dataclass(frozen=True)
class Channel:
    """How a run displays and stores its results.

    :ivar source: where the play reads the master key from.
    """

    arguments: tuple[str, ...]
    environment: dict[str, str]
    source: str
    cases: tuple[str, ...]


FIRST = "role, displaying the key"
FAILING = (
    *(FIRST, "litellm_key", "environment, secret in settings", "environment, no_log", "environment, of user bob"),
    *(name for name, case in {**ENVIRONMENT_CASES, **OTHER_CASES}.items() if case.failure),
)
FEW = (
    *(FIRST, "litellm_key", "litellm_key, changed", "litellm_key, mismatch", "litellm_key, in a loop"),
    *("litellm_key, failed_when", "litellm_key, seed", "litellm_key, replaced", "litellm_key_info"),
    *("environment, seed", "environment, secret in settings", "environment, changed", "environment, mismatch"),
    *("environment, in a loop", "environment, failed_when", "environment, destroyed"),
)
LOUD = ("-vvvvv", "--diff")
STORING = {
    "ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.junit,ansible.builtin.tree",
    "ANSIBLE_CACHE_PLUGIN": "jsonfile",
    "ANSIBLE_DEPRECATION_WARNINGS": "false",  # ansible.builtin.tree is deprecated in ansible-core 2.22
    "ANSIBLE_KEEP_REMOTE_FILES": "true",
    "ANSIBLE_RETRY_FILES_ENABLED": "true",
}
VERBOSE = {
    "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
    "ANSIBLE_DEBUG": "true",
    "ANSIBLE_DISPLAY_TRACEBACK": "always",  # ansible-core 2.19 and later
}
CHANNELS = {
    "role": Channel(LOUD, STORING, "vars_files", tuple(ROLE_CASES)),
    "environment": Channel(LOUD, STORING, "vars_files", (FIRST, *ENVIRONMENT_CASES)),
    "others": Channel(LOUD, STORING, "vars_files", (FIRST, *OTHER_CASES)),
    "yaml": Channel(LOUD, VERBOSE, "environment", FAILING),
    "minimal": Channel(("-vvv", "--diff"), {"ANSIBLE_STDOUT_CALLBACK": "minimal"}, "extra vars", FEW),
    # This callback is deprecated itself.
    "oneline": Channel(
        ("-vvv",),
        {"ANSIBLE_STDOUT_CALLBACK": "oneline", "ANSIBLE_DEPRECATION_WARNINGS": "false"},
        "environment",
        FEW,
    ),
}


@dataclass
class Output:
    """Everything that the run of one channel left.

    :ivar secrets: the secrets of the run, by a description.
    :ivar commands: the command lines of its processes.
    """

    folder: Path
    run: CommandResult
    secrets: dict[str, str]
    commands: set[str]


FAKE_PSQL = """\
#!/bin/sh
# A client of PostgreSQL that prints too much when it fails.
printf '%s ' "$0" "$@" >> "{folder}/psql.log"
sleep 0.3  # long stop for another process to read its arguments
case "$*" in
  *ffff*) echo "psql: error: password authentication failed for user litellm ($PGPASSWORD, $2)" >&2; exit 2;;
esac
"""


# Whose secrets the cases derive from the seed: the guid, and the version of the key if it is not 1.
DERIVED = (
    *("derived", "derived:2", "seed", "until", "loop-a", "many-a"),
    *("env-seed", "env-seed2", "env-loop-a", "env-pair-ann", "env-pair-bob"),
)


def prepare(folder: Path, channel: str, guid: str, proxy: Proxy, silent: str) -> dict[str, str]:
    """Write the files that a run needs, and return its secrets."""
    variables = {name: secret.format(of=f"{guid}-{channel}") for name, secret in SECRET_VARIABLES.items()}
    secrets = {**variables, "saved": f"sk-was-saved-once-in-{guid}-{channel}", "master key": proxy.master_key}
    # The general mask for anything that looks like a key would leave the rest of these.
    secrets.update({f"end of {name}": "$" + variables[name].partition("$")[2] for name in ("unusual", "own")})
    secrets["unquoted password"] = variables["password"].replace("%2F", "/")
    for name in ("saved", "copied", "tmp", "bin", "home"):
        (folder / name).mkdir()
    saved = folder / "saved" / "provision-user-data.yaml"
    saved.touch(0o600)
    saved.write_text(
        yaml.safe_dump({"litellm_key_alias": f"virtkey-{guid}-{channel}-seed", "litellm_virtual_key": secrets["saved"]})
    )
    psql = folder / "bin" / "psql"
    psql.write_text(FAKE_PSQL.format(folder=folder))
    psql.chmod(0o700)
    (folder / "env.j2").write_text(
        f"KEY={{{{ lookup('{COLLECTION}.litellm_key', prefix ~ '-action', user_data=saved) }}}}\n"
    )
    if CHANNELS[channel].source != "environment":
        variables["litellm_master_key"] = proxy.master_key
    others = {"prefix": f"{guid}-{channel}", "folder": str(folder), "silent": silent}
    for name, content in (("secrets.yml", variables), ("others.yml", others)):
        (folder / name).touch(0o600)
        (folder / name).write_text(yaml.safe_dump(content))
    for name in DERIVED:
        guid_of, _colon, version = name.partition(":")
        alias = f"virtkey-{others['prefix']}-{guid_of}"
        secrets[f"derived for {name}"] = derive(SEED, alias, int(version or 1)).value
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
    first = {"ansible.builtin.set_fact": {"cached": "not a secret", "cacheable": True}}
    last = {f"{COLLECTION}.litellm_key": {"guid": GUID, "master_key": "{{ wrong }}", "key": "{{ chosen }}"}}
    files = ["others.yml", *(["secrets.yml"] if channel.source != "extra vars" else [])]
    return {"hosts": "localhost", "vars_files": files, "tasks": [first, *blocks, last]}


def run_channel(ansible: Ansible, channel: str, proxy: Proxy, guid: str, url: str, silent: str) -> Output:
    one, folder = CHANNELS[channel], ansible.folder / channel
    folder.mkdir()
    secrets = prepare(folder, channel, guid, proxy, silent)
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
    arguments = (*one.arguments, *(("-e", "@secrets.yml") if one.source == "extra vars" else ()))
    master_key = proxy.master_key if one.source == "environment" else None
    with commands_of(str(folder)) as commands:
        run = mine.play(play_of(one), *arguments, LITELLM_MASTER_KEY=master_key)
    for path in [*folder.glob("*/provision-user-data.yaml"), folder / "random"]:
        if path.exists():
            for number, secret in enumerate(GENERATED.findall(path.read_text())):
                secrets[f"{path.relative_to(folder)}, {number}"] = secret
    secrets.update((KEY_MESSAGE, secret) for secret in re.findall(rf"{KEY_MESSAGE}(sk-\w{{32}})\b", run.stdout))
    return Output(folder, run, secrets, commands)


@contextmanager
def commands_of(sign: str) -> Iterator[set[str]]:
    """Return the command lines, which every user can read, of the processes that have a text in their environment."""
    seen: dict[tuple[str, bytes], bool] = {}
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.1):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    command = (process / "cmdline").read_bytes()
                    if command and (process.name, command) not in seen:
                        seen[process.name, command] = sign.encode() in (process / "environ").read_bytes()
                except OSError:  # the process has ended, or belongs to another user
                    continue

    thread = threading.Thread(target=look)
    thread.start()
    commands: set[str] = set()
    try:
        yield commands
    finally:
        stop.set()
        thread.join()
        commands.update(command.decode(errors="replace") for (_pid, command), own in seen.items() if own)


@pytest.fixture(scope="module")
def outputs(
    request: pytest.FixtureRequest, ansible: Ansible, proxy: Proxy, relay: Relay, guid: str
) -> dict[str, Output]:
    """Run the channels that the selected tests need, and return their output."""
    items = [item for item in request.session.items if item.path == request.path]
    tests = [item for item in items if isinstance(item, pytest.Function) and "outputs" in item.fixturenames]
    needed = {name for test in tests for name in channels_of(test)}
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(2) as threads:
        silent = f"http://127.0.0.1:{listening.getsockname()[1]}"
        running = {
            name: threads.submit(run_channel, ansible, name, proxy, guid, relay.url, silent)
            for name in CHANNELS
            if name in needed
        }
        return {name: future.result() for name, future in running.items()}


def channels_of(test: pytest.Function) -> list[str]:
    """Return the channel of a test, or all channels if it is not about one."""
    params = test.callspec.params if hasattr(test, "callspec") else {}
    return [str(params["channel"])] if "channel" in params else list(CHANNELS)


def found_in(text: str, output: Output) -> list[str]:
    """Return the secrets in a text, except the one in the message that displays the user's own key."""
    text = text.replace(f"{KEY_MESSAGE}{output.secrets[KEY_MESSAGE]}", "")
    lines = text.splitlines()
    found = [f"{what}: {line[:200]}" for what, secret in output.secrets.items() for line in lines if secret in line]
    # Also the secrets that nobody knows any more, because their keys were replaced, or could not be saved.
    return found or [f"generated: {line[:200]}" for line in lines if GENERATED.search(line)]


def on_each(*channels: str) -> pytest.MarkDecorator:
    """Run a test on each of the channels, of which two are tested with every ansible-core."""
    marks = {name: [pytest.mark.every_core] for name in ("environment", "others")}
    return pytest.mark.parametrize("channel", [pytest.param(name, marks=marks.get(name, [])) for name in channels])


EACH = on_each(*CHANNELS)


@EACH
def test_each_case_succeeds_or_fails_as_expected(outputs, channel):
    run = outputs[channel].run
    assert run.code == 2, run.output[-3000:]
    failed = set(re.findall(r"It has failed: ([^!]*)!", run.output))
    assert failed == {name for name in CHANNELS[channel].cases if CASES[name].failure}
    missing = {
        name: CASES[name].failure for name in CHANNELS[channel].cases if not re.search(CASES[name].failure, run.text)
    }
    assert missing == {}


@EACH
def test_no_secret_is_displayed(outputs, channel):
    run = outputs[channel].run
    assert run.stdout
    assert run.log
    for text in (run.stdout, run.stderr, run.log):
        assert found_in(text, outputs[channel]) == []


@EACH
def test_a_failure_is_a_sentence_without_traceback(outputs, channel):
    """In the channel that displays tracebacks, ansible-core's own errors have one."""
    run = outputs[channel].run
    assert "bug in this collection" not in run.text
    assert "MODULE FAILURE" not in run.text
    if "ANSIBLE_DISPLAY_TRACEBACK" not in CHANNELS[channel].environment:
        assert "Traceback" not in run.output


def test_the_channels_display_everything_that_they_can(outputs):
    """Otherwise, there would be nothing to find."""
    assert "<localhost>" in outputs["others"].run.output or "task path:" in outputs["others"].run.output
    assert "+max_budget: 3.0" in outputs["others"].run.stderr
    assert "PLAY RECAP" in outputs["others"].run.log
    assert re.search(r"^ *\d+ \d+\.\d+: ", outputs["yaml"].run.stdout, re.MULTILINE)  # ansible-core's debug output
    assert re.search(r"^ +msg: ", outputs["yaml"].run.stdout, re.MULTILINE)
    assert "localhost | FAILED! =>" in outputs["minimal"].run.stdout
    assert re.search(r"^localhost \| FAILED!", outputs["oneline"].run.stdout, re.MULTILINE)
    if tuple(map(int, release.__version__.split(".")[:2])) >= (2, 19):
        assert "Traceback" in outputs["yaml"].run.output


@EACH
def test_only_the_key_of_one_environment_is_displayed(outputs, channel):
    """Its role sets display_key. A later case may have replaced the key."""
    one = outputs[channel]
    assert set(re.findall(rf"{KEY_MESSAGE}(sk-\w{{32}})\b", one.run.output + one.run.log)) == {one.secrets[KEY_MESSAGE]}
    folder = "copied" if "role, destroyed" in CHANNELS[channel].cases else "role"
    saved = one.secrets[f"{folder}/provision-user-data.yaml, 0"]
    assert (saved == one.secrets[KEY_MESSAGE]) == ("role, replaced" not in CHANNELS[channel].cases)


@on_each("role", "environment", "others")
def test_reports_facts_and_lists_of_hosts_on_disk_contain_no_secret(outputs, channel):
    folder = outputs[channel].folder
    stored = {
        name: "".join(path.read_text() for path in folder.glob(pattern))
        for name, pattern in {"junit": "junit/*.xml", "tree": "tree/*", "facts": "cache/*", "retry": "*.retry"}.items()
    }
    assert "It has failed" in stored["junit"]
    assert "localhost" in stored["retry"]
    assert "cached" in stored["facts"]
    assert '"msg"' in stored["tree"]
    for text in stored.values():
        assert found_in(text, outputs[channel]) == []


@EACH
def test_no_command_line_contains_a_secret(outputs, channel):
    """Every user of the machine can read command lines."""
    commands = outputs[channel].commands
    assert any("ansible-playbook" in command for command in commands)
    assert found_in("\n".join(commands), outputs[channel]) == []


@pytest.mark.parametrize("channel", ["others", "yaml"])
def test_the_arguments_of_psql_do_not_contain_the_password(outputs, channel):
    arguments = (outputs[channel].folder / "psql.log").read_text()
    assert "postgresql://litellm@db.example:5432/litellm" in arguments
    assert found_in(arguments, outputs[channel]) == []


@EACH
def test_only_the_owner_can_read_a_file_with_a_secret(outputs, channel):
    one = outputs[channel]
    holding = {}
    for path in one.folder.rglob("*"):
        if path.is_file() and path.name not in ("secrets.yml", "ansible.log"):
            text = path.read_text(errors="replace")
            if found_in(text, one):
                holding[path] = stat.S_IMODE(path.stat().st_mode)
    kept = [path for path in holding if "ansible-tmp-" in str(path)]  # because of ANSIBLE_KEEP_REMOTE_FILES
    assert {path.name for path in holding if path not in kept} <= {
        *("provision-user-data.yaml", "provision-user-info.yaml"),  # for the users
        "handout.html",  # to print
        *("random", "env"),  # written by the play
    }
    is_destroyed = "role, destroyed" in CHANNELS[channel].cases
    assert (one.folder / "role" / "provision-user-data.yaml" in holding) is not is_destroyed
    assert (one.folder / "copied" / "provision-user-data.yaml" in holding) is is_destroyed
    assert {path: oct(mode) for path, mode in holding.items() if mode & 0o077 and path not in kept} == {}
    assert all(stat.S_IMODE(path.parent.stat().st_mode) == 0o700 for path in kept)


@EACH
def test_no_temporary_file_is_left(outputs, channel):
    assert list((outputs[channel].folder / "tmp").iterdir()) == []


def test_urls_contain_no_secret(outputs, relay):
    """Logs of servers and proxies contain them. Keys are named by their hashes."""
    requests = [request for _agent, request, _body in relay.requests]
    chosen = outputs["others"].secrets["chosen"]
    assert [request for request in requests if hashlib.sha256(chosen.encode()).hexdigest() in request]
    for one in outputs.values():
        assert found_in("\n".join(requests), one) == []


def test_the_log_of_the_sandbox_contains_no_secret(outputs, proxy):
    instances = Path(__file__).resolve().parents[2] / ".cache" / "sandbox" / "instances"
    (log,) = [env.with_name("proxy.log") for env in instances.glob("*/env") if f"={proxy.url}\n" in env.read_text()]
    text = log.read_text(errors="replace")
    assert "/key/generate" in text
    for one in outputs.values():
        assert found_in(text, one) == []


@pytest.fixture(scope="module")
def ad_hoc(ansible: Ansible, proxy: Proxy, guid: str) -> dict[str, CommandResult]:
    secrets = {"wrong": "sk-wrong-master-key-of-some-length", "seed": SEED}
    (ansible.folder / "secrets.yml").touch(0o600)
    (ansible.folder / "secrets.yml").write_text(yaml.safe_dump(secrets))
    arguments = {
        "right": "key_seed='{{ seed }}'",
        "wrong": "key_seed='{{ seed }}' master_key='{{ wrong }}'",
        "odd": "key_seed='{{ seed }}' max_budget='{{ seed }}'",
    }
    command = (
        "ansible",
        "localhost",
        "-m",
        f"{COLLECTION}.litellm_key",
        "-e",
        "@secrets.yml",
        "-vvvvv",
        "--diff",
        "-a",
    )
    return {
        name: ansible.run(*command, f"guid={guid}-ad-hoc duration=1h {further}") for name, further in arguments.items()
    }


@pytest.mark.every_core
def test_an_ad_hoc_command_displays_the_key_and_no_other_secret(ad_hoc, proxy, guid):
    derived = derive(SEED, f"virtkey-{guid}-ad-hoc").value
    assert ad_hoc["right"].code == 0
    assert derived in ad_hoc["right"].stdout
    for name, run in ad_hoc.items():
        for secret in (proxy.master_key, SEED, "sk-wrong-master-key-of-some-length"):
            assert secret not in run.output + run.log, name
        assert name == "right" or (run.code == 2 and derived not in run.output + run.log)
    assert re.search(REFUSED, ad_hoc["wrong"].text)
    assert "max_budget must be a number" in ad_hoc["odd"].text


@pytest.mark.every_core
def test_secrets_can_be_vaulted_inline(ansible, proxy, guid):
    """Before ansible-core 2.19, they are no strings, and no_log in the argument specs of the role would reject them."""
    password = ansible.folder / "password"
    password.write_text("a password")
    vault = ("--vault-password-file", str(password))
    role = ROLE.rpartition(".")[2]
    secrets = {
        "litellm_master_key": proxy.master_key,
        f"{role}_key_seed": SEED,
        f"{role}_postgres_url": "postgresql://litellm:password@database.example/litellm",
    }
    names = (argument for name in secrets for argument in ("--name", name))
    vaulted = ansible.run("ansible-vault", "encrypt_string", *vault, *names, *secrets.values())
    (ansible.folder / "vaulted.yml").write_text(vaulted.stdout)
    run = ansible.play(
        {
            "hosts": "localhost",
            "vars_files": ["vaulted.yml"],
            "vars": {"guid": f"{guid}-vault", "output_dir": f"{guid}-vault"},
            "tasks": [
                {f"{COLLECTION}.litellm_key": {"guid": f"{guid}-vault-too", "duration": "1h"}},
                {f"{COLLECTION}.litellm_key": {"guid": f"{guid}-vault-too", "state": "absent"}},
                *(
                    {"ansible.builtin.include_role": {"name": ROLE}, "vars": {"ACTION": action}}
                    for action in ("provision", "destroy")
                ),
            ],
        },
        *vault,
        "-vvvv",
        LITELLM_MASTER_KEY=None,
    )
    assert run.code == 0, run.output
    assert run.recap()["changed"] == 4
    assert f"user.info: LiteLLM API Endpoint: {proxy.url}/v1" in run.task_msg("Inform the user")
    assert not [secret for secret in secrets.values() if secret in run.output + run.log]


@pytest.mark.every_core
def test_ansible_core_knows_the_secrets_of_the_administrator_but_not_the_key_of_the_user(ansible, proxy, guid):
    """ansible-core 2.22 and later mask the secrets they know everywhere, also in messages for the user."""
    known = {"litellm_master_key": proxy.master_key, f"{ROLE.rpartition('.')[2]}_key_seed": SEED}
    run = ansible.play(
        {
            "hosts": "localhost",
            "vars": {**known, "ACTION": "provision", "guid": f"{guid}-known", "output_dir": f"{guid}-known"},
            "tasks": [
                {"ansible.builtin.include_role": {"name": ROLE}},
                {"name": "Show the secrets", "ansible.builtin.debug": {"msg": "{{ [" + ", ".join(known) + "] }}"}},
                {"ansible.builtin.include_role": {"name": ROLE}, "vars": {"ACTION": "destroy"}},
            ],
        },
        LITELLM_MASTER_KEY=None,
    )
    assert run.code == 0, run.output
    shown = run.task_msg("Inform the user")
    assert f"{KEY_MESSAGE}{derive(SEED, f'virtkey-{guid}-known').value}" in shown
    assert f"user.info: LiteLLM API Endpoint: {proxy.url}/v1" in shown
    masks = tuple(map(int, release.__version__.split(".")[:2])) >= (2, 22)
    assert run.task_msg("Show the secrets") == (["$REDACTED$"] * 2 if masks else [*known.values()])


@pytest.mark.every_core
def test_a_task_that_sends_secrets_unencrypted_to_another_machine_warns_once(ansible, proxy, guid):
    """0.0.0.0 is the local machine, but the collection does not treat it as such."""
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
    assert run.text.count(f"are sent to {url} unencrypted") in (1, 2)
