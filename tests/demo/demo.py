# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Demonstrate the life cycle of virtual keys in a terminal: `make demo`.

The proxy, its database, the role and the keys are real. Only the model's response is canned.
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
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".cache" / "collections"
NAME = f"demo-{os.getpid()}"  # several demos can run at the same time
INSTANCE = ROOT / ".cache" / "sandbox" / "instances" / NAME
GUID = "demo1"
WORKSHOP, USERS = "demo2", 50
SHARED, BUDGET = "demo3", 0.12  # US dollars; a request costs about 0.05
MIN_AGE = 4  # seconds; a key is rotated from this age on
PROMPT = "Hello! Who are you?"
TERMINAL = sys.stdout.isatty()


class DemoError(Exception):
    """The demo cannot continue, for the reason in the message."""


def main() -> int:
    started = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_unused: signal.raise_signal(signal.SIGINT))
    exit_code = 0
    try:
        with tempfile.TemporaryDirectory() as output:
            run_demo(Path(output))
    except KeyboardInterrupt:
        print("\nInterrupted.")
        exit_code = 130
    except DemoError as error:
        print(f"\n{error}", file=sys.stderr)
        exit_code = 1
    finally:
        stop_failed = sandbox("stop")
        shutil.rmtree(INSTANCE, ignore_errors=True)
    if stop_failed:
        print(f"Cannot stop the proxy. Run: python3 tests/sandbox/sandbox.py stop --name {NAME}", file=sys.stderr)
        return exit_code or 1
    if not exit_code:
        print(f"\nThe demo took {time.monotonic() - started:.0f} s. The proxy is stopped, and nothing is left running.")
    return exit_code


def sandbox(command: str, *arguments: str) -> int:
    """Run a command of the sandbox and return its exit code."""
    quiet = subprocess.DEVNULL if command == "stop" else None
    program = [sys.executable, str(ROOT / "tests" / "sandbox" / "sandbox.py"), command, "--name", NAME, *arguments]
    return subprocess.run(program, check=False, stdout=quiet).returncode


def run_demo(output: Path) -> None:
    chapter("Start a LiteLLM proxy with a database")
    if sandbox("start", "--port", "0", "--no-usage"):
        raise DemoError("Cannot start the sandbox. The reason is shown above.")
    proxy = dict(line.split("=", 1) for line in (INSTANCE / "env").read_text().splitlines())

    chapter("Provision a lab: the role creates a virtual key")
    play("provision_key", output, proxy, expect="changed=1")
    created = time.time()
    data = yaml.safe_load((output / "provision-user-data.yaml").read_text())

    chapter("Call a model with the key")
    model = data["litellm_available_models"][0]
    status, response = chat(data["litellm_api_base_url"], data["litellm_virtual_key"], model)
    if status != 200:
        raise DemoError(f"The new key does not work: HTTP {status}: {response}")
    say(f"you: {PROMPT}")
    say(f"{model}: {response['choices'][0]['message']['content']}")

    chapter("Provision the lab again: nothing changes")
    play("provision_key", output, proxy, expect="changed=0")
    again = yaml.safe_load((output / "provision-user-data.yaml").read_text())
    if again["litellm_virtual_key"] != data["litellm_virtual_key"]:
        raise DemoError("The second run returned a different key.")
    say("The lab still has the same key.")

    chapter("Extend the lab from 30 days to 60")
    play("extend_key", output, proxy, expect="changed=1", extra={"by": "30d"})

    chapter("Rotate the key: the old secret works until an overlap ends")
    wait_for_clock(proxy["LITELLM_URL"], created + MIN_AGE + 1)
    data = rotate(output, proxy, data, model)

    chapter("Destroy the lab: the role deletes the key")
    play("destroy_key", output, proxy, expect="changed=1")
    status, response = chat(data["litellm_api_base_url"], data["litellm_virtual_key"], model)
    if status != 401:
        raise DemoError(f"The deleted key still works: HTTP {status}: {response}")
    say(f"you: {PROMPT}")
    say(f"LiteLLM: HTTP {status}, the key is invalid.")

    chapter(f"Provision and destroy a workshop: {USERS} users, each with a key")
    workshop = output / WORKSHOP
    many = {"guid": WORKSHOP, "user_count": USERS, "keys_file": str(workshop / "keys.csv")}
    play("provision_key", workshop, proxy, expect="changed=1", extra=many)
    users = yaml.safe_load((workshop / "provision-user-data.yaml").read_text())["users"]
    working = sum(
        chat(data["litellm_api_base_url"], user["litellm_virtual_key"], model)[0] == 200 for user in users.values()
    )
    if working != USERS:
        raise DemoError(f"Only {working} of {USERS} keys work.")
    say(f"All {working} keys work.")
    play("destroy_key", workshop, proxy, expect="changed=1", extra={"guid": WORKSHOP})

    chapter(f"Give a workshop one budget: {BUDGET} US dollars for all users together")
    share_a_budget(output / SHARED, proxy, data["litellm_api_base_url"], model)


def rotate(output: Path, proxy: dict[str, str], data: dict[str, Any], model: str) -> dict[str, Any]:
    """Rotate the key of the lab, and return its new user data."""
    play("rotate_keys", output, proxy, expect="changed=1", extra={"every": f"{MIN_AGE}s", "overlap": "3s"})
    new = yaml.safe_load((output / "provision-user-data.yaml").read_text())
    base_url, old_secret = data["litellm_api_base_url"], data["litellm_virtual_key"]
    statuses = [chat(base_url, secret, model)[0] for secret in (old_secret, new["litellm_virtual_key"])]
    say(f"Now: HTTP {statuses[0]} with the old secret, and HTTP {statuses[1]} with the new one.")
    for _second in range(10):
        if (status := chat(base_url, old_secret, model)[0]) == 401:
            break
        time.sleep(1)
    if status != 401 or statuses[1] != 200:
        raise DemoError(f"After the overlap: HTTP {status} with the old secret, and {statuses[1]} with the new one.")
    say(f"After the overlap: HTTP {status} with the old secret.")
    return dict(new)


def wait_for_clock(url: str, seconds: float) -> None:
    """Wait until the clock of the proxy, which the collection reads, shows a time since the epoch.

    While the proxy is busy, its clock is some seconds behind.
    """
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _attempt in range(60):
        with direct.open(f"{url}/health/liveliness", timeout=30) as response:
            if parsedate_to_datetime(response.headers["Date"]).timestamp() >= seconds:
                return
        time.sleep(0.5)
    raise DemoError("The clock of the proxy is half a minute behind. Run the demo again when the machine is less busy.")


def share_a_budget(output: Path, proxy: dict[str, str], base_url: str, model: str) -> None:
    """Provision a workshop with a shared budget, spend it, and destroy the workshop."""
    extra = {"guid": SHARED, "user_count": 3, "shared_budget": BUDGET}
    play("provision_key", output, proxy, expect="changed=1", extra=extra)
    users = yaml.safe_load((output / "provision-user-data.yaml").read_text())["users"]
    for number in range(60):
        user = f"user{number % 3 + 1}"
        status, response = chat(base_url, users[user]["litellm_virtual_key"], model)
        if status != 200:
            break
        time.sleep(0.5)  # LiteLLM first reserves the cost of the longest possible response
    if "Budget has been exceeded" not in str(response):
        raise DemoError(f"The shared budget is not enforced: HTTP {status}: {response}")
    say(f"{user}: {PROMPT}")
    say(f"LiteLLM: HTTP {status}, {response['error']['message']}")
    time.sleep(4)  # until LiteLLM has written to the database what was spent
    play("status_key", output, proxy, expect="changed=0", extra={"guid": SHARED})
    play("destroy_key", output, proxy, expect="changed=1", extra={"guid": SHARED})


def play(
    playbook: str, output: Path, proxy: dict[str, str], expect: str, extra: dict[str, object] | None = None
) -> None:
    """Run a playbook of the collection as a user does, and check the play recap."""
    variables = {"guid": GUID, **(extra or {})}
    shown = " ".join(f"-e\0{name}={str(value).rpartition('/')[2]}" for name, value in variables.items())
    command = f"ansible-playbook rhpds.litellm_virtual_keys.{playbook} {shown}"
    lines = [line.replace("\0", " ") for line in textwrap.wrap(command, 96)]
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
        raise DemoError(f"{playbook} did not report {expect} and failed=0. Its output:\n{run.stdout}{run.stderr}")
    summary = re.findall(r'^        "(.*?)",?$', run.stdout.rpartition("TASK [Show the result]")[2], re.MULTILINE)
    for line in summary:
        say(line.replace(f"{output}/", ""))
    say(f"{expect} failed=0, in {time.monotonic() - started:.1f} s")


def chat(base_url: str, key: str, model: str) -> tuple[int, Any]:
    """Send a chat request as an OpenAI client does; return the HTTP status and the decoded response."""
    request = urllib.request.Request(
        f"{base_url}/chat/completions",
        data=json.dumps({"model": model, "messages": [{"role": "user", "content": PROMPT}]}).encode(),
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
    print(textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False), flush=True)


def link_collection() -> None:
    """Link this clone as an installed collection, so that Ansible finds it whatever the name of its folder."""
    link = COLLECTIONS / "ansible_collections" / "rhpds" / "litellm_virtual_keys"
    link.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        link.symlink_to(Path("..", "..", "..", ".."))


if __name__ == "__main__":
    link_collection()
    sys.exit(main())
