# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The URL of a database is read as PostgreSQL's libpq reads it, or refused; its password is never left in it."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._database.url import split_password
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from hypothesis import example, given
from hypothesis import strategies as st

FORMAT = "postgres_url must look like postgresql://user:password@host:5432/litellm"
ESCAPE = "postgres_url contains a '/', '@' or '%' that is not escaped"
PASSWORD = "postgres_url must have its password before the host"
PARAMETER = "postgres_url has a parameter that is unknown or would show a secret"


@pytest.mark.parametrize(
    ("url", "rest", "password"),
    [
        ("postgresql://u:p-w0rd@db:5432/litellm", "postgresql://u@db:5432/litellm", "p-w0rd"),
        ("postgres://db/litellm", "postgres://db/litellm", ""),
        ("postgresql://u:@db", "postgresql://u@db", ""),
        ("postgresql://:p-w0rd@db/litellm", "postgresql://db/litellm", "p-w0rd"),
        (
            "postgresql://u:p-w0rd@/litellm?host=/run/postgresql",
            "postgresql://u@/litellm?host=/run/postgresql",
            "p-w0rd",
        ),
        ("postgresql:///litellm?host=/run/postgresql", "postgresql:///litellm?host=/run/postgresql", ""),
        ("postgresql://u:p-w0rd@[::1]:5432/litellm", "postgresql://u@[::1]:5432/litellm", "p-w0rd"),
        ("postgresql://u:p-w0rd@a:1,b:2,c/litellm", "postgresql://u@a:1,b:2,c/litellm", "p-w0rd"),
        ("postgresql://u:p-w0rd@%2Frun%2Fpostgresql/litellm", "postgresql://u@%2Frun%2Fpostgresql/litellm", "p-w0rd"),
        # Characters that end the host in other URLs, but not in those of libpq.
        ("postgresql://u:p#w0rd@db/litellm", "postgresql://u@db/litellm", "p#w0rd"),
        ("postgresql://u:p?w0rd@db/litellm", "postgresql://u@db/litellm", "p?w0rd"),
        ("postgresql://u:p:w0rd@db/litellm", "postgresql://u@db/litellm", "p:w0rd"),
        ("postgresql://u:p[w0rd@db/litellm", "postgresql://u@db/litellm", "p[w0rd"),
        ("postgresql://[u:p-w0rd@db/litellm", "postgresql://[u@db/litellm", "p-w0rd"),
        ("postgresql://u:p\\w0rd@db/litellm", "postgresql://u@db/litellm", "p\\w0rd"),
        ("postgresql://u:p&password=w0rd@db/litellm", "postgresql://u@db/litellm", "p&password=w0rd"),
        ("postgresql://u:p w\t0rd@db/litellm", "postgresql://u@db/litellm", "p w\t0rd"),
        ("postgresql://u:p+w0rd@db/litellm", "postgresql://u@db/litellm", "p+w0rd"),
        # Escaped characters.
        ("postgresql://us%40er:p%2Fw%400rd%25@db/l", "postgresql://us%40er@db/l", "p/w@0rd%"),
        ("postgresql://u:p%C3%A4ss@db/l", "postgresql://u@db/l", "päss"),
        ("postgresql://u:päss@db/l", "postgresql://u@db/l", "päss"),
        ("postgresql://u:p%2525@db/l", "postgresql://u@db/l", "p%25"),
        # White space around the URL, which a file or a vault may add.
        ("\n postgresql://u:p-w0rd@db/litellm \r\n", "postgresql://u@db/litellm", "p-w0rd"),
        ("postgresql://u:p-w0rd@db/l?ssl%6Dode=require&", "postgresql://u@db/l?ssl%6Dode=require&", "p-w0rd"),
    ],
)
def test_the_password_is_split_from_the_url(url: str, rest: str, password: str) -> None:
    split = split_password(url)
    assert (split.url, split.password) == (rest, password)


def test_a_password_that_is_not_utf_8_is_passed_unchanged() -> None:
    assert os.fsencode(split_password("postgresql://u:p%ffw@db/l").password) == b"p\xffw"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", FORMAT),
        ("mysql://u:p-w0rd@db/litellm", FORMAT),
        ("host=db password=p-w0rd", FORMAT),
        ("postgresql:u:p-w0rd@db/litellm", FORMAT),
        ("POSTGRESQL://u:p-w0rd@db/litellm", FORMAT),
        ("jdbc:postgresql://u:p-w0rd@db/litellm", FORMAT),
        ("postgresql://u:p-w0rd\0@db/litellm", FORMAT),
        ("postgresql://u:p-w0rd\ud800@db/litellm", FORMAT),
        ("postgresql://u:p-w0rd@db/lite\udfffllm", FORMAT),
        # The host is missing, so that libpq would take the password for a port.
        ("postgresql://u:p-w0rd", FORMAT),
        ("postgresql://u:p-w0rd/litellm", FORMAT),
        ("postgresql://db:5432,u:p-w0rd/litellm", FORMAT),
        ("postgresql://[::1/litellm", FORMAT),
        # A slash ends the host.
        ("postgresql://u:p/w0rd@db/litellm", ESCAPE),
        ("postgresql://u:1234/w0rd@db/litellm", ESCAPE),
        ("postgresql://u:/p-w0rd@db/litellm", ESCAPE),
        ("postgresql://u:p/w?0rd@db/litellm", ESCAPE),
        ("postgresql://u:p?w/0rd@db/litellm", ESCAPE),
        ("postgresql://u:p#w/0rd@db/litellm", ESCAPE),
        ("postgresql://us/er:p-w0rd@db/litellm", ESCAPE),
        # Two characters that end the password.
        ("postgresql://u:p@w0rd@db/litellm", ESCAPE),
        ("postgresql://u:p@w0rd/@db/litellm", ESCAPE),
        ("postgresql://db/litellm?user=me@corp", ESCAPE),
        # Sequences that libpq refuses, in a message that quotes the password.
        ("postgresql://u:100%w0rd@db/litellm", ESCAPE),
        ("postgresql://u:w0rd%@db/litellm", ESCAPE),
        ("postgresql://u:w0rd%4@db/litellm", ESCAPE),
        ("postgresql://u:w0rd%00@db/litellm", ESCAPE),
        ("postgresql://u%:w0rd@db/litellm", ESCAPE),
        # Passwords as parameters, in every spelling that libpq reads.
        ("postgresql://db/litellm?user=u&password=p-w0rd", PASSWORD),
        ("postgresql://db/litellm?passwor%64=p-w0rd", PASSWORD),
        ("postgresql://db/litellm?%70%61%73%73%77%6F%72%64=p-w0rd", PASSWORD),
        ("postgresql://db?password=p-w0rd", PASSWORD),
        ("postgresql://?host=db&password=p-w0rd", PASSWORD),
        ("postgresql://u:other@db/litellm?sslmode=require&password=p-w0rd", PASSWORD),
        ("postgresql:///?password=p-w0rd", PASSWORD),
        # Parameters with other secrets, and misspelled ones, which libpq refuses only after other users can see them.
        ("postgresql://db/litellm?sslpassword=p-w0rd", PARAMETER),
        ("postgresql://db/litellm?sslpasswor%64=p-w0rd", PARAMETER),
        ("postgresql://db/litellm?oauth_client_secret=p-w0rd", PARAMETER),
        ("postgresql://db/litellm?scram_client_key=p-w0rd", PARAMETER),
        ("postgresql://db/litellm?Password=p-w0rd", PARAMETER),
        ("postgresql://db/litellm?pasword=p-w0rd", PARAMETER),
        ("postgresql://db/litellm?passwor%2564=p-w0rd", PARAMETER),
        ("postgresql://db/litellm?sslmode=require&p-w0rd", PARAMETER),
        ("postgresql://db/litellm?sslmode=require&&pwd=p-w0rd", PARAMETER),
        ("postgresql://db/litellm?connection_limit=10", PARAMETER),
    ],
)
def test_a_url_that_libpq_would_read_otherwise_is_refused_and_not_quoted(url: str, message: str) -> None:
    with pytest.raises(OptionError) as error:
        split_password(url)
    assert str(error.value).startswith(message)
    assert "w0rd" not in str(error.value)
    assert error.value.__cause__ is None


# The real libpq


class _Parameter(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_char_p) for name in ("keyword", "envvar", "compiled", "val", "label", "dispchar")),
        ("dispsize", ctypes.c_int),
    )


def parsed_by_libpq(url: str) -> dict[bytes, bytes] | None:
    """Return the parameters that libpq reads from a URL; None if it refuses it."""
    libpq = ctypes.CDLL("libpq.so.5")
    libpq.PQconninfoParse.restype = ctypes.POINTER(_Parameter)
    libpq.PQconninfoParse.argtypes = (ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p))
    found: Any = libpq.PQconninfoParse(url.encode(), ctypes.byref(ctypes.c_char_p()))
    if not found:
        return None
    parameters, number = {}, 0
    while (parameter := found[number]).keyword:
        if parameter.val is not None:
            parameters[parameter.keyword] = parameter.val
        number += 1
    libpq.PQconninfoFree.argtypes = (ctypes.POINTER(_Parameter),)
    libpq.PQconninfoFree(found)
    return parameters


def has_libpq() -> bool:
    try:
        ctypes.CDLL("libpq.so.5")
    except OSError:
        return False
    return True


PIECES = st.sampled_from(
    [*"u12:/@?#%&=[],", "p-w0rd", "db", "%2F", "%64", "%40", "passwor", "password=", "host=", "user="]
)


@pytest.mark.skipif(not has_libpq(), reason="needs libpq")
@given(st.lists(PIECES, max_size=12).map("".join))
@example("u:p#w0rd@db/l?sslmode=require")
@example("u:p?w0rd@db:1/l?user=x")
@example("a:1,[::1]:2/l")
@example("u:@db")
@example("@db")
@example(":@")
def test_every_url_is_read_as_libpq_reads_it_or_refused(text: str) -> None:
    url = f"postgresql://{text}"
    try:
        split = split_password(url)
    except OptionError:
        return
    expected = parsed_by_libpq(url)
    if expected is None:
        return  # libpq reports what is wrong, from a URL without a password
    password = expected.pop(b"password", b"")
    assert os.fsencode(split.password) == password
    assert parsed_by_libpq(split.url) == expected
