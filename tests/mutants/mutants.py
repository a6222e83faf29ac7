# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Change the pure core in one place at a time, and check that its unit tests fail.

A mutant is a copy of a module with one change, made by an operator of cosmic-ray: another comparison, a condition that
is negated, a number that is one off. A mutant that no test kills is a line whose effect no test checks, or it is
equivalent: then `equivalent.yml` says why.

Each mutant is tested in a forked process with only the unit tests of its module, because starting Python and importing
Ansible takes longer than these tests.
"""

from __future__ import annotations

import argparse
import ast
import collections
import difflib
import gc
import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / ".cache" / "mutants" / "collections"
COLLECTION = Path("ansible_collections", "rhpds", "litellm_virtual_keys")
EQUIVALENT = Path(__file__).with_name("equivalent.yml")
PACKAGES = Path("plugins", "plugin_utils")

# The modules, and the unit tests that must kill their mutants.
MODULES = {
    "_keys/request": ("_keys/test_request.py",),
    **{f"_keys/{name}": ("_keys/test_plan.py",) for name in ("plan", "replacement")},
    "_keys/durations": ("_keys/test_durations.py", "_keys/test_request.py"),
    **{
        f"_keys/{name}": tuple(f"_keys/test_{tests}.py" for tests in ("settings", "model", "plan", "request"))
        for name in ("settings", "setting_types", "values")
    },
    "_keys/lifetimes": ("_keys/test_lifetimes.py", "_keys/test_plan.py"),
    **{f"_reports/{name}": (f"_reports/test_{name}.py",) for name in ("guids", "report", "table", "page")},
    "_reports/sweep": ("_reports/test_sweep.py", "_reports/test_guids.py"),
    "_environment/request": ("_environment/test_request.py",),
    "_environment/desired": ("_environment/test_request.py",),
}
# Of the operators that replace one comparison or calculation by another, one or two for each: the others are killed by
# the same tests.
REPLACEMENTS = (
    *("Eq_NotEq", "NotEq_Eq", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt"),
    *("Is_IsNot", "IsNot_Is", "In_NotIn", "NotIn_In"),
    *("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Div", "Mod_FloorDiv", "BitOr_BitAnd", "BitAnd_BitOr"),
)
OTHER_OPERATORS = (
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceUnaryOperator_Delete_Not", "ReplaceUnaryOperator_Delete_USub", "ReplaceBreakWithContinue"),
    *("ReplaceContinueWithBreak", "NumberReplacer", "RemoveDecorator", "ZeroIterationForLoop"),
)
TIMEOUT = 120  # seconds for the tests of one mutant
# Hypothesis draws the same examples for each mutant, and does not shrink the one that kills it.
PROFILE = "mutants"


class Mutant(NamedTuple):
    """A changed module, and the changed lines as a diff without context."""

    code: str
    change: str


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Yield the mutants of a module, without those that change only what mypy checks."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    code = path.read_text(encoding="utf-8")
    seen = {_at_run_time(code)}
    for name in operator_names():
        short = name.rpartition("/")[2]
        if short not in OTHER_OPERATORS and not short.endswith(tuple(f"Operator_{one}" for one in REPLACEMENTS)):
            continue
        operator, occurrence = get_operator(name)(), 0
        while (mutated := mutate_code(code, operator, occurrence)) is not None:
            occurrence += 1
            try:
                meaning = _at_run_time(mutated)
            except SyntaxError:  # `not` before an assignment expression
                continue
            if meaning not in seen:
                seen.add(meaning)
                yield Mutant(mutated, _change(code, mutated))


def _at_run_time(code: str) -> str:
    """Return the syntax tree without annotations, and without the marks `*` and `/` between parameters."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arguments):
            node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
            node.defaults += filter(None, node.kw_defaults)
            node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
    return ast.dump(tree)


def _change(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return "\n".join(f"{line[0]} {line[1:].strip()}" for line in list(lines)[2:] if not line.startswith("@@"))


def copy_tree() -> None:
    """Copy the collection: a mutant must never be seen by anything else."""
    shutil.rmtree(COPY, ignore_errors=True)
    listed = subprocess.run(
        ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "plugins", "tests", "meta", "*.yml"),
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, [*listed.stdout.split("\0"), "pyproject.toml"]):
        target = COPY / COLLECTION / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copyfile(ROOT / name, target)


def passes(tests: list[str]) -> bool:
    """Run unit tests in a forked process, and return whether they all pass."""
    process = os.fork()
    if process == 0:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        import pytest

        signal.alarm(TIMEOUT)  # ends the process: an endless loop counts as killed
        os._exit(pytest.main(["-x", "-q", f"--hypothesis-profile={PROFILE}", *tests]))
    return os.waitpid(process, 0)[1] == 0


def test_module(name: str) -> tuple[int, list[str]]:
    """Return the number of mutants of a module, and the changes of those that survive."""
    path = COPY / COLLECTION / PACKAGES / f"{name}.py"
    tests = [f"{COPY / COLLECTION}/tests/unit/plugins/plugin_utils/{one}" for one in MODULES[name]]
    original = path.read_text(encoding="utf-8")
    if not passes(tests):
        sys.exit(f"{name}: the tests fail without a mutant")
    mutants = list(mutants_of(path))
    survivors = []
    try:
        for number, mutant in enumerate(mutants, start=1):
            path.write_text(mutant.code, encoding="utf-8")
            if passes(tests):
                survivors.append(mutant.change)
            if number % 10 == 0:
                print(f"  {name}: {number} of {len(mutants)}, {len(survivors)} survive", flush=True)
    finally:
        path.write_text(original, encoding="utf-8")
    return len(mutants), survivors


def explained(name: str) -> collections.Counter[str]:
    """Return how many mutants with each change are equivalent according to `equivalent.yml`."""
    entries: list[dict[str, Any]] = (yaml.safe_load(EQUIVALENT.read_text(encoding="utf-8")) or {}).get(name, [])
    counts: collections.Counter[str] = collections.Counter()
    for entry in entries:
        for change in entry["changes"]:
            counts[change.strip()] += entry.get("times", 1)
    return counts


def main() -> None:
    """Test the mutants of the named modules, or of all, and exit with 1 if a survivor is not explained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"default: all of {', '.join(MODULES)}")
    names = parser.parse_args().modules or list(MODULES)
    if unknown := [name for name in names if name not in MODULES]:
        parser.error(f"unknown modules: {', '.join(unknown)}")
    copy_tree()
    os.chdir(COPY / COLLECTION)
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(COPY))
    os.environ["ANSIBLE_COLLECTIONS_PATH"] = str(COPY)
    import hypothesis
    from _pytest.config import default_plugins

    # Once, before the first fork.
    for name in ("ansible.template", "pytest_httpserver", "urllib3", *(f"_pytest.{one}" for one in default_plugins)):
        importlib.import_module(name)
    gc.freeze()

    hypothesis.settings.register_profile(
        PROFILE,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )
    is_bad = False
    for name in names:
        started = time.monotonic()
        count, survivors = test_module(name)
        open_survivors = list((collections.Counter(survivors) - explained(name)).elements())
        rate = 1 - len(survivors) / count
        is_bad |= bool(open_survivors)
        print(
            f"{name}: {count - len(survivors)} of {count} mutants killed ({rate:.1%}) "
            f"in {time.monotonic() - started:.0f} s; {len(survivors) - len(open_survivors)} survivors explained"
        )
        for change in open_survivors:
            print(f"  survives, without an explanation:\n    {change.replace(chr(10), chr(10) + '    ')}")
    sys.exit(int(is_bad))


if __name__ == "__main__":
    main()
