# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `litellm_key_report` as Ansible loads and runs it: what it reports, and where it saves that."""

from __future__ import annotations

import csv
import json
import stat
from datetime import timedelta

import pytest
from ansible.utils.display import Display
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.shared_budget import MANAGED_BY
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY, Fault

NAME = "rhpds.litellm_virtual_keys.litellm_key_report"
DAY = timedelta(days=1)


@pytest.fixture
def run(run_action, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run_task(check_mode=False, **arguments):
        return run_action(NAME, arguments, check_mode=check_mode)

    return run_task


@pytest.fixture
def warnings(monkeypatch):
    found = []
    monkeypatch.setattr(Display, "warning", lambda _self, text, *_args, **_kwargs: found.append(text))
    return found


@pytest.fixture(autouse=True)
def _keys(proxy):
    ends = {days: (proxy.now() + days * DAY).isoformat() for days in (-2, 2, 20)}
    proxy.add("virtkey-abc", expires=ends[2], models=["granite"], metadata={"guid": "abc"}, spend=1)
    proxy.add("virtkey-def", expires=ends[20], metadata={"guid": "def"}, spend=5)
    proxy.add("virtkey-old", expires=ends[-2], metadata={"guid": "old"})
    proxy.add("service", spend=9)


def aliases(result) -> list[str]:
    return [key["key_alias"] for key in result["report"]["virtual_keys"]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ["virtkey-old", "virtkey-abc", "virtkey-def"]),
        ({"sort": "spend"}, ["virtkey-def", "virtkey-abc", "virtkey-old"]),
        ({"guid": "abc"}, ["virtkey-abc"]),
        ({"guid": " ABC "}, ["virtkey-abc"]),
        ({"guid": ""}, ["virtkey-old", "virtkey-abc", "virtkey-def"]),
        ({"ending_within": "3d"}, ["virtkey-abc"]),
        ({"ending_within": ""}, ["virtkey-old", "virtkey-abc", "virtkey-def"]),
        ({"alias_prefix": ""}, ["virtkey-old", "virtkey-abc", "virtkey-def", "service"]),
        ({"alias_prefix": "virtkey-d"}, ["virtkey-def"]),
    ],
)
def test_which_keys_are_reported_in_which_order(run, arguments, expected):
    result = run(format="json", **arguments)
    assert (aliases(result), result["changed"]) == (expected, False)
    assert result["totals"]["keys"] == len(expected)
    assert "file" not in result


def test_the_table_ends_with_the_sums(run):
    lines = run()["report"]
    assert [line.split()[0] for line in lines[:4]] == ["KEY", "virtkey-old", "virtkey-abc", "virtkey-def"]
    assert [line.split() for line in lines[5:]] == [
        ["ENVIRONMENT", "KEYS", "SPENT"],
        ["def", "1", "5.00"],
        ["abc", "1", "1.00"],
        ["old", "1", "0.00"],
    ]


def test_findings_depend_on_the_guids_the_models_and_the_duration(run, proxy, tmp_path):
    (tmp_path / "guids.txt").write_bytes("abc # in use\n".encode("utf-16"))
    result = run(format="json", guids="def", guids_file="guids.txt", soon="3d")
    found = {key["key_alias"]: key["findings"] for key in result["report"]["virtual_keys"]}
    assert found == {
        "virtkey-old": ["expired", "orphaned"],
        "virtkey-abc": ["ends_soon", "unknown_models"],
        "virtkey-def": [],
    }
    assert result["summary"].startswith("3 virtual keys: 2 active, 1 expired, 1 ending within 3 days, ")


def test_the_shared_budgets_are_reported(run, proxy):
    proxy.add_team("virtkey-new", metadata={"guid": "new", "managed_by": MANAGED_BY}, max_budget=10.0)
    proxy.add("virtkey-new", team_id="virtkey-new", metadata={"guid": "new"})
    assert "SHARED BUDGET" in "".join(run()["report"])


@pytest.mark.parametrize(
    ("file", "start"),
    [
        ("keys.html", "<!DOCTYPE html>"),
        ("keys.csv", "key_alias,guid,"),
        ("keys.json", "{\n"),
        ("keys.txt", "KEY "),
        ("keys", "KEY "),
        ("html", "KEY "),
    ],
)
def test_the_extension_selects_the_format(run, tmp_path, file, start):
    result = run(file=file)
    assert (result["changed"], result["file"]) == (True, file)
    assert "report" not in result
    text = (tmp_path / file).read_text()
    assert text.startswith(start)
    assert text.endswith("\n")
    assert stat.S_IMODE((tmp_path / file).stat().st_mode) == 0o600


def test_a_format_overrides_the_extension(run, tmp_path):
    run(file="keys.html", format="csv")
    rows = list(csv.DictReader((tmp_path / "keys.html").read_text().splitlines()))
    assert [row["key_alias"] for row in rows] == ["virtkey-old", "virtkey-abc", "virtkey-def"]
    run(file="keys.txt", format="json")
    assert json.loads((tmp_path / "keys.txt").read_text())["totals"]["keys"] == 3


def test_an_empty_option_counts_as_not_given(run, tmp_path):
    result = run(soon="", ending_within=0, sort="", format="", file="", guid="", guids_file="")
    assert (result["totals"]["keys"], result["report"][0].split()[0]) == (3, "KEY")


def test_a_file_changes_with_its_content_and_its_mode(run, proxy, tmp_path):
    assert [run(file="keys.csv")["changed"] for _run in range(2)] == [True, False]
    (tmp_path / "keys.csv").chmod(0o644)
    assert [run(file="keys.csv", check_mode=check)["changed"] for check in (True, False, True)] == [True, True, False]
    proxy.add("virtkey-new")
    assert run(file="keys.csv")["changed"]


def test_messages_name_what_the_user_of_the_playbook_typed(run_action, proxy):
    variables = {
        "litellm_url": proxy.url,
        "litellm_master_key": MASTER_KEY,
        "litellm_playbook_name": "report_keys",
        "_litellm_short_names": {"file": "report_file", "format": "report_format", "sort": "sort"},
    }

    def message(**arguments):
        return run_action(NAME, arguments, variables=variables)["msg"]

    assert message(format="html") == "report_format is html, which requires a file; set report_file, too"
    assert message(file=".") == "report_file is ., which is a directory; name a file"
    assert message(sort="name") == "sort must be one of end, spend, but is 'name'"


def test_check_mode_writes_nothing(run, tmp_path):
    result = run(check_mode=True, file="keys.txt")
    assert (result["changed"], result["file"]) == (True, "keys.txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "xml"}, "format must be one of table, csv, json, html, but is 'xml'"),
        ({"format": "html"}, "format is html, which requires a file; set file, too"),
        ({"format": "csv"}, "format is csv, which requires a file; set file, too"),
        ({"sort": "name"}, "sort must be one of end, spend, but is 'name'"),
        ({"soon": 0}, "soon: 0 is not a duration: it must be more than zero"),
        ({"soon": "later"}, "soon: 'later' is not a duration"),
        ({"ending_within": "x"}, "ending_within: 'x' is not a duration"),
        ({"guids": []}, "The list of guids is empty"),
        ({"guids": [1]}, "The list of guids contains the number 1"),
        ({"guids_file": "missing.txt"}, "Cannot read guids_file missing.txt: No such file or directory"),
        ({"guids_file": "."}, "Cannot read guids_file .: Is a directory"),
        ({"file": "missing/keys.txt"}, "file is missing/keys.txt, but the directory missing does not exist"),
        ({"file": "."}, "file is ., which is a directory; name a file"),
        ({"file": f"{'a' * 300}.txt"}, f"file is {'a' * 300}.txt, which cannot be written: File name too long"),
        ({"file": "a\0b"}, "file must be a path, but is 'a\\x00b'"),
        ({"file": "~no-such-user/keys.txt"}, "file must be a path, but is '~no-such-user/keys.txt'"),
        ({"guids_file": "~no-such-user/guids.txt"}, "guids_file must be a path, but is '~no-such-user/guids.txt'"),
    ],
)
def test_a_mistake_is_reported_as_one_sentence(run, arguments, message):
    result = run(**arguments)
    assert result["failed"]
    assert result["msg"].startswith(message)


def test_options_are_checked_before_any_request(run, proxy):
    assert run(format="html")["failed"]
    assert run(soon="later")["failed"]
    assert run(guids_file="missing.txt")["failed"]
    assert run(file="missing/keys.txt")["failed"]
    assert proxy.requests == []


def test_models_and_budgets_that_cannot_be_read_are_warnings(run, proxy, warnings):
    proxy.add("virtkey-new", team_id="virtkey-new", metadata={"guid": "new"})
    for path in ("/v1/models", "/v2/team/list"):
        proxy.fault(f"GET {path}", Fault("status", 403, "No."))
    result = run(format="json")
    assert aliases(result)[0] == "virtkey-old"
    assert result["report"]["checks_models"] is False
    assert [text.partition(": ")[0] for text in warnings] == [
        "The report does not check the models of the keys, because they cannot be listed",
        "The shared budgets of the environments are left out, because they cannot be read",
    ]


def test_a_report_contains_no_secret(run, proxy, tmp_path):
    for file in ("keys.html", "keys.csv", "keys.json", "keys.txt"):
        run(file=file)
        assert "sk-" not in (tmp_path / file).read_text().replace("sk-...", "")
    assert MASTER_KEY not in json.dumps(run(format="json"))
