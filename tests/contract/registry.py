# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find releases of LiteLLM on the package registry, and download their wheels."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

NEWEST = "newest"
ALL = "all"
_OLDEST_MINOR = 60
_FINAL = re.compile(r"[0-9]+(\.[0-9]+)*(\.post[0-9]+)?")
_PIP = (sys.executable, "-m", "pip")
# The source is the same for each platform and Python.
_OPTIONS = ("--disable-pip-version-check", "--only-binary=:all:", "--python-version=3.12")


def published() -> list[str]:
    """Return all versions on the registry that have a wheel, pre-releases included."""
    # `pip index versions` would also list versions without a wheel. There is no version below 0.
    with tempfile.TemporaryDirectory() as folder:
        command = [*_PIP, "download", "--no-deps", "--pre", *_OPTIONS, f"--dest={folder}", "litellm<0"]
        process = subprocess.run(command, check=False, capture_output=True, text=True)
    found = re.search(r"\(from versions: (.*[0-9].*)\)", process.stderr)
    if not found:
        raise SystemExit("Cannot list the releases of LiteLLM on the package registry. Check the network.")
    return found[1].split(", ")


def resolve(names: Sequence[str], versions: Sequence[str], skip: Callable[[str], object]) -> list[str]:
    """Return the versions that names stand for, each once, in the order of the names.

    :param names: versions such as 1.106.2; minors such as 1.106 for their newest final release; `newest`; `all` for
        the newest final release of each minor.
    :param versions: those on the registry.
    :param skip: called with a sentence about each minor that has no final release.
    :raises SystemExit: if a version is not on the registry.
    """
    finals = sorted(filter(_FINAL.fullmatch, versions), key=_numbers)
    newest_minor = _numbers(finals[-1])[1]
    each = [f"1.{minor}" for minor in range(_OLDEST_MINOR, newest_minor + 1)]
    found = []
    for name in [part for one in names for part in (each if one == ALL else [one])]:
        of_minor = [version for version in finals if version.startswith(f"{name}.")]
        if name == NEWEST:
            found.append(finals[-1])
        elif name in versions:
            found.append(name)
        elif of_minor:
            found.append(of_minor[-1])
        elif any(version.startswith(f"{name}.") for version in versions) or name in each:
            skip(f"LiteLLM {name} is skipped, because it has no final release.")
        else:
            raise SystemExit(
                f"LiteLLM {name} is not on the package registry. The newest final release is {finals[-1]}."
            )
    return list(dict.fromkeys(found))


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", version)]


@contextmanager
def wheel(version: str) -> Iterator[Path]:
    """Download the wheel of a version, without its dependencies, and remove it afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*_PIP, "download", "--quiet", "--no-deps", *_OPTIONS, f"--dest={folder}", f"litellm=={version}"]
        process = subprocess.run(command, check=False, capture_output=True, text=True)
        if process.returncode:
            reason = next((line for line in reversed(process.stderr.splitlines()) if line.startswith("ERROR: ")), "")
            raise SystemExit(f"Cannot download LiteLLM {version}. {reason.removeprefix('ERROR: ')}".strip())
        (path,) = Path(folder).glob("litellm-*.whl")
        yield path
