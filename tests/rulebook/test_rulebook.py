# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the rulebook of the guide with ansible-rulebook, on a real proxy: it extends, replaces and reports, each once."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.in_process import Controller
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import key_id
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import PATIENCE, Proxy

pytestmark = pytest.mark.skipif(not shutil.which("java"), reason="ansible-rulebook needs Java, which is not installed")

PAGE = Path(__file__).parents[2] / "docs" / "docsite" / "rst" / "event_driven.rst"
INVENTORY = "localhost ansible_connection=local ansible_python_interpreter='{{ ansible_playbook_python }}'\n"


@pytest.fixture
def chat() -> Iterator[tuple[str, list[str]]]:
    """Return the URL of a chat room, and the messages that were posted to it."""
    messages: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            messages.append(json.loads(body)["text"])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", messages
    server.shutdown()
    server.server_close()


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, "ansible-rulebook has ended"
        assert time.monotonic() < end
        time.sleep(0.1)


@contextlib.contextmanager
def running_rulebook(folder: Path, proxy: Proxy) -> Iterator[subprocess.Popen[str]]:
    """Run ansible-rulebook as the guide does. Its output is appended to a file."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"LITELLM_URL": proxy.url, "LITELLM_MASTER_KEY": proxy.master_key, "NO_PROXY": "127.0.0.1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    command = ["ansible-rulebook", "--rulebook", "watch_keys.yml", "--inventory", "inventory"]
    with (folder / "output").open("a") as output:
        process = subprocess.Popen(
            [*command, "--vars", "variables.yml"],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(PATIENCE)


def write_files(folder: Path, controller: Controller, chat_url: str) -> None:
    """Save the files of the guide, and restrict the event source to the keys of this test."""
    page = PAGE.read_text()
    for name, text in re.findall(
        r"^\.\. code-block:: yaml\S*\n   :name: (\S+)\n\n((?:    .*\n|\n)+)", page, re.MULTILINE
    ):
        content = textwrap.dedent(text)
        if name == "rulebook":
            indented = "            ending_within: 12h\n"
            assert indented[4:] in content
            test_only = f"        delay: 1\n        alias_prefix: virtkey-{controller.prefix}-\n"
            content = content.replace(indented[4:], indented[4:] + test_only)
        if name == "variables":
            content = yaml.safe_dump(
                {
                    **yaml.safe_load(content),
                    "labs_in_use": [f"{controller.prefix}-ending", f"{controller.prefix}-leaked"],
                    "keys_folder": str(folder / "keys"),
                    "state_file": str(folder / "state.json"),
                    "chat_url": chat_url,
                }
            )
        names = {"rulebook": "watch_keys.yml", "variables": "variables.yml"}
        (folder / names.get(name, name)).write_text(content)
    (folder / "inventory").write_text(INVENTORY)


def test_the_rulebook_of_the_guide(
    proxy: Proxy, controller: Controller, chat: tuple[str, list[str]], tmp_path: Path
) -> None:
    chat_url, messages = chat
    folder, planted = tmp_path / "rulebook", tmp_path / "planted"
    folder.mkdir()
    write_files(folder, controller, chat_url)
    secrets, names = {}, {name: f"{controller.prefix}-{name}" for name in ("ending", "leaked", "blocked", "later")}
    for name, duration in (("ending", "2h"), ("leaked", "7d"), ("blocked", "7d")):
        controller.folder, controller.facts = folder / "keys" / names[name], {}
        controller.run(names[name], duration=duration, max_budget=1)
        secrets[name] = controller.data["litellm_virtual_key"]

    def change(path: str, name: str, **values: Any) -> None:
        status, response = proxy.request("POST", path, {"key": key_id(secrets[name]), **values})
        assert status == 200, response

    change("/key/update", "leaked", spend=0.9)
    change("/key/block", "blocked")
    hostile = f"virtkey-{controller.prefix}-{{{{ lookup('pipe', 'touch {planted}') }}}}"

    def expires(name: str) -> datetime:
        return datetime.fromisoformat(proxy.row(f"virtkey-{names[name]}")["expires"])

    def saved_secret(name: str) -> str:
        data = yaml.safe_load((folder / "keys" / names[name] / "provision-user-data.yaml").read_text())
        return str(data["litellm_virtual_key"])

    def tokens(name: str) -> list[str]:
        return [row["token"] for row in proxy.rows(f"virtkey-{names[name]}")]

    with running_rulebook(folder, proxy) as process:
        wait_until(lambda: expires("ending") > datetime.now(UTC) + timedelta(days=6), process)
        wait_until(lambda: saved_secret("leaked") != secrets["leaked"], process)
        # The alias belongs to no key for a moment.
        wait_until(lambda: tokens("leaked") == [key_id(saved_secret("leaked"))], process)
        replacement = saved_secret("leaked")
        wait_until(lambda: len(messages) == 1, process)
        time.sleep(2)  # for a listing with the replacement
        status, created = proxy.request("POST", "/key/generate", {"key_alias": hostile, "blocked": True})
        assert status == 200
        wait_until(lambda: len(messages) == 2, process)
    # Rules run one after the other. The replacement inherits the spend, and was not replaced again.
    assert (saved_secret("leaked"), tokens("leaked")) == (replacement, [key_id(replacement)])
    assert proxy.chat(secrets["leaked"]) == 401
    texts = sorted(messages)
    assert texts[1].startswith(f"virtkey-{names['blocked']} blocked, ")
    assert texts[0].startswith(f"virtkey-{controller.prefix}-\\x7b\\x7b lookup('pipe', ")
    assert not planted.exists()

    # After a restart, only what is new is told.
    messages.clear()
    with running_rulebook(folder, proxy) as process:
        controller.folder, controller.facts = folder / "keys" / names["later"], {}
        controller.run(names["later"])
        secrets["later"] = controller.data["litellm_virtual_key"]
        change("/key/block", "later")
        wait_until(lambda: messages, process)
    assert [message.split()[:2] for message in messages] == [[f"virtkey-{names['later']}", "blocked,"]]
    assert tokens("leaked") == [key_id(replacement)]
    assert (folder / "state.json").stat().st_mode & 0o777 == 0o600
    written = (folder / "output").read_text() + (folder / "state.json").read_text()
    for secret in (proxy.master_key, *secrets.values(), saved_secret("leaked"), created["key"]):
        assert secret not in written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("delay: 0", "delay is 0; it must be 1 to 86400 seconds"),
        ("state_fil: x", "litellm_keys has no argument 'state_fil'; did you mean state_file?"),
    ],
)
def test_an_invalid_argument_ends_it_with_one_sentence(
    proxy: Proxy, controller: Controller, tmp_path: Path, arguments: str, message: str
) -> None:
    write_files(tmp_path, controller, "http://127.0.0.1:9")
    rulebook = (tmp_path / "watch_keys.yml").read_text()
    (tmp_path / "watch_keys.yml").write_text(rulebook.replace("delay: 1\n", f"{arguments}\n"))
    with running_rulebook(tmp_path, proxy) as process:
        process.wait(PATIENCE)
    output = (tmp_path / "output").read_text()
    assert f"OptionError: Source plugin failed with error message: '{message}'" in output
    assert proxy.master_key not in output
