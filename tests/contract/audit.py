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
import subprocess
import sys
from pathlib import Path

import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.modules import litellm_key
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import KEPT_METADATA
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract import compare
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.package import Package
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.schema import Schema, from_json, read_schema, to_json
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.usage import Usage, usage

HERE = Path(__file__).parent.resolve()
CACHE = HERE.parents[1] / ".cache" / "contract"
OLDEST = "1.60.0"
NEWEST = "newest"
_REQUIRES = re.compile(r"This requires LiteLLM ([0-9.]+[0-9]) or later")


def main() -> int:
    """Print the comparison, and return 1 if the last release does not know what this collection sends or reads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", nargs="*", help="releases such as 1.106.2, or newest; the last two are compared")
    parser.add_argument("--all", action="store_true", help="every minor release from 1.60 on (an hour, 3 GB)")
    options = parser.parse_args()
    ours = usage()
    names = options.releases or (all_minors() if options.all else [OLDEST, *matrix_releases(), NEWEST])
    schemas = list({schema.version: schema for schema in (schema_of(name, ours) for name in names)}.values())
    print("\n".join(report(ours, schemas)))
    return 1 if problems(ours, schemas[-1]) or wrong_pages(schemas) else 0


def report(ours: Usage, schemas: list[Schema]) -> list[str]:
    """Return the lines of the report on some releases; the last two are compared."""
    last = schemas[-1]
    lines = ["What this collection sends or reads, and not all of these releases know", ""]
    table = compare.known_by(ours, schemas)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    if len(schemas) > 1:
        before = schemas[-2]
        found = compare.as_lines(compare.changes(ours, before, last))
        lines += ["", f"What changed for this collection from {before.version} to {last.version}", "", *found]
        lines += [] if found else ["nothing"]
    lines += ["", f"Fields of {last.version} that have no option (extra_params)", ""]
    lines += [f"{request}: {', '.join(names)}" for request, names in compare.without_option(ours, last).items()]
    if found := problems(ours, last):
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


def problems(ours: Usage, schema: Schema) -> list[str]:
    """Return what this collection does wrong with a release."""
    lost = compare.lost_metadata(schema, KEPT_METADATA)
    return [
        *(f"it does not know {one}" for one in compare.unknown(ours, schema)),
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


def all_minors() -> list[str]:
    """Return the newest release of each minor from 1.60 on."""
    newest = schema_version(download(NEWEST))
    return [f"1.{minor}" for minor in range(60, int(newest.split(".")[1]) + 1)]


def schema_of(release: str, ours: Usage) -> Schema:
    """Return the schema of a release, which is kept in .cache."""
    code = b"".join(path.read_bytes() for path in (HERE / "package.py", HERE / "schema.py"))
    key = hashlib.sha256(code + "".join(sorted(ours.sent)).encode()).hexdigest()[:10]
    saved = CACHE / f"{release}-{key}.json"
    if release == NEWEST or not saved.exists():
        wheel = download(release)
        version = schema_version(wheel)
        print(f"reading LiteLLM {version}", file=sys.stderr)
        saved = CACHE / f"{version if release == NEWEST else release}-{key}.json"
        if not saved.exists():
            saved.write_text(json.dumps(to_json(read_schema(Package(wheel), version, sorted(ours.sent)))))
        wheel.unlink()
    return from_json(json.loads(saved.read_text()))


def download(release: str) -> Path:
    """Download the wheel of a release, without its dependencies."""
    folder = CACHE / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.whl"):
        stale.unlink()
    specification = "litellm" if release == NEWEST else f"litellm=={release}"
    if release.count(".") == 1:
        specification += ".*"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # The source is the same for each platform and Python.
    command += ["--only-binary=:all:", "--python-version=3.12", f"--dest={folder}", specification]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"Cannot download {specification}. Check the number of the release, and the network.")
    (wheel,) = folder.glob("litellm-*.whl")
    return wheel


def schema_version(wheel: Path) -> str:
    """Return the version in the name of a wheel."""
    return re.split("-", wheel.name)[1]


if __name__ == "__main__":
    sys.exit(main())
