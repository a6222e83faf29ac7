# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `litellm_key_row` with a fake psql, which records its arguments and prints what a test sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

NAME = "rhpds.litellm_virtual_keys.litellm_key_row"
ONE, TWO = "a" * 64, "0123456789abcdef" * 4
URL = "postgresql://litellm:p%40ss-w0rd@db.example.com:5432/litellm?sslmode=require"

PSQL = """#!/bin/sh
{{ echo "password=$PGPASSWORD"; for argument in "$@"; do echo "argument=$argument"; done; }} > '{folder}/arguments'
cat '{folder}/output'
cat '{folder}/error' >&2
sleep "$(cat '{folder}/seconds')"
exit "$(cat '{folder}/code')"
"""


class Psql:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.respond()
        program = folder / "psql"
        program.write_text(PSQL.format(folder=folder))
        program.chmod(0o700)

    def respond(self, output: str = "", error: str = "", code: int = 0, seconds: int = 0) -> None:
        for name, content in (("output", output), ("error", error), ("code", code), ("seconds", seconds)):
            (self.folder / name).write_text(str(content))

    @property
    def arguments(self) -> list[str]:
        path = self.folder / "arguments"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def statement(self) -> str:
        return self.arguments[-1].removeprefix("argument=")


@pytest.fixture
def psql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Psql:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return Psql(tmp_path)


@pytest.fixture
def run(run_action):
    def run_task(check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        return dict(run_action(NAME, {"postgres_url": URL, **arguments}, check_mode=check_mode, variables={}))

    return run_task


def test_rows_are_deleted_by_id(run, psql):
    psql.respond(f"{ONE}\n{TWO}\n")
    result = run(key_ids=[ONE, TWO])
    assert (result["changed"], result["key_ids"]) == (True, [ONE, TWO])
    assert psql.statement == (
        f"DELETE FROM \"LiteLLM_VerificationToken\" WHERE token IN ('{ONE}', '{TWO}') RETURNING token"
    )


def test_a_missing_row_is_no_change(run, psql):
    assert (run(key_ids=[ONE])["changed"], run(key_ids=[ONE])["key_ids"]) == (False, [])


def test_check_mode_only_selects(run, psql):
    psql.respond(f"{ONE}\n")
    result = run(key_ids=[ONE, TWO], check_mode=True)
    assert (result["changed"], result["key_ids"]) == (True, [ONE])
    assert psql.statement.startswith("SELECT token FROM")


def test_without_ids_psql_is_not_called(run, psql):
    assert run(key_ids=[])["changed"] is False
    assert psql.arguments == []


def test_the_password_is_not_an_argument_and_no_file_of_the_user_is_read(run, psql):
    run(key_ids=[ONE])
    password, *arguments = psql.arguments
    assert password == "password=p@ss-w0rd"
    assert not [argument for argument in arguments if "w0rd" in argument]
    assert "argument=postgresql://litellm@db.example.com:5432/litellm?sslmode=require" in arguments
    for option in ("--no-psqlrc", "--no-password", "--set=ON_ERROR_STOP=1"):
        assert f"argument={option}" in arguments


@pytest.mark.parametrize("password", ["p#p-w0rd", "p?p-w0rd", "p-w0rd#%2F", "p:p-w0rd", "p-w0rd[%20"])
def test_no_part_of_an_unusual_password_is_an_argument_or_in_a_message(run, psql, password):
    psql.respond(error=f"psql: error: {password}: {unquote(password)}", code=2)
    result = run(key_ids=[ONE], postgres_url=f"postgresql://u:{password}@db/litellm")
    assert psql.arguments[0] == f"password={unquote(password)}"
    assert "argument=postgresql://u@db/litellm" in psql.arguments
    assert "p-w0rd" not in "".join(psql.arguments[1:])
    assert result["msg"] == "The database refused the statement: psql: error: ********: ********"


def test_psql_gets_no_variables_of_the_collection(run, psql, monkeypatch):
    monkeypatch.setenv("LITELLM_MASTER_KEY", "sk-0123456789abcdef")
    (psql.folder / "psql").write_text("#!/bin/sh\nenv >&2\nexit 1\n")
    message = run(key_ids=[ONE])["msg"]
    assert "PATH=" in message
    assert "LITELLM_" not in message


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgres://db/litellm", "postgres://db/litellm"),
        ("postgresql://user@[::1]:5432/litellm", "postgresql://user@[::1]:5432/litellm"),
        ("postgresql://us%40er:@db/litellm", "postgresql://us%40er@db/litellm"),
        ("postgresql:///litellm?host=/run/postgresql", "postgresql:///litellm?host=/run/postgresql"),
    ],
)
def test_a_url_without_a_password_is_passed_on_with_the_password_of_the_environment(run, psql, monkeypatch, url, shown):
    monkeypatch.setenv("PGPASSWORD", "from-elsewhere")
    run(key_ids=[ONE], postgres_url=url)
    assert psql.arguments[0] == "password=from-elsewhere"
    assert f"argument={shown}" in psql.arguments


@pytest.mark.parametrize(
    "key_id", ["", "abc", "A" * 64, "g" * 64, ONE + "\n", "x' OR token > '", f"{ONE}') OR ('1'='1", "sk-" + "a" * 61]
)
def test_an_invalid_id_is_refused_and_not_quoted(run, psql, key_id):
    result = run(key_ids=[ONE, key_id])
    assert result["failed"] is True
    assert result["msg"] == "key_id must be 64 hexadecimal digits: the SHA-256 of the secret, not the secret"
    assert psql.arguments == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (None, "postgres_url must look like postgresql://user:password@host:5432/litellm"),
        ("", "postgres_url must look like"),
        ("mysql://u:p-w0rd@db/litellm", "postgres_url must look like"),
        ("host=db password=p-w0rd", "postgres_url must look like"),
        ("postgresql://u:p-w0rd/litellm", "postgres_url must look like"),
        ("postgresql://u:p/p-w0rd@db/litellm", "postgres_url contains a '/', '@', '%' or space that is not escaped"),
        ("postgresql://u:p@p-w0rd@db/litellm", "postgres_url contains a '/', '@', '%' or space that is not escaped"),
        ("postgresql://u:p-w0rd%@db/litellm", "postgres_url contains a '/', '@', '%' or space that is not escaped"),
        ("postgresql://db/litellm?passwor%64=p-w0rd", "postgres_url must have its password before the host"),
        ("postgresql://u:p p-w0rd@db/litellm", "postgres_url contains a '/', '@', '%' or space that is not escaped"),
        ("postgresql://u:p-w0rd@db/litellm?service=s", "postgres_url has a password, but psql would use"),
        ("postgresql://db/litellm;password=p-w0rd", "postgres_url must have its password before the host"),
        ("postgresql://db/litellm?sslpassword=p-w0rd", "postgres_url has a parameter that is unknown or would show"),
        ("postgresql://db/litellm?user=u&password=p-w0rd", "postgres_url must have its password before the host"),
    ],
)
def test_an_invalid_url_is_refused_and_not_quoted(run, psql, url, message):
    result = run(key_ids=[ONE], postgres_url=url)
    assert result["failed"] is True
    assert result["msg"].startswith(message)
    assert "p-w0rd" not in json.dumps(result)
    assert psql.arguments == []


def test_an_error_of_the_database_is_reported_without_the_password(run, psql):
    psql.respond(error='psql: error: FATAL:  p@ss-w0rd is wrong\n  "p%40ss-w0rd"\n', code=2)
    result = run(key_ids=[ONE])
    assert (result["failed"], result["changed"]) == (True, False)
    assert result["msg"] == 'The database refused the statement: psql: error: FATAL: ******** is wrong "********"'


def test_output_that_is_not_utf_8_is_reported_without_the_password(run, psql):
    (psql.folder / "error").write_bytes(b"psql: error: \xe4 \x1b[2J p\xffw0rd-")
    (psql.folder / "code").write_text("2")
    result = run(key_ids=[ONE], postgres_url="postgresql://u:p%ffw0rd-@db/litellm")
    assert result["msg"] == r"The database refused the statement: psql: error: \udce4 \x1b[2J ********"


def test_a_service_in_the_environment_does_not_replace_the_password(run, psql, monkeypatch):
    """libpq prefers the password of the service to PGPASSWORD."""
    monkeypatch.setenv("PGSERVICE", "another")
    assert run(key_ids=[ONE])["msg"].startswith("postgres_url has a password, but psql would use")
    assert psql.arguments == []
    assert "failed" not in run(key_ids=[ONE], postgres_url="postgresql://u@db/litellm")


def test_a_database_that_does_not_respond_times_out(run, psql):
    psql.respond(seconds=60)
    result = run(key_ids=[ONE], timeout=0.5)
    assert result["msg"] == "The database did not respond within 0.5 s, so it is not known whether the rows are deleted"


def test_without_psql_the_error_says_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(key_ids=[ONE])["msg"].startswith("psql, the client of PostgreSQL, is not installed on the controller")
