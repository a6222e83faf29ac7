# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the playbooks report_keys and sweep_keys, and check what they display, save and delete.

Each test creates keys with its own alias prefix, because other tests may use the proxy, too.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    GRANITE,
    MISTRAL,
    PATIENCE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
    Relay,
)

HOSTILE = "<script>document.title='hostile'</script>\"><img src=x onerror=\"document.title='hostile'\">{{ 6 * 7 }}"
ROOT = Path(__file__).parents[2]
PLAYBOOKS = ROOT / "playbooks"
LISTING = "/key/list?return_full_object=true&size=100&substring_matching=true&key_alias="
LOOKUP = (
    f"lookup('ansible.builtin.url', lookup('ansible.builtin.env', 'LITELLM_URL') ~ '{LISTING}' ~ prefix, headers="
    "{'Authorization': 'Bearer ' ~ lookup('ansible.builtin.env', 'LITELLM_MASTER_KEY')}) | from_json"
)
PAGES = sorted((ROOT / "plugins" / "filter").glob("keys_*.yml"))
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
        status, listing = self.proxy.request("GET", LISTING + self.prefix)
        assert status == 200, listing
        return self.names(row["key_alias"] for row in listing["keys"])

    def names(self, aliases: Iterable[str]) -> set[str]:
        return {alias.removeprefix(self.prefix) for alias in aliases}

    def fill(self) -> Keys:
        """Create keys of existing and of deleted environments, and one whose alias is an attempted code injection."""
        abc1 = {"models": [GRANITE], "max_budget": 10, "user_id": "ann@example.com", "metadata": {"guid": "abc1"}}
        self.add("abc1", duration="7d", **abc1)
        self.add("abc2-user1", duration="2h")
        self.add("gone1", duration="3d", metadata={"guid": "gone1"})
        self.add("old1", duration="1s", metadata={"guid": "old1"})
        self.add("abc3", duration="1s", metadata={"guid": "abc3"}, blocked=True)
        self.add(HOSTILE, metadata={"guid": "{{ 6 * 7 }}"})
        return self

    def delete(self) -> None:
        if remaining := [self.ids[name] for name in self.remaining()]:
            self.proxy.request("POST", "/key/delete", {"keys": remaining})


@dataclass(frozen=True)
class Sweep:
    """Keys that a playbook sweeps: the variables of the playbook, and the names of the keys that it must delete."""

    variables: Json
    deleted: set[str]


GUIDS = ["abc1", "abc2", "abc3"]
EXPIRED, ORPHANED = {"old1", "abc3"}, {"old1", "gone1", HOSTILE}
SWEEPS = {
    "expired": Sweep({"sweep": "expired"}, EXPIRED),
    "orphaned": Sweep({"sweep": "orphaned", "report_guids": GUIDS}, ORPHANED),
    "both": Sweep({"sweep": "orphaned,expired", "report_guids": ",".join(GUIDS)}, EXPIRED | ORPHANED),
    "expired for an hour": Sweep({"sweep": ["expired"], "sweep_expired_for": "1h"}, set()),
}
# A list of guids as editors save it. The unit tests of `_reports` contain other encodings.
LIST = "ABC1 \r\nab\u00adc2\t\r\nabc3\u200b".encode("utf-16")
LISTED, UNCERTAIN, EXTENDED = "listed", "without a guid", "extended"


@pytest.fixture(scope="module")
def all_keys(proxy: Proxy, guid: str) -> Iterator[dict[str, Keys]]:
    """Return the keys of each sweep, and those that no test deletes, by name; some of them have expired."""
    names = ("reported", *SWEEPS, LISTED, UNCERTAIN, EXTENDED)
    created = {name: Keys(proxy, f"{guid}-swept{number}-").fill() for number, name in enumerate(names)}
    created[UNCERTAIN].add("monitoring")
    # An expired key with another prefix, which no sweep may delete.
    created["unrelated"] = Keys(proxy, f"service-{guid}-")
    created["unrelated"].add("gateway", duration="1s")
    time.sleep(2)  # until the keys with a duration of 1 s have expired
    yield created
    for keys in created.values():
        keys.delete()


@pytest.fixture(scope="module")
def keys(all_keys: dict[str, Keys]) -> Keys:
    """Return keys that no test deletes."""
    return all_keys["reported"]


def playbook(ansible: Ansible, name: str, keys: Keys, *arguments: str, **variables: Any) -> CommandResult:
    given = json.dumps({"alias_prefix": keys.prefix, **variables})
    run = ansible.run("ansible-playbook", f"{COLLECTION}.{name}", "-e", given, *arguments)
    assert keys.proxy.master_key not in run.output + run.log
    return run


def play_of(name: str, keys: Keys, case: str, **variables: Any) -> Json:
    """Return the play of a playbook, with these variables, and with tasks that show its error and the remaining keys.

    One run of ansible-playbook can contain many cases. Each has a host of its own, because of the facts that it sets,
    and continues after an error, which would end the run.
    """
    (play,) = yaml.safe_load((PLAYBOOKS / f"{name}.yml").read_text())
    interpreter = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    show_error = {"name": "Show the error", "ansible.builtin.debug": {"msg": "{{ ansible_failed_result.msg }}"}}
    show_keys = {
        "name": "Show the remaining keys",
        "ansible.builtin.debug": {"msg": f"{{{{ ({LOOKUP})['keys'] | map(attribute='key_alias') | list }}}}"},
        "vars": {"prefix": keys.prefix},
    }
    return {
        **play,
        "name": case,
        "hosts": re.sub(r"\W", "-", case),
        "vars": {**play["vars"], **interpreter, "alias_prefix": keys.prefix, **variables},
        "tasks": [{"block": play["tasks"], "rescue": [show_error]}, show_keys],
    }


def run_cases(ansible: Ansible, plays: list[Json], *arguments: str) -> dict[str, CommandResult]:
    """Run the plays of several cases, and return the part of the output of each case."""
    hosts = ",".join(play["hosts"] for play in plays)
    run = ansible.play(plays, "-i", f"{hosts},", *arguments)
    assert run.code == 0, run.output
    assert ansible.environment["LITELLM_MASTER_KEY"] not in run.output + run.log
    parts = re.split(r"^PLAY \[(.*)\] \*+$", run.stdout.partition("PLAY RECAP")[0], flags=re.MULTILINE)
    return {case: CommandResult(run.code, part, "", "") for case, part in zip(parts[1::2], parts[2::2], strict=True)}


def column(lines: list[str], heading: str) -> dict[str, str]:
    """Return the cells of a column of the table, by alias. The sums follow after an empty line."""
    start = lines[0].index(heading)
    found = {}
    for line in itertools.takewhile(bool, lines[1:]):
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


INVALID_REPORTS: dict[str, tuple[Json, str]] = {
    "html without a file": (
        {"report_format": "html"},
        "format is html, which requires a file; set file, too",
    ),
    "unknown format": (
        {"report_format": "xml"},
        "format must be one of table, csv, json, html, but is 'xml'",
    ),
    "no guid": ({"report_guids": []}, "The list of guids is empty, so every key would be orphaned"),
}


@pytest.fixture(scope="module")
def reports(ansible: Ansible, keys: Keys, proxy: Proxy, guid: str) -> dict[str, CommandResult]:
    """Run the playbook with different variables."""
    none = Keys(proxy, f"{guid}-none-")
    return run_cases(
        ansible,
        [
            play_of("report_keys", keys, "text", report_file="keys.txt"),
            play_of("report_keys", keys, "shown"),
            play_of("report_keys", keys, "html", report_file="page.html"),
            play_of("report_keys", none, "no keys"),
            *(
                play_of("report_keys", none, case, **variables)
                for case, (variables, _message) in INVALID_REPORTS.items()
            ),
        ],
    )


def test_the_text_report_contains_the_displayed_table(
    ansible: Ansible, keys: Keys, reports: dict[str, CommandResult]
) -> None:
    path = ansible.folder / "keys.txt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = path.read_text().splitlines()
    assert lines[lines.index("") + 1].startswith("ENVIRONMENT ")
    assert set(column(lines, "STATUS")) == {keys.prefix + name for name in keys.ids}
    shown = reports["shown"].task_msg("Show the virtual keys")
    assert column(lines, "STATUS") == column(shown, "STATUS")
    assert lines[lines.index("") :] == shown[shown.index("") :]
    assert reports["text"].task_msg("Show the summary").startswith("6 virtual keys: ")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to create a link of another user")
def test_the_report_does_not_replace_what_the_link_of_another_user_leads_to(
    ansible: Ansible, keys: Keys, tmp_path: Path
) -> None:
    shared, precious = tmp_path / "shared", tmp_path / "precious"
    shared.mkdir()
    shared.chmod(0o1777)
    precious.write_text("precious")
    (shared / "keys.txt").symlink_to(precious)
    os.lchown(shared / "keys.txt", 12345, 12345)
    run = playbook(ansible, "report_keys", keys, report_file=str(shared / "keys.txt"))
    assert run.code == 2, run.output
    assert f"Cannot write {shared}/keys.txt: {shared}/keys.txt is a symbolic link of another user" in run.text
    assert precious.read_text() == "precious"


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
    command.append(path.as_uri())
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout


def test_the_html_report_displays_the_data_of_keys_without_interpreting_them(
    ansible: Ansible, keys: Keys, reports: dict[str, CommandResult], tmp_path: Path
) -> None:
    path = ansible.folder / "page.html"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not [task for task in reports["html"].tasks if task.status == "fatal"]
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


@pytest.mark.parametrize("case", INVALID_REPORTS)
def test_invalid_options_of_a_report_are_refused(reports: dict[str, CommandResult], case: str) -> None:
    assert INVALID_REPORTS[case][1] in reports[case].task_msg("Show the error")
    assert "Show the summary" not in reports[case].stdout


def test_a_report_of_no_keys(reports: dict[str, CommandResult]) -> None:
    assert reports["no keys"].task_msg("Show the summary") == "There are no virtual keys"


@pytest.fixture(scope="module")
def sweeps(ansible: Ansible, all_keys: dict[str, Keys]) -> dict[str, CommandResult]:
    """Run all sweeps in check mode, and then in earnest, each of them twice."""
    plays, checked = [], []
    for name, sweep in SWEEPS.items():
        checked.append(play_of("sweep_keys", all_keys[name], f"{name}, checked", **sweep.variables))
        for case in (name, f"{name}, again"):
            plays.append(play_of("sweep_keys", all_keys[name], case, **sweep.variables))
    (ansible.folder / "list.txt").write_bytes(LIST)
    guids = ",".join(GUIDS)
    plays += [
        play_of("sweep_keys", all_keys[LISTED], LISTED, sweep="orphaned", report_guids_file="list.txt"),
        play_of("sweep_keys", all_keys[UNCERTAIN], "certain", sweep="orphaned", report_guids=guids),
        play_of("sweep_keys", all_keys[UNCERTAIN], "possibly", sweep="possibly_orphaned", report_guids=guids),
    ]
    return run_cases(ansible, checked, "--check") | run_cases(ansible, plays)


def remaining(keys: Keys, run: CommandResult) -> set[str]:
    """Return the names of the keys that existed at the end of a case."""
    return keys.names(run.task_msg("Show the remaining keys"))


def is_changed(run: CommandResult) -> bool:
    return "changed" in {task.status for task in run.tasks}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_deletes_exactly_the_keys_that_check_mode_displays(
    sweeps: dict[str, CommandResult], all_keys: dict[str, Keys], name: str
) -> None:
    keys, deleted = all_keys[name], SWEEPS[name].deleted
    checked, swept, again = sweeps[f"{name}, checked"], sweeps[name], sweeps[f"{name}, again"]
    assert remaining(keys, checked) == set(keys.ids)
    shown = checked.task_msg("Show the keys to delete")
    assert (set(column(shown, "KEY")) if deleted else shown) == ({keys.prefix + name for name in deleted} or "No keys")
    assert checked.task_msg("Show the result") == f"Virtual keys that would be deleted: {len(deleted)}"

    assert remaining(keys, swept) == set(keys.ids) - deleted
    assert swept.task_msg("Show the result") == f"Virtual keys that were deleted: {len(deleted)}"
    assert is_changed(swept) == is_changed(checked) == bool(deleted)

    assert again.task_msg("Show the result") == "Virtual keys that were deleted: 0"
    assert not is_changed(again)
    assert remaining(keys, again) == keys.remaining()
    assert all_keys["unrelated"].remaining() == {"gateway"}


def test_a_sweep_reads_a_list_as_editors_save_it(sweeps: dict[str, CommandResult], all_keys: dict[str, Keys]) -> None:
    assert remaining(all_keys[LISTED], sweeps[LISTED]) == set(all_keys[LISTED].ids) - ORPHANED


def test_a_key_without_a_guid_in_its_metadata_is_deleted_only_by_a_choice_of_its_own(
    sweeps: dict[str, CommandResult], all_keys: dict[str, Keys]
) -> None:
    keys = all_keys[UNCERTAIN]
    kept = sweeps["certain"].task_msg("Show the keys that sweep=possibly_orphaned would delete too")
    assert set(column(kept, "KEY")) == {f"{keys.prefix}monitoring"}
    assert remaining(keys, sweeps["certain"]) == set(keys.ids) - ORPHANED
    assert remaining(keys, sweeps["possibly"]) == {"abc1", "abc2-user1", "abc3"}


# Sweeps that may be a mistake: the variables, and the error message. The unit tests of `_reports` contain more of them.
MISTAKES: list[tuple[Json, str]] = [
    ({}, "sweep=expired would delete 2, sweep=orphaned also requires guids or guids_file"),
    ({"sweep": "orphaned"}, "Cannot detect orphaned keys without the guids of the existing environments"),
    ({"sweep": "orphaned", "report_guids_file": "missing.txt"}, "missing.txt"),
    ({"sweep": "orphaned", "report_guids_file": "latin1.txt"}, "Cannot decode the list of guids"),
    ({"sweep": "expired", "sweep_at_most": 1}, "2 keys would be deleted, which is more than at_most (1)"),
    ({"sweep": "expired", "alias_prefix": " "}, "alias_prefix must not be empty"),
]


@pytest.fixture(scope="module")
def mistakes(ansible: Ansible, keys: Keys) -> dict[str, CommandResult]:
    (ansible.folder / "latin1.txt").write_bytes("abc1\xa0\nabc2\nabc3".encode("latin-1"))
    plays = [
        play_of("sweep_keys", keys, f"mistake {number}", **variables)
        for number, (variables, _message) in enumerate(MISTAKES)
    ]
    return run_cases(ansible, plays)


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=[str(variables) for variables, _message in MISTAKES])
def test_a_sweep_that_may_be_a_mistake_deletes_nothing(
    mistakes: dict[str, CommandResult], keys: Keys, number: int
) -> None:
    run = mistakes[f"mistake {number}"]
    assert MISTAKES[number][1] in run.text
    assert run.task_msg("Show the error")
    assert not is_changed(run)
    assert remaining(keys, run) == set(keys.ids)


def test_a_key_that_is_extended_during_a_sweep_is_kept(
    ansible: Ansible, all_keys: dict[str, Keys], relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept_keys, listings = all_keys[EXTENDED], []
    (ansible.folder / "guids.txt").write_text("\n".join(GUIDS))  # in the working directory

    def extend(request_line: str) -> None:
        if "return_full_object=true" not in request_line:
            return
        listings.append(request_line)
        if len(listings) == 2:
            swept_keys.proxy.request("POST", "/key/update", {"key": swept_keys.ids["old1"], "duration": "7d"})

    monkeypatch.setattr(relay, "before", extend)
    run = playbook(
        ansible, "sweep_keys", swept_keys, sweep="expired", litellm_url=relay.url, report_guids_file="guids.txt"
    )
    assert run.code == 0, run.output
    assert swept_keys.remaining() == set(swept_keys.ids) - {"abc3"}
    assert set(column(run.task_msg("Show the keys to delete"), "KEY")) == {
        swept_keys.prefix + name for name in ("old1", "abc3")
    }
    kept = run.task_msg("Show the keys that are kept because they have changed")
    assert set(column(kept, "KEY")) == {f"{swept_keys.prefix}old1"}
    assert run.task_msg("Show the result") == "Virtual keys that were deleted: 1"


def test_a_model_that_is_gone_is_reported_and_replaced(ansible: Ansible, proxy: Proxy, guid: str) -> None:
    keys = Keys(proxy, f"virtkey-{guid}-model-")
    keys.add("old", models=[MISTRAL, "mistral-of-last-year"])
    keys.add("new", models=[MISTRAL])
    try:
        report = playbook(ansible, "report_keys", keys)
        assert "unknown model mistral-of-last-year" in report.stdout
        assert "2 virtual keys: 2 active, 1 with unknown models" in report.stdout
        models = {"old_model": "mistral-of-last-year", "new_model": GRANITE}
        predicted = playbook(ansible, "replace_model", keys, "--check", **models)
        assert f"Would replace mistral-of-last-year by {GRANITE} in 1 virtual key" in predicted.stdout
        replaced = playbook(ansible, "replace_model", keys, **models)
        assert f"Replaced mistral-of-last-year by {GRANITE} in 1 virtual key" in replaced.stdout
        models_of = {name: proxy.row(keys.prefix + name)["models"] for name in keys.ids}
        assert models_of == {"old": [MISTRAL, GRANITE], "new": [MISTRAL]}
    finally:
        keys.delete()


def test_the_examples_of_the_filters_run(ansible: Ansible, keys: Keys) -> None:
    examples = [yaml.safe_load(yaml.safe_load(path.read_text())["EXAMPLES"]) for path in PAGES]
    assert len(examples) == 6
    run = ansible.play({"hosts": "localhost", "tasks": [task for tasks in examples for task in tasks]})
    assert run.code == 0, run.output
    assert (ansible.folder / "keys.html").read_text().startswith("<!DOCTYPE html>")
