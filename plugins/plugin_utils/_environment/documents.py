# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parse and format YAML documents of limited size, however they were written.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

# libyaml, if PyYAML has it: ten times as fast, which matters with many users.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

MAX_BYTES = 16 << 20  # the user data of thousands of users
MAX_DEPTH = 50
# Values and collections, those that an alias repeats included.
MAX_NODES = 2_000_000
# Python needs quadratic time to read a number.
MAX_DIGITS = 1000
_NUMBER = re.compile(r"[-+]?[0-9][0-9a-fA-FxXob_:.]*")


class DocumentError(ValueError):
    """Text is not a YAML document that can be used. The message completes "The file ..."."""


def parse(content: bytes) -> Any:
    """Return the value of a document; None if it is empty.

    :raises DocumentError: if it is no valid document, or a too large one. Never quotes it, because it contains secrets.
    """
    try:
        text = content.decode("utf-8")
        _check(text)
        return yaml.load(text, Loader=_Loader)
    except DocumentError:
        raise
    # For example, a date that does not exist is a ValueError.
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, AttributeError, RecursionError):
        raise DocumentError("is not valid YAML; repair it or move it away") from None


def format_document(value: Any) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, explicit_start=True))


def format_list(lines: list[Any]) -> str:
    return str(yaml.dump(lines, Dumper=_Dumper))


def _check(text: str) -> None:
    """Check that a document is neither deep, nor large once its aliases are expanded, nor part of itself.

    :raises DocumentError: if it is.
    """
    sizes: dict[str | None, int] = {}  # by anchor, of the collections that are complete
    parents: list[tuple[str | None, int]] = []  # the anchors of the collections around, and the nodes before each
    nodes = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            if any(event.anchor == anchor for anchor, _before in parents):
                raise DocumentError("contains an alias of a part that contains the alias; repair it or move it away")
            nodes += sizes.get(event.anchor, 0)  # the loader refuses an alias of nothing
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            if event.anchor:
                sizes[event.anchor] = 1
            if event.implicit[0] and len(event.value) > MAX_DIGITS and _NUMBER.fullmatch(event.value):
                raise DocumentError(f"contains a number of more than {MAX_DIGITS} digits; repair it or move it away")
        elif isinstance(event, yaml.CollectionStartEvent):
            parents.append((event.anchor, nodes))
            sizes.pop(event.anchor, None)
            nodes += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = parents.pop()
            if anchor:
                sizes[anchor] = nodes - before
        if len(parents) > MAX_DEPTH:
            raise DocumentError(f"is nested more than {MAX_DEPTH} levels deep; repair it or move it away")
        if nodes > MAX_NODES:
            raise DocumentError(f"has more than {MAX_NODES} values; repair it or move it away")
