# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of virtual keys, told in a terminal: `make demo`.

Everything here is real: the proxy, its database, the role, the key. Only the model's words are canned.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".cache" / "collections"
NAME = f"demo-{os.getpid()}"  # two demos do not stop each other's proxy
INSTANCE = ROOT / ".cache" / "sandbox" / "instances" / NAME
GUID = "demo1"
WORKSHOP, USERS = "demo2", 50
PREFIX = "ocp4_workload_litellm_virtual_keys"
QUESTION = "Hello! Who are you?"
TERMINAL = sys.stdout.isatty()


class DemoError(Exception):
    """The story cannot go on; the message says why."""


def main() -> int:
    started = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_unused: signal.raise_signal(signal.SIGINT))
    told = 0
    try:
        with tempfile.TemporaryDirectory() as output:
            tell(Path(output))
    except KeyboardInterrupt:
        print("\nStopped.")
        told = 130
    except DemoError as error:
        print(f"\n{error}", file=sys.stderr)
        told = 1
    finally:
        stopped = sandbox("stop")
        shutil.rmtree(INSTANCE, ignore_errors=True)
    if stopped:
        print("The proxy could not be stopped; see: tests/sandbox/sandbox.py status", file=sys.stderr)
        return told or 1
    if not told:
        print(f"\nThe proxy is stopped, and nothing is left running. That took {time.monotonic() - started:.0f} s.")
    return told


def sandbox(command: str, *arguments: str) -> int:
    """Run the sandbox's program, and give its exit code."""
    quiet = subprocess.DEVNULL if command == "stop" else None
    program = [sys.executable, str(ROOT / "tests" / "sandbox" / "sandbox.py"), command, "--name", NAME, *arguments]
    return subprocess.run(program, check=False, stdout=quiet).returncode


def tell(output: Path) -> None:
    chapter("A LiteLLM proxy, with its database")
    if sandbox("start", "--port", "0"):
        raise DemoError("The sandbox did not start; the reason stands above.")
    proxy = dict(line.split("=", 1) for line in (INSTANCE / "env").read_text().splitlines())

    chapter("A lab is built, and the role gives it a key")
    play("provision_key", output, proxy, expect="changed=1")
    for message in yaml.safe_load((output / "provision-user-info.yaml").read_text()):
        say(message)
    told = yaml.safe_load((output / "provision-user-data.yaml").read_text())

    chapter("The user asks a model with that key")
    model = told["litellm_available_models"][0]
    status, answer = ask(told["litellm_api_base_url"], told["litellm_virtual_key"], model)
    if status != 200:
        raise DemoError(f"The key does not work: {status} {answer}")
    say(f"you: {QUESTION}")
    say(f"{model}: {answer['choices'][0]['message']['content']}")

    chapter("The lab is built once more")
    play("provision_key", output, proxy, expect="changed=0")
    again = yaml.safe_load((output / "provision-user-data.yaml").read_text())
    if again["litellm_virtual_key"] != told["litellm_virtual_key"]:
        raise DemoError("The second run gave another key.")
    say("The same key, and nothing changed.")

    chapter("The user extends the lab from 30 days to 60")
    play("extend_key", output, proxy, expect="changed=1", extra={f"{PREFIX}_runtime": 60 * 24})
    say(yaml.safe_load((output / "provision-user-info.yaml").read_text())[-1])

    chapter("The lab is destroyed, and its key with it")
    play("destroy_key", output, proxy, expect="changed=1")
    status, answer = ask(told["litellm_api_base_url"], told["litellm_virtual_key"], model)
    if status != 401:
        raise DemoError(f"The key still works: {status} {answer}")
    say(f"you: {QUESTION}")
    say(f"LiteLLM: {status}, this key is not known.")

    chapter(f"A workshop of {USERS} users")
    workshop, many = output / WORKSHOP, {"guid": WORKSHOP, f"{PREFIX}_multi_user": True, "num_users": USERS}
    play("provision_key", workshop, proxy, expect="changed=1", extra=many)
    users = yaml.safe_load((workshop / "provision-user-data.yaml").read_text())["users"]
    working = sum(
        ask(told["litellm_api_base_url"], one["litellm_virtual_key"], model)[0] == 200 for one in users.values()
    )
    if working != USERS:
        raise DemoError(f"{working} of {USERS} keys work.")
    say(f"{working} keys, and each works.")
    play("destroy_key", workshop, proxy, expect="changed=1", extra=many)


def play(
    playbook: str, output: Path, proxy: dict[str, str], expect: str, extra: dict[str, object] | None = None
) -> None:
    """Run a playbook of the collection as its users would, and look at the recap."""
    variables = {"guid": GUID, **(extra or {})}
    shown = " ".join(f"-e {name}={str(value).lower()}" for name, value in variables.items())
    lines = textwrap.wrap(f"ansible-playbook rhpds.litellm_virtual_keys.{playbook} {shown}", 96)
    print("  $ " + " \\\n      ".join(lines), flush=True)
    output.mkdir(exist_ok=True)
    started = time.monotonic()
    run = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("ansible-playbook")), f"rhpds.litellm_virtual_keys.{playbook}"),
            *("-e", json.dumps({**variables, "output_dir": str(output)})),
        ],
        env={
            **os.environ,
            **proxy,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        },
        cwd=output,
        capture_output=True,
        text=True,
        check=False,
    )
    recap = re.search(r"^localhost +: (.*)$", run.stdout, re.MULTILINE)
    if run.returncode or not recap or expect not in recap[1].split():
        raise DemoError(f"Expected {expect}, but:\n{run.stdout}{run.stderr}")
    say(f"{expect} failed=0, in {time.monotonic() - started:.1f} s")


def ask(base_url: str, key: str, model: str) -> tuple[int, Any]:
    """A chat request as any OpenAI client would make it."""
    request = urllib.request.Request(
        f"{base_url}/chat/completions",
        data=json.dumps({"model": model, "messages": [{"role": "user", "content": QUESTION}]}).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def chapter(title: str) -> None:
    print(f"\n\033[1m{title}\033[0m" if TERMINAL else f"\n{title}", flush=True)


def say(text: str) -> None:
    print(textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="    "), flush=True)


def link_collection() -> None:
    """Let ansible find this clone as an installed collection, whatever its folder is called."""
    link = COLLECTIONS / "ansible_collections" / "rhpds" / "litellm_virtual_keys"
    link.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        link.symlink_to(Path("..", "..", "..", ".."))


if __name__ == "__main__":
    link_collection()
    sys.exit(main())
