# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page to print: a card for each key, names as text only, the QR code of the key, lines that a shell can run."""

from __future__ import annotations

import json
import shlex
from html.parser import HTMLParser
from typing import Any

import pytest
import segno
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.handout import (
    commands,
    key_ids_in_page,
    page_of_keys,
    path_of,
    qr_text,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._reports.test_page import HOSTILE

URL = "https://proxy.example.com/v1"
SECRET = "sk-the-secret-of-somebody"


def key(user: str | None = None, **more: Any) -> dict[str, Any]:
    common = {"key": SECRET, "key_alias": "virtkey-abc", "models": ["a", "b"], "expires": "2026-12-24T18:00:59Z"}
    return {"user": user, **common, **more}


class Page(HTMLParser):
    """The page as a browser parses it: its elements with their attributes, and the texts of each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.tag = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.tag = tag

    def handle_data(self, data):
        if data.strip():
            self.texts.setdefault(self.tag, []).append(data)


@pytest.mark.parametrize(
    ("one", "title", "models", "end"),
    [
        (key("ann"), "ann", "a, b", "2026-12-24 18:00 UTC"),
        (key(models=None, expires=None), "abc", "all models of the endpoint", "never"),
        (key(expires="soon\x1b[2J"), "abc", "a, b", "soon\\x1b[2J"),
    ],
)
def test_a_card_says_what_its_user_needs(one: dict[str, Any], title: str, models: str, end: str) -> None:
    page = Page(page_of_keys([one, key("lost", key=None)], URL, "abc"))
    assert page.texts["h2"] == [title]
    assert page.texts["dt"] == ["Endpoint", "Key", "Models", "Ends"]
    assert page.texts["dd"] == [URL, models, end]
    assert page.texts["code"] == [SECRET, *commands(URL, SECRET, one["models"] or ())]


def test_the_page_loads_nothing_runs_nothing_and_stays_the_same() -> None:
    text = page_of_keys([key("ann"), key("bob")], URL, "abc")
    page = Page(text)
    assert text == page_of_keys([key("ann"), key("bob")], URL, "abc")
    assert {"script", "link", "img", "iframe", "form"}.isdisjoint(tag for tag, _attributes in page.elements)
    assert not any(name in attributes for _tag, attributes in page.elements for name in ("src", "href", "onload"))
    (policy,) = (one["content"] for _tag, one in page.elements if "http-equiv" in one)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    assert "url(" not in text
    assert "@import" not in text


@pytest.mark.parametrize("text", HOSTILE)
def test_names_are_text(text: str) -> None:
    page = Page(page_of_keys([key(text, models=[text])], URL, text))
    plain = Page(page_of_keys([key("ann", models=["m"])], URL, "abc"))
    names = [(tag, sorted(attributes)) for tag, attributes in page.elements]
    assert names == [(tag, sorted(attributes)) for tag, attributes in plain.elements]
    assert len(page.texts["h2"]) == 1


@pytest.mark.parametrize("name", [*HOSTILE, "it's", 'a "b" $HOME `id` \\', "$(reboot)", "é\n"])
def test_the_lines_are_commands_for_a_shell(name: str) -> None:
    name = name.replace("*", "x")  # a pattern is no name
    *exports, models, request = commands(URL, SECRET, ["openai/*", name])
    assert exports == [f"export OPENAI_BASE_URL={URL}", f"export OPENAI_API_KEY={SECRET}"]
    assert "\n" not in models + request
    *_options, data = shlex.split(request)
    assert json.loads(data)["model"] == name


@pytest.mark.parametrize("models", [[], ["*"], ["openai/*", "all-team-models"]])
def test_without_the_name_of_a_model_there_is_a_placeholder(models: list[str]) -> None:
    assert '"model": "MODEL"' in commands(URL, SECRET, models)[-1]


def test_the_code_is_that_of_the_endpoint_and_the_key() -> None:
    (drawn,) = (one["d"] for tag, one in Page(page_of_keys([key()], URL, "abc")).elements if tag == "path")
    code = segno.make(qr_text(URL, SECRET), micro=False, error="m", boost_error=False)
    modules = {(x + 4, y + 4) for y, row in enumerate(code.matrix) for x, is_dark in enumerate(row) if is_dark}
    filled = set()
    for part in drawn.split("z")[:-1]:
        start, _h, shape = part.removeprefix("M").partition("h")
        x, y = map(int, start.split())
        length = int(shape.partition("v")[0])
        assert shape == f"{length}v1h-{length}"
        filled |= {(x + step, y) for step in range(length)}
    assert filled == modules
    assert path_of([[1, 1, 0, 1], [0, 0, 0, 0]]) == "M4 4h2v1h-2zM7 4h1v1h-1z"


def test_the_ids_of_the_keys_on_a_page_are_found_unless_it_was_edited() -> None:
    text = page_of_keys([key("ann"), key('<meta name="rhpds.litellm_virtual_keys" content="0">')], URL, "abc")
    found = key_ids_in_page(text)
    assert found
    assert len(found) == 1
    assert key_ids_in_page(page_of_keys([], URL, "abc")) == set()
    assert key_ids_in_page(text.replace(URL, "https://other.example.com/v1")) is None
    assert key_ids_in_page(text + "\n") is None
