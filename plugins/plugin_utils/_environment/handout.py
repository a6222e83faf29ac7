# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page to print for the users of a lab environment: a card for each, with the key, a QR code, and how to try it.

Names of users and models are untrusted input. The template escapes every value, and the content security policy of the
page allows no script and no external resources.

The last line of the page is a hash of the rest, so that a page that somebody has edited is not overwritten.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from .._keys.durations import InstantError, parse_instant
from .._keys.secrets import Secret
from .._text import printable

_TEMPLATE = Path(__file__).with_name("handout.html.j2")
_IDS = re.compile(r'^<meta name="rhpds\.litellm_virtual_keys" content="([0-9a-f ]*)">$', re.MULTILINE)
_HASH = re.compile(r"<!-- sha256 ([0-9a-f]{64}) -->\n\Z")
# The light border of a QR code, in modules, without which scanners do not find it.
_QUIET_ZONE = 4
# LiteLLM's names for sets of models, and patterns, are no names to send a request to.
_NO_MODEL = re.compile(r"\*|\A(all-team-models|all-proxy-models|no-default-models)\Z")


def page_of_keys(keys: Iterable[Mapping[str, Any]], base_url: str, guid: str) -> str:
    """Return the page.

    :param keys: entries of a result, or saved records in that form; those whose secret is not known are left out.
    """
    cards = [_card(key, base_url, guid) for key in keys if key["key"]]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        guid=printable(guid),
        endpoint=base_url,
        cards=cards,
        key_ids=" ".join(card["key_id"] for card in cards),
    )
    return f"{page.rstrip()}\n<!-- sha256 {_hash(page.rstrip())} -->\n"


def key_ids_in_page(text: str) -> set[str] | None:
    """Return the ids of the keys on a page; None if it is not such a page, or was edited."""
    seal, ids = _HASH.search(text), _IDS.search(text)
    if not seal or not ids or _hash(text[: seal.start()].removesuffix("\n")) != seal[1]:
        return None
    return set(ids[1].split())


def commands(base_url: str, secret: str, models: Sequence[str]) -> list[str]:
    """Return lines for a shell that try a key in three steps: set both variables, list the models, send a request.

    The key has a line of its own, so that it is not broken where the page is narrow.
    """
    model = next((name for name in models if not _NO_MODEL.search(name)), "MODEL")
    request = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello!"}]})
    curl = 'curl -H "Authorization: Bearer $OPENAI_API_KEY"'
    return [
        f"export OPENAI_BASE_URL={shlex.quote(base_url)}",
        f"export OPENAI_API_KEY={shlex.quote(secret)}",
        f'{curl} "$OPENAI_BASE_URL/models"',
        f'{curl} -H "Content-Type: application/json" "$OPENAI_BASE_URL/chat/completions" -d {shlex.quote(request)}',
    ]


def qr_text(base_url: str, secret: str) -> str:
    """Return the content of a QR code: the lines of an environment file, which can be pasted anywhere."""
    return f"OPENAI_BASE_URL={base_url}\nOPENAI_API_KEY={secret}\n"


def path_of(matrix: Iterable[Sequence[int]]) -> str:
    """Return the path of an SVG image that fills the dark modules of a QR code, each of which is 1 wide."""
    parts = []
    for y, row in enumerate(matrix):
        x = 0
        for is_dark, run in itertools.groupby(row):
            length = len(list(run))
            if is_dark:
                parts.append(f"M{x + _QUIET_ZONE} {y + _QUIET_ZONE}h{length}v1h-{length}z")
            x += length
    return "".join(parts)


def _card(key: Mapping[str, Any], base_url: str, guid: str) -> dict[str, Any]:
    import segno

    models = [str(model) for model in key["models"] or ()]
    # Without a correction level that depends on the free space, keys of the same length have codes of the same size.
    code = segno.make(qr_text(base_url, key["key"]), micro=False, error="m", boost_error=False)
    return {
        "user": printable(str(key.get("user") or guid or key["key_alias"])),
        "key": key["key"],
        "key_id": Secret(key["key"], "given").key_id,
        "models": [printable(model) for model in models],
        "end": _end(key["expires"]),
        "commands": commands(base_url, key["key"], models),
        "size": code.symbol_size(border=_QUIET_ZONE)[0],
        "path": path_of(code.matrix),
    }


def _end(expires: Any) -> str:
    if expires is None:
        return "never"
    try:
        return f"{parse_instant(expires):%Y-%m-%d %H:%M} UTC"
    except InstantError:
        return printable(str(expires))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
