# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare what this collection sends and reads with the API of LiteLLM releases.

Without arguments: the releases that `make test-litellm-matrix` tests, and the newest one of the registry.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.modules import litellm_key
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.setting_types import (
    BOOLEAN_PERMISSIONS,
    ROUTER_KINDS,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import KEPT_METADATA
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.values import Kind
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract import compare
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.package import Package
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.registry import (
    ALL,
    NEWEST,
    published,
    resolve,
    wheel,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.schema import Schema, from_json, read_schema, to_json
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.usage import Usage, usage

HERE = Path(__file__).parent.resolve()
CACHE = HERE.parents[1] / ".cache" / "contract"
OLDEST = "1.60.0"
# The numbers and booleans in dictionaries that this collection converts from text.
_CONVERTED: dict[str, Kind] = {
    **{f"router_settings.{name}": kind for name, kind in ROUTER_KINDS.items()},
    **{f"object_permission.{name}": "bool" for name in BOOLEAN_PERMISSIONS},
}
# Modules that do not change what is read from a release.
_WITHOUT_EFFECT = ("audit.py", "compare.py", "json_types.py", "registry.py", "usage.py")
_REQUIRES = re.compile(r"This requires LiteLLM ([0-9.]+[0-9]) or later")


def main() -> int:
    """Print the comparison, and return 1 if the last release does not know what this collection sends or reads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", nargs="*", help="releases such as 1.106.2, or newest; the last two are compared")
    parser.add_argument(
        "--all", action="store_true", help="the newest final release of each minor (5 to 20 minutes, 2 GB)"
    )
    options = parser.parse_args()
    if options.all and options.releases:
        parser.error(f"--all stands for all releases; remove either it or {' '.join(options.releases)}")
    ours = usage()
    names = options.releases or ([ALL] if options.all else [OLDEST, *matrix_releases(), NEWEST])
    schemas = schemas_of(names, ours)
    if not schemas:
        return 0
    print("\n".join(report(ours, schemas)))
    return 1 if problems(ours, *schemas[-2:]) or wrong_pages(schemas) else 0


def report(ours: Usage, schemas: list[Schema]) -> list[str]:
    """Return the lines of the report on some releases; the last two are compared."""
    last = schemas[-1]
    table = compare.known_by(ours, schemas)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    lines = [f"Compared: {', '.join(schema.version for schema in schemas)}"]
    if len(rows) > 1:
        lines += ["", "What this collection sends or reads, and not all of these releases know", "", *rows]
    if len(schemas) > 1:
        before = schemas[-2]
        found = compare.as_lines(compare.changes(ours, before, last))
        lines += ["", f"What changed for this collection from {before.version} to {last.version}", "", *found]
        lines += [] if found else ["nothing"]
    lines += ["", f"Fields of {last.version} that have no option (extra_params)", ""]
    lines += [f"{request}: {', '.join(names)}" for request, names in compare.without_option(ours, last).items()]
    if found := compare.undeclared(ours, last):
        lines += ["", f"Fields of responses whose types {last.version} does not declare", "", *found]
    if found := problems(ours, *schemas[-2:]):
        lines += ["", f"Problems with {last.version}", "", *found]
    if found := wrong_pages(schemas):
        lines += ["", "Problems with the documentation", "", *found]
    return lines


def wrong_pages(schemas: list[Schema]) -> list[str]:
    """Return what the documentation of litellm_key says wrongly about releases."""
    options = yaml.safe_load(litellm_key.DOCUMENTATION)["options"]
    matches = {name: _REQUIRES.search(str(option["description"])) for name, option in options.items()}
    first_releases = {name: match[1] for name, match in matches.items() if match}
    return [line for schema in schemas for line in compare.misdocumented(schema, first_releases)]


def problems(ours: Usage, *schemas: Schema) -> list[str]:
    """Return what this collection does wrong with the last of some releases, and what cannot be compared any more."""
    *earlier, schema = schemas
    lost = compare.lost_metadata(schema, KEPT_METADATA)
    return [
        *(f"it does not know {one}" for one in compare.unknown(ours, schema)),
        *compare.mistyped(ours, schema),
        *(line for one in earlier for line in compare.undeclared_since(ours, one, schema)),
        *compare.unconverted(schema, _CONVERTED),
        *(f"unset: [metadata] would remove {one}; add it to KEPT_METADATA" for one in lost),
    ]


def matrix_releases() -> list[str]:
    """Return the releases that tests/proxies tests by default."""
    tree = ast.parse((HERE.parent / "proxies" / "conftest.py").read_text(encoding="utf-8"))
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["RELEASES"]
    )
    listed = ast.literal_eval(value)
    return listed.split(",") if isinstance(listed, str) else list(listed)


def schemas_of(names: list[str], ours: Usage) -> list[Schema]:
    """Return the schemas of releases, which are kept in .cache."""
    code = b"".join(path.read_bytes() for path in sorted(HERE.glob("*.py")) if path.name not in _WITHOUT_EFFECT)
    reads = {request: sorted(paths) for request, paths in ours.responses.items()}
    key = hashlib.sha256(code + json.dumps(reads, sort_keys=True).encode()).hexdigest()[:10]
    # A version never changes, but names like `newest` can mean another version tomorrow.
    saved = {name: read_saved(CACHE / f"{name}-{key}.json", name, reads) for name in names}
    versions = [name for name in names if saved[name]]
    if len(versions) < len(names):
        versions = resolve(names, published(), lambda text: print(text, file=sys.stderr))
    schemas = []
    for version in versions:
        file = CACHE / f"{version}-{key}.json"
        schema = saved.get(version) or read_saved(file, version, reads)
        if schema is None:
            print(f"Reading LiteLLM {version}.", file=sys.stderr)
            with wheel(version) as path:
                schema = read_schema(Package(path), version, reads)
            save(file, schema)
        schemas.append(schema)
    return schemas


def read_saved(file: Path, version: str, requests: Collection[str]) -> Schema | None:
    """Return the saved schema of a version with these requests; None if there is none, or if the file is damaged."""
    try:
        schema = from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return schema if schema.version == version and schema.routes.keys() == set(requests) else None


def save(file: Path, schema: Schema) -> None:
    """Save a schema. Another process never reads a part of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        new = Path(folder, file.name)
        new.write_text(json.dumps(to_json(schema)), encoding="utf-8")
        new.replace(file)


if __name__ == "__main__":
    sys.exit(main())
