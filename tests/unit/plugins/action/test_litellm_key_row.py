# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `litellm_key_row` with a client of PostgreSQL that notes what it is asked and says what it is told to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NAME = "rhpds.litellm_virtual_keys.litellm_key_row"
ONE, TWO = "a" * 64, "0123456789abcdef" * 4
URL = "postgresql://litellm:p%40ss-w0rd@db.example.com:5432/litellm?sslmode=require"

PSQL = """#!/bin/sh
{{ echo "password=$PGPASSWORD"; for argument in "$@"; do echo "argument=$argument"; done; }} > '{folder}/asked'
cat '{folder}/says'
cat '{folder}/complains' >&2
sleep "$(cat '{folder}/seconds')"
exit "$(cat '{folder}/code')"
"""


class Psql:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.says()
        program = folder / "psql"
        program.write_text(PSQL.format(folder=folder))
        program.chmod(0o700)

    def says(self, output: str = "", complains: str = "", code: int = 0, seconds: int = 0) -> None:
        for name, content in (("says", output), ("complains", complains), ("code", code), ("seconds", seconds)):
            (self.folder / name).write_text(str(content))

    @property
    def asked(self) -> list[str]:
        return (self.folder / "asked").read_text().splitlines() if (self.folder / "asked").exists() else []

    @property
    def statement(self) -> str:
        return self.asked[-1].removeprefix("argument=")


@pytest.fixture
def psql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Psql:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return Psql(tmp_path)


@pytest.fixture
def act(run_action):
    def run(check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        return dict(run_action(NAME, {"postgres_url": URL, **arguments}, check_mode=check_mode, variables={}))

    return run


def test_rows_are_deleted_by_their_ids_and_by_nothing_else(act, psql):
    psql.says(f"{ONE}\n{TWO}\n")
    result = act(key_ids=[ONE, TWO])
    assert (result["changed"], result["key_ids"]) == (True, [ONE, TWO])
    assert psql.statement == (
        f"DELETE FROM \"LiteLLM_VerificationToken\" WHERE token IN ('{ONE}', '{TWO}') RETURNING token"
    )


def test_a_row_that_is_not_there_is_no_change(act, psql):
    assert (act(key_ids=[ONE])["changed"], act(key_ids=[ONE])["key_ids"]) == (False, [])


def test_in_check_mode_it_only_asks(act, psql):
    psql.says(f"{ONE}\n")
    result = act(key_ids=[ONE, TWO], check_mode=True)
    assert (result["changed"], result["key_ids"]) == (True, [ONE])
    assert psql.statement.startswith("SELECT token FROM")


def test_without_ids_nobody_is_asked(act, psql):
    assert act(key_ids=[])["changed"] is False
    assert psql.asked == []


def test_the_password_is_in_no_argument_and_nothing_of_the_user_is_read(act, psql):
    act(key_ids=[ONE])
    password, *arguments = psql.asked
    assert password == "password=p@ss-w0rd"
    assert not [argument for argument in arguments if "w0rd" in argument]
    assert "argument=postgresql://litellm@db.example.com:5432/litellm?sslmode=require" in arguments
    for option in ("--no-psqlrc", "--no-password", "--set=ON_ERROR_STOP=1"):
        assert f"argument={option}" in arguments


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgres://db/litellm", "postgres://db/litellm"),
        ("postgresql://user@[::1]:5432/litellm", "postgresql://user@[::1]:5432/litellm"),
        ("postgresql://us%40er:@db/litellm", "postgresql://us%40er@db/litellm"),
        ("postgresql:///litellm?host=/run/postgresql", "postgresql:///litellm?host=/run/postgresql"),
    ],
)
def test_other_addresses_are_handed_on_and_their_password_is_that_of_the_environment(
    act, psql, monkeypatch, url, shown
):
    monkeypatch.setenv("PGPASSWORD", "from-elsewhere")
    act(key_ids=[ONE], postgres_url=url)
    assert psql.asked[0] == "password=from-elsewhere"
    assert f"argument={shown}" in psql.asked


@pytest.mark.parametrize(
    "key_id", ["", "abc", "A" * 64, "g" * 64, ONE + "\n", "x' OR token > '", f"{ONE}') OR ('1'='1", "sk-" + "a" * 61]
)
def test_an_id_that_is_none_is_refused_and_not_quoted(act, psql, key_id):
    result = act(key_ids=[ONE, key_id])
    assert result["failed"] is True
    assert result["msg"] == "key_id must be 64 hexadecimal digits: the SHA-256 of the secret, not the secret"
    assert psql.asked == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (None, "postgres_url must look like postgresql://user:password@host:5432/litellm"),
        ("", "postgres_url must look like"),
        ("mysql://u:p-w0rd@db/litellm", "postgres_url must look like"),
        ("host=db password=p-w0rd", "postgres_url must look like"),
        ("postgresql://[u:p-w0rd@db/litellm", "postgres_url must look like"),
        ("postgresql://db/litellm?user=u&password=p-w0rd", "postgres_url must have its password before the host"),
    ],
)
def test_an_address_that_is_none_is_refused_and_not_quoted(act, psql, url, says):
    result = act(key_ids=[ONE], postgres_url=url)
    assert result["failed"] is True
    assert result["msg"].startswith(says)
    assert "p-w0rd" not in json.dumps(result)
    assert psql.asked == []


def test_what_the_database_complains_of_is_told_without_the_password(act, psql):
    psql.says(complains='psql: error: FATAL:  p@ss-w0rd is wrong\n  "p%40ss-w0rd"\n', code=2)
    result = act(key_ids=[ONE])
    assert (result["failed"], result["changed"]) == (True, False)
    assert result["msg"] == 'The database could not be asked: psql: error: FATAL: ******** is wrong "********"'


def test_a_database_that_does_not_answer_is_given_up(act, psql):
    psql.says(seconds=60)
    result = act(key_ids=[ONE], timeout=0.5)
    assert result["msg"] == "The database did not answer within 0.5 s; whether the rows are removed is not known"


def test_without_a_client_it_says_what_to_install(act, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert act(key_ids=[ONE])["msg"].startswith("psql, the client of PostgreSQL, is not installed where Ansible runs")
