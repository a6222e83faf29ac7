# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The URL of a database is read as PostgreSQL's libpq reads it, or refused; its password is never left in it."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import itertools
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._database.url import split_password
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from hypothesis import example, given
from hypothesis import strategies as st

FORMAT = "postgres_url must look like postgresql://user:password@host:5432/litellm"
ESCAPE = "postgres_url contains a '/', '@', '%' or space that is not escaped"
PASSWORD = "postgres_url must have its password before the host"
SERVICE = "postgres_url has a password, but psql would use"
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
        ("postgresql://u:p\tw0rd@db/litellm", "postgresql://u@db/litellm", "p\tw0rd"),
        ("postgresql://u:p+w0rd@db/litellm", "postgresql://u@db/litellm", "p+w0rd"),
        # Escaped characters.
        ("postgresql://us%40er:p%2Fw%400rd%25@db/l", "postgresql://us%40er@db/l", "p/w@0rd%"),
        ("postgresql://u:p%C3%A4ss@db/l", "postgresql://u@db/l", "päss"),
        ("postgresql://u:päss@db/l", "postgresql://u@db/l", "päss"),
        ("postgresql://u:p%2525@db/l", "postgresql://u@db/l", "p%25"),
        ("postgresql://u:%20p%20w@db/l", "postgresql://u@db/l", " p w"),
        # White space around the URL, which a file or a vault may add.
        ("\n postgresql://u:p-w0rd@db/litellm \r\n", "postgresql://u@db/litellm", "p-w0rd"),
        ("postgresql://u:p-w0rd@db/l?ssl%6Dode=require&", "postgresql://u@db/l?ssl%6Dode=require&", "p-w0rd"),
        # Parameters whose names or values are similar to a password.
        (
            "postgresql://u@db?require_auth=password&passfile=/a",
            "postgresql://u@db?require_auth=password&passfile=/a",
            "",
        ),
        ("postgresql://u@db?service=litellm", "postgresql://u@db?service=litellm", ""),
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
        # PostgreSQL 18 and later drop white space or refuse it, in a message that quotes the password.
        ("postgresql://u:p w0rd@db/litellm", ESCAPE),
        ("postgresql://u: p-w0rd@db/litellm", ESCAPE),
        ("postgresql://u:p-w0rd @db/litellm", ESCAPE),
        ("postgresql:// u:p-w0rd@db/litellm", ESCAPE),
        # libpq would prefer the password of the service.
        ("postgresql://u:p-w0rd@db/litellm?service=x", SERVICE),
        ("postgresql://u:p-w0rd@db/litellm?%73ervice=x", SERVICE),
        # Passwords as parameters, in every spelling that libpq reads.
        ("postgresql://db/litellm?user=u&password=p-w0rd", PASSWORD),
        ("postgresql://db/litellm?passwor%64=p-w0rd", PASSWORD),
        ("postgresql://db/litellm?%70%61%73%73%77%6F%72%64=p-w0rd", PASSWORD),
        ("postgresql://db?password=p-w0rd", PASSWORD),
        ("postgresql://?host=db&password=p-w0rd", PASSWORD),
        ("postgresql://u:other@db/litellm?sslmode=require&password=p-w0rd", PASSWORD),
        ("postgresql:///?password=p-w0rd", PASSWORD),
        ("postgresql://db/litellm? password=p-w0rd", PASSWORD),
        ("postgresql://db/litellm?%20password=p-w0rd", PASSWORD),
        ("postgresql://db/litellm?Password=p-w0rd", PASSWORD),
        # Passwords that libpq would take for a part of the host, of the name of the database or of a parameter.
        ("postgresql://db&password=p-w0rd/litellm", PASSWORD),
        ("postgresql://db/litellm&password=p-w0rd", PASSWORD),
        ("postgresql://db/litellm;Password=p-w0rd", PASSWORD),
        ("postgresql://db/litellm?dbname=password%3Dp-w0rd", PASSWORD),
        ("postgresql://db/litellm?dbname=user=u%20password%20%3D%20p-w0rd", PASSWORD),
        # Parameters with other secrets, and misspelled ones, which libpq refuses only after other users can see them.
        ("postgresql://db/litellm?sslpassword=p-w0rd", PARAMETER),
        ("postgresql://db/litellm?sslpasswor%64=p-w0rd", PARAMETER),
        ("postgresql://db/litellm?oauth_client_secret=p-w0rd", PARAMETER),
        ("postgresql://db/litellm?scram_client_key=p-w0rd", PARAMETER),
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


Parameters = dict[bytes, bytes]


class Libpq:
    """PostgreSQL's library for clients."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._library.PQconninfoParse.restype = ctypes.POINTER(_Parameter)
        self._library.PQconninfoParse.argtypes = (ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p))
        self._library.PQconndefaults.restype = ctypes.POINTER(_Parameter)
        self._library.PQconninfoFree.argtypes = (ctypes.POINTER(_Parameter),)
        self.release = self._library.PQlibVersion() // 10_000

    def parse(self, url: str) -> Parameters | None:
        """Return the parameters that libpq reads from a URL; None if it refuses it."""
        found = self._library.PQconninfoParse(url.encode(), ctypes.byref(ctypes.c_char_p()))
        return {name: value for name, value, _kind in self._listed(found) if value is not None} if found else None

    def secret_parameters(self) -> set[str]:
        """Return the names of the parameters whose values must not be displayed."""
        found = self._library.PQconndefaults()
        return {name.decode() for name, _value, kind in self._listed(found) if kind == b"*"}

    def _listed(self, found: Any) -> list[tuple[bytes, bytes | None, bytes]]:
        listed = [(entry.keyword, entry.val, entry.dispchar) for entry in itertools.takewhile(_has_name, found)]
        self._library.PQconninfoFree(found)
        return listed


def _has_name(entry: _Parameter) -> bool:
    return bool(entry.keyword)


def installed_releases() -> list[Libpq]:
    """Return the library of the system, and those in the packages of the sandbox."""
    packages = Path(__file__).parents[5] / ".cache" / "sandbox" / "releases"
    paths = [ctypes.util.find_library("pq"), *packages.glob("*/venv/lib/python*/site-packages/*.libs/libpq-*.so*")]
    found = []
    for path in filter(None, paths):
        with contextlib.suppress(OSError):  # one of its own libraries may be missing
            found.append(Libpq(str(path)))
    return list({libpq.release: libpq for libpq in found}.values())


LIBPQ = installed_releases()
each_libpq = pytest.mark.parametrize(
    "libpq",
    LIBPQ or [pytest.param(None, marks=pytest.mark.skip("needs libpq, the library of PostgreSQL"))],
    ids=lambda libpq: f"libpq {libpq.release}" if libpq else "libpq",
)
PIECES = st.sampled_from(
    [
        *"u12:/@?#%&=[], ;",
        "p-w0rd",
        "db",
        "%2F",
        "%64",
        "%40",
        "%20",
        "passwor",
        "password=",
        "host=",
        "user=",
        "service=",
    ]
)


@each_libpq
@given(st.lists(PIECES, max_size=12).map("".join))
@example("u:p#w0rd@db/l?sslmode=require")
@example("u:p?w0rd@db:1/l?user=x")
@example("a:1,[::1]:2/l")
@example("u:@db")
@example("@db")
@example(":@")
@example("u:p w@db")
@example("u: p@db")
@example("db? password=x")
def test_every_url_is_read_as_libpq_reads_it_or_refused(libpq: Libpq, text: str) -> None:
    url = f"postgresql://{text}"
    try:
        split = split_password(url)
    except OptionError:
        return
    expected = libpq.parse(url.rstrip())
    if expected is None:
        return  # libpq reports what is wrong, from a URL without a password
    password = expected.pop(b"password", b"")
    assert os.fsencode(split.password) == password
    assert libpq.parse(split.url) == expected


@each_libpq
@given(st.binary().map(lambda text: text.replace(b"\0", b"")))
def test_every_password_can_be_escaped(libpq: Libpq, password: bytes) -> None:
    # Some characters in it need no escape.
    url = f"postgresql://u:{quote(password, safe='#?&=:;[]')}@db/litellm"
    assert os.fsencode(split_password(url).password) == password
    assert (libpq.parse(url) or {}).get(b"password", b"") == password


@each_libpq
def test_every_parameter_with_a_secret_is_refused(libpq: Libpq) -> None:
    """A new release of PostgreSQL may have another one."""
    secrets = libpq.secret_parameters()
    assert "password" in secrets
    for name in secrets:
        for spelling in (name, f"%{ord(name[0]):02x}{name[1:]}"):
            with pytest.raises(OptionError):
                split_password(f"postgresql://u@db/litellm?{spelling}=p-w0rd")
