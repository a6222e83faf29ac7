# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the playbooks report_keys and sweep_keys, and check what they display, save and delete.

Each test creates keys with its own alias prefix, because other tests may use the proxy, too.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    GRANITE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
    Relay,
)

HOSTILE = "<script>document.title='hostile'</script>\"><img src=x onerror=\"document.title='hostile'\">{{ 6 * 7 }}"
PAGES = sorted((Path(__file__).parents[2] / "plugins" / "filter").glob("keys_*.yml"))
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass
class Keys:
    """The keys of one test, created and listed without the collection's client."""

    proxy: Proxy
    prefix: str
    ids: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, **settings: Any) -> None:
        status, key = self.proxy.request("POST", "/key/generate", {"key_alias": self.prefix + name, **settings})
        assert status == 200, key
        self.ids[name] = key["token"]

    def remaining(self) -> set[str]:
        """Return the names of the keys that still exist on the proxy."""
        return {name for name in self.ids if self.proxy.rows(self.prefix + name)}

    def fill(self) -> Keys:
        """Create keys of existing and of deleted environments, and one whose alias is an attempted code injection."""
        abc1 = {"models": [GRANITE], "max_budget": 10, "user_id": "ann@example.com", "metadata": {"guid": "abc1"}}
        self.add("abc1", duration="7d", **abc1)
        self.add("abc2-user1", duration="2h")
        self.add("gone1", duration="3d", metadata={"guid": "gone1"})
        self.add("old1", duration="1s", metadata={"guid": "old1"})
        self.add("abc3", duration="1s", metadata={"guid": "abc3"}, blocked=True)
        self.add(HOSTILE, metadata={"guid": "{{ 6 * 7 }}"})
        time.sleep(2)  # until the keys with a duration of 1 s have expired
        return self

    def delete(self) -> None:
        if remaining := [self.ids[name] for name in self.remaining()]:
            self.proxy.request("POST", "/key/delete", {"keys": remaining})


@pytest.fixture(scope="module")
def keys(proxy: Proxy, guid: str) -> Iterator[Keys]:
    """Return keys that no test deletes."""
    created = Keys(proxy, f"{guid}-reported-").fill()
    yield created
    created.delete()


@pytest.fixture
def swept_keys(proxy: Proxy, guid: str) -> Iterator[Keys]:
    """Return keys of which the test deletes swept_keys."""
    created = Keys(proxy, f"{guid}-swept-").fill()
    yield created
    created.delete()


@pytest.fixture
def unrelated(proxy: Proxy, guid: str) -> Iterator[Keys]:
    """Return an expired key with another prefix, which no sweep may delete."""
    created = Keys(proxy, f"service-{guid}-")
    created.add("gateway", duration="1s")
    yield created
    created.delete()


def playbook(ansible: Ansible, name: str, keys: Keys, *arguments: str, **variables: Any) -> CommandResult:
    given = json.dumps({"alias_prefix": keys.prefix, **variables})
    run = ansible.run("ansible-playbook", f"{COLLECTION}.{name}", "-e", given, *arguments)
    assert keys.proxy.master_key not in run.output + run.log
    return run


def column(lines: list[str], heading: str) -> dict[str, str]:
    """Return the cells of a column of the table, by alias."""
    start = lines[0].index(heading)
    found = {}
    for line in lines[1:]:
        cell = re.match(r"(?:\S| \S)*", line[start:])
        found[line[: lines[0].index("STATUS")].rstrip()] = cell[0] if cell else ""
    return found


def test_the_table_contains_the_status_and_findings_of_each_key(ansible: Ansible, keys: Keys) -> None:
    (ansible.folder / "guids.txt").write_text("abc1\nabc2 # a workshop\nabc3\nabc4\n")
    run = playbook(ansible, "report_keys", keys, report_guids_file="guids.txt", report_soon="3h")
    assert run.code == 0, run.output
    assert run.recap()["changed"] == 0
    lines = run.task_msg("Show the virtual keys")
    names = {name: keys.prefix + name for name in keys.ids}
    assert column(lines, "STATUS") == {
        names["old1"]: "expired",
        names["abc3"]: "blocked",
        names["abc2-user1"]: "active",
        names["gone1"]: "active",
        names["abc1"]: "active",
        names[HOSTILE]: "active",
    }
    assert column(lines, "FINDINGS") == {
        names["old1"]: "orphaned",
        names["abc3"]: "expired",
        names["abc2-user1"]: "ends soon",
        names["gone1"]: "orphaned",
        names["abc1"]: "",
        names[HOSTILE]: "orphaned",
    }
    assert run.task_msg("Show the summary") == (
        "6 virtual keys: 4 active, 2 expired, 1 ending within 3 hours, 1 blocked, 3 orphaned, 1 without expiry; "
        "0.00 spent"
    )


def test_the_json_report_matches_the_proxy_and_only_its_owner_can_read_it(ansible: Ansible, keys: Keys) -> None:
    run = playbook(ansible, "report_keys", keys, report_file="keys.json", report_guids=["abc1", "abc2", "abc3", "abc4"])
    assert run.code == 0, run.output
    path = ansible.folder / "keys.json"  # relative to the working directory, not to the playbook
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    report = json.loads(path.read_text())
    assert {key["key_alias"]: key["key_id"] for key in report["virtual_keys"]} == {
        keys.prefix + name: key_id for name, key_id in keys.ids.items()
    }
    assert (report["totals"]["orphaned"], report["guids_without_key"]) == (3, ["abc4"])
    assert report["api_endpoint"] == keys.proxy.url
    assert "{{ 6 * 7 }}" in {key["guid"] for key in report["virtual_keys"]}
    assert '"sk-' not in path.read_text().replace('"sk-...', "")


def test_the_text_report_contains_the_displayed_table(ansible: Ansible, keys: Keys) -> None:
    saved = playbook(ansible, "report_keys", keys, report_file="keys.txt")
    assert saved.code == 0, saved.output
    path = ansible.folder / "keys.txt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = path.read_text().splitlines()
    assert set(column(lines, "STATUS")) == {keys.prefix + name for name in keys.ids}
    shown = playbook(ansible, "report_keys", keys).task_msg("Show the virtual keys")
    assert column(lines, "STATUS") == column(shown, "STATUS")
    assert saved.task_msg("Show the summary").startswith("6 virtual keys: ")


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, Json]] = []
        self.title = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] == "title":
            self.title += data

    def count(self, tag: str) -> int:
        return sum(one == tag for one, _attributes in self.found)


def rendered(path: Path, profile: Path) -> str:
    """Return the page as rendered by a browser, after its script has run, or as it was saved if there is no browser."""
    if not BROWSER:
        return path.read_text()
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--dump-dom"]
    return subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout


def test_the_html_report_displays_the_data_of_keys_without_interpreting_them(
    ansible: Ansible, keys: Keys, tmp_path: Path
) -> None:
    run = playbook(ansible, "report_keys", keys, report_file=str(tmp_path / "keys.html"))
    assert run.code == 0, run.output
    path = tmp_path / "keys.html"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    page = rendered(path, tmp_path / "profile")
    elements = Elements(page)
    assert elements.count("tr") == 1 + len(keys.ids)
    assert (elements.count("script"), elements.count("img"), elements.count("link")) == (1, 0, 0)
    assert elements.title.startswith("Virtual keys")
    assert {attributes["data-sort"] for tag, attributes in elements.found if attributes.get("scope") == "row"} == {
        keys.prefix + name for name in keys.ids
    }
    if BROWSER:
        assert ("html", {"lang": "en", "class": "live"}) in elements.found
        assert "6 shown" in page


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"report_format": "html"},
            "report_format must be table, csv, json or html; csv and html also require report_file",
        ),
        (
            {"report_format": "xml"},
            "report_format must be table, csv, json or html; csv and html also require report_file",
        ),
        ({"report_guids": []}, "The list of guids is empty, so every key would be orphaned"),
    ],
)
def test_invalid_options_of_a_report_are_refused(
    ansible: Ansible, proxy: Proxy, guid: str, variables: Json, message: str
) -> None:
    run = playbook(ansible, "report_keys", Keys(proxy, f"{guid}-none-"), **variables)
    assert run.code == 2
    assert message in run.text


def test_a_report_of_no_keys(ansible: Ansible, proxy: Proxy, guid: str) -> None:
    run = playbook(ansible, "report_keys", Keys(proxy, f"{guid}-none-"))
    assert run.code == 0, run.output
    assert run.task_msg("Show the summary") == "There are no virtual keys"


@pytest.mark.parametrize(
    ("variables", "deleted"),
    [
        ({"sweep": "expired"}, {"old1", "abc3"}),
        ({"sweep": "orphaned", "report_guids": ["abc1", "abc2", "abc3"]}, {"old1", "gone1", HOSTILE}),
        ({"sweep": "orphaned,expired", "report_guids": "abc1,abc2,abc3"}, {"old1", "abc3", "gone1", HOSTILE}),
        ({"sweep": ["expired"], "sweep_expired_for": "1h"}, set()),
    ],
)
def test_a_sweep_deletes_exactly_the_keys_that_check_mode_displays(
    ansible: Ansible, swept_keys: Keys, unrelated: Keys, variables: Json, deleted: set[str]
) -> None:
    checked = playbook(ansible, "sweep_keys", swept_keys, "--check", **variables)
    assert checked.code == 0, checked.output
    assert swept_keys.remaining() == set(swept_keys.ids)
    shown = checked.task_msg("Show the keys to delete")
    assert (set(column(shown, "KEY")) if deleted else shown) == (
        {swept_keys.prefix + name for name in deleted} or "No keys"
    )
    assert checked.task_msg("Show the result") == f"Virtual keys that would be deleted: {len(deleted)}"

    swept = playbook(ansible, "sweep_keys", swept_keys, **variables)
    assert swept.code == 0, swept.output
    assert swept_keys.remaining() == set(swept_keys.ids) - deleted
    assert unrelated.remaining() == set(unrelated.ids)
    assert swept.task_msg("Show the result") == f"Virtual keys that were deleted: {len(deleted)}"
    assert swept.recap()["changed"] == checked.recap()["changed"] == bool(deleted)

    again = playbook(ansible, "sweep_keys", swept_keys, **variables)
    assert (again.code, again.recap()["changed"]) == (0, 0)


@pytest.mark.parametrize(
    "content",
    [
        "ABC1\nABC2\nABC3\n".encode("utf-8-sig"),
        "abc1 \r\nabc2\t\r\nabc3".encode("utf-16"),
        "abc1\u200b, ab\u00adc2, abc3\u00a0".encode(),
    ],
    ids=["UTF-8 with mark, upper case", "UTF-16", "invisible characters"],
)
def test_a_sweep_reads_a_list_as_editors_save_it(ansible: Ansible, swept_keys: Keys, content: bytes) -> None:
    (ansible.folder / "guids.txt").write_bytes(content)
    run = playbook(ansible, "sweep_keys", swept_keys, sweep="orphaned", report_guids_file="guids.txt")
    assert run.code == 0, run.output
    assert swept_keys.remaining() == set(swept_keys.ids) - {"old1", "gone1", HOSTILE}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "sweep=expired would delete 2, sweep=orphaned also requires guids or guids_file"),
        ({"sweep": "orphaned"}, "Cannot detect orphaned keys without the guids of the existing environments"),
        ({"sweep": "orphaned", "report_guids": ""}, "The list of guids is empty"),
        ({"sweep": "orphaned", "report_guids_file": "empty.txt"}, "The list of guids is empty"),
        ({"sweep": "orphaned", "report_guids_file": "missing.txt"}, "missing.txt"),
        ({"sweep": "orphaned", "report_guids_file": "latin1.txt"}, "Cannot decode the list of guids"),
        ({"sweep": "orphaned", "report_guids_file": "list.csv"}, "The list of guids contains the line 'abc1;abc2'"),
        ({"sweep": "orphaned", "report_guids": ["xyz"]}, "None of the specified guids (1) matches a key"),
        (
            {"sweep": "expired", "sweep_at_most": 1},
            "2 keys would be deleted, which is more than at_most (1)",
        ),
        ({"sweep": "all"}, "Cannot select 'all' keys for deletion; choose expired, orphaned or possibly_orphaned"),
        ({"sweep": "expired", "alias_prefix": " "}, "alias_prefix must not be empty"),
    ],
)
def test_a_sweep_that_may_be_a_mistake_deletes_nothing(
    ansible: Ansible, keys: Keys, variables: Json, message: str
) -> None:
    (ansible.folder / "empty.txt").write_text("# none\n")
    (ansible.folder / "latin1.txt").write_bytes("abc1\xa0\nabc2\nabc3".encode("latin-1"))
    (ansible.folder / "list.csv").write_text("abc1;abc2\n")
    run = playbook(ansible, "sweep_keys", keys, **variables)
    assert run.code == 2, run.output
    assert message in run.text
    assert run.recap()["changed"] == 0
    assert keys.remaining() == set(keys.ids)


def test_a_key_without_a_guid_in_its_metadata_is_deleted_only_by_a_choice_of_its_own(
    ansible: Ansible, swept_keys: Keys
) -> None:
    swept_keys.add("monitoring")
    guids = {"report_guids": "abc1,abc2,abc3"}
    run = playbook(ansible, "sweep_keys", swept_keys, sweep="orphaned", **guids)
    assert run.code == 0, run.output
    kept = run.task_msg("Show the keys that sweep=possibly_orphaned would delete too")
    assert set(column(kept, "KEY")) == {f"{swept_keys.prefix}monitoring"}
    assert swept_keys.remaining() == set(swept_keys.ids) - {"old1", "gone1", HOSTILE}
    run = playbook(ansible, "sweep_keys", swept_keys, sweep="possibly_orphaned", **guids)
    assert run.code == 0, run.output
    assert swept_keys.remaining() == {"abc1", "abc2-user1", "abc3"}


def test_a_key_that_is_extended_during_a_sweep_is_kept(
    ansible: Ansible, swept_keys: Keys, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings = []

    def extend(request_line: str) -> None:
        if "return_full_object=true" not in request_line:
            return
        listings.append(request_line)
        if len(listings) == 2:
            swept_keys.proxy.request("POST", "/key/update", {"key": swept_keys.ids["old1"], "duration": "7d"})

    monkeypatch.setattr(relay, "before", extend)
    run = playbook(ansible, "sweep_keys", swept_keys, sweep="expired", litellm_url=relay.url)
    assert run.code == 0, run.output
    assert swept_keys.remaining() == set(swept_keys.ids) - {"abc3"}
    assert set(column(run.task_msg("Show the keys to delete"), "KEY")) == {
        swept_keys.prefix + name for name in ("old1", "abc3")
    }
    kept = run.task_msg("Show the keys that are kept because they have changed")
    assert set(column(kept, "KEY")) == {f"{swept_keys.prefix}old1"}
    assert run.task_msg("Show the result") == "Virtual keys that were deleted: 1"


def test_the_examples_of_the_filters_run(ansible: Ansible, keys: Keys) -> None:
    examples = [yaml.safe_load(yaml.safe_load(path.read_text())["EXAMPLES"]) for path in PAGES]
    assert len(examples) == 4
    run = ansible.play({"hosts": "localhost", "tasks": [task for tasks in examples for task in tasks]})
    assert run.code == 0, run.output
    assert (ansible.folder / "keys.html").read_text().startswith("<!DOCTYPE html>")
