# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page to print: its commands work on a real proxy, a browser prints it, and it follows the keys."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.in_process import Controller, controller
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import PATIENCE

__all__ = ["controller"]

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
USERS = ["ann", "bob", "carl", "dora", "<b>eve</b> 'o\"neil"]


def cards(path: Path) -> dict[str, list[str]]:
    """Return the commands of each card, by user."""
    users = re.split(r"<h2>(.*?)</h2>", path.read_text())[1:]
    return {
        html.unescape(user): [html.unescape(line) for line in re.findall(r"^<code>(.*)</code>$", card, re.MULTILINE)]
        for user, card in zip(users[::2], users[1::2], strict=True)
    }


def run_shell(lines: list[str]) -> str:
    script = "\n".join(["curl() { command curl --silent --fail-with-body --noproxy '*' \"$@\"; }", *lines])
    return subprocess.run(["bash", "-euc", script], capture_output=True, text=True, timeout=PATIENCE, check=True).stdout


def test_the_commands_of_a_card_work_until_the_key_is_replaced(controller: Controller, tmp_path: Path) -> None:
    guid, path = controller.prefix, tmp_path / "handout.html"
    assert controller.run(guid, users=USERS, handout_file=str(path))["changed"]
    assert not controller.run(guid, users=USERS)["changed"]
    printed = cards(path)
    assert list(printed) == USERS
    for lines in (printed["ann"], printed[USERS[-1]]):
        assert len(lines) == 4
        output = run_shell(lines)
        assert '"object":"list"' in output
        assert "I am Granite" in output
    if BROWSER:
        print_page(path)
    controller.run(guid, "rotate", users=["ann"])
    again = cards(path)
    assert again["bob"] == printed["bob"]
    with pytest.raises(subprocess.CalledProcessError):
        run_shell(printed["ann"])
    assert "I am Granite" in run_shell(again["ann"])
    controller.run(guid, "destroy")
    assert not path.exists()


def print_page(path: Path) -> None:
    """Print the page as the guide does, and check that it is complete: four cards on a page, and their text."""
    for name, page_size in (("letter", "612 792"), ("a4", "59[45][.0-9]* 84[12][.0-9]*")):
        copy, pdf = path.with_name(f"{name}.html"), path.with_name(f"{name}.pdf")
        copy.write_text(path.read_text().replace("@page { ", f"@page {{ size: {name}; "))
        command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
        command += [f"--user-data-dir={path.parent / 'profile'}", f"--print-to-pdf={pdf}", copy.as_uri()]
        subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)
        content = pdf.read_bytes().decode("latin-1")
        sizes = re.findall(r"/MediaBox \[0 0 ([0-9. ]+)\]", content)
        assert len(sizes) == 2, "five cards need two pages"
        assert all(re.fullmatch(page_size, size) for size in sizes)
        # A browser prints text as glyphs of embedded fonts: at least that of the text and that of the keys.
        assert content.count("/Subtype /Type0") >= 2
