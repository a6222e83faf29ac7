# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Define the nox sessions behind `make test` and the other targets. The Makefile installs nox.

Run one session with `.cache/venv/bin/nox -s unit-2.16`, and list all with `--list`. Arguments after `--` are passed to
the tool. The targets lint, unit, sanity and integration are tags.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import antsibull_nox
import nox
from nox.command import CommandFailed

ROOT = Path(__file__).parent
CACHE = ROOT / ".cache"
COLLECTIONS = CACHE / "collections"
COLLECTION = Path("ansible_collections", "rhpds", "litellm_virtual_keys")
FOR_PYTEST = {
    "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
    "FAILED_TESTS": str(CACHE / "failed-tests"),
    "HYPOTHESIS_STORAGE_DIRECTORY": str(CACHE / "hypothesis"),
    "PYTHONPATH": str(COLLECTIONS),
}
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")

# ansible-core → the minor versions of Python 3 that both the controller and ansible-test support.
CORES = {
    "2.16": range(10, 13),
    "2.17": range(10, 13),
    "2.18": range(11, 14),
    "2.19": range(11, 14),
    "2.20": range(12, 15),
    "2.21": range(12, 15),
    "2.22": range(13, 16),
}
# The test tools need Python 3.11, so older Pythons are tested with ansible-test only.
OURS, OLDER = range(11, 16), range(10, 11)
# The defaults: the ansible-core of the tools in pyproject.toml, and the oldest supported one.
CORE, OLDEST_CORE = "2.19", "2.16"
# Not released yet: `make test-matrix` reports its failures, but does not fail because of them.
NEXT_CORE = "2.22"

nox.options.allow_parallel = True  # tests that share the proxy use unique names
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.envdir = str(CACHE / "nox")
nox.options.error_on_external_run = True
nox.options.reuse_venv = "yes"

# To run sessions in parallel, nox starts new nox processes, each of which loads this file.
RUN = os.environ.setdefault("NOX_RUN", str(os.getpid()))
IS_FIRST = str(os.getpid()) == RUN
SANDBOX = f"test-{RUN}"

# Let uv trust the certificate authorities of the system, as pip and git do.
os.environ.setdefault("UV_SYSTEM_CERTS", "1")

# The shims of pyenv fail for versions that are not active, so add the interpreters themselves to PATH.
os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *map(str, Path.home().glob(".pyenv/versions/3.1?.*/bin"))])


def create_private(file: Path) -> None:
    """Create a file that only its owner can read, because output of tests can contain keys."""
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)


if IS_FIRST:
    # Exit normally on SIGTERM, so that the atexit handlers run.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))

    # Through this link, Ansible, Python and the linters find the repository as an installed collection.
    (COLLECTIONS / COLLECTION).parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (COLLECTIONS / COLLECTION).symlink_to(Path("..", "..", "..", ".."))

    create_private(Path(FOR_PYTEST["FAILED_TESTS"]))

if any(character.isspace() for character in str(ROOT)):
    # ansible-test fails if the path of its Python contains a space.
    nox.options.envdir = os.environ.setdefault("NOX_ENVDIR", tempfile.mkdtemp() if IS_FIRST else "")
    if IS_FIRST:
        atexit.register(shutil.rmtree, nox.options.envdir, ignore_errors=True)


# JSON schema → the files in .github that it validates.
GITHUB_FILES = {
    "dependabot": "dependabot.yml",
    "github-issue-config": "ISSUE_TEMPLATE/config.yml",
    "github-issue-forms": "ISSUE_TEMPLATE/*_*.yml",
    "github-workflows": "workflows/*.yml",
}

Part = Callable[[nox.Session, str], None]


def session_per_core(
    *default: str, tag: str, requires: tuple[str, ...] = (), pythons: range = range(0)
) -> Callable[[Part], Part]:
    """Register a session for each ansible-core.

    `make test-matrix` runs all of them. For an ansible-core that supports some of `pythons`, it runs a separate session
    on each of these.

    :param default: the ansible-cores whose sessions run by default, and with the tag.
    """

    def register(part: Part) -> Part:
        for core, supported in sorted(CORES.items(), key=lambda entry: entry[0] != CORE):  # CORE, then the others

            def session(session: nox.Session, core: str = core) -> None:
                part(session, core)

            session.__doc__ = part.__doc__
            name = f"{part.__name__}-{core}"
            matrix = "next" if core == NEXT_CORE else "matrix"
            each = [minor for minor in supported if minor in pythons]
            nox.session(
                python=f">=3.{max(supported.start, OURS.start)},<3.{supported.stop}",
                name=name,
                tags=[*([tag] if core in default else []), *([] if each else [matrix])],
                default=core in default,
                requires=requires,
            )(session)
            for minor in each:
                nox.session(
                    python=f"3.{minor}", name=f"{name}-py3.{minor}", tags=[matrix], default=False, requires=requires
                )(session)
        return part

    return register


def install(session: nox.Session, *groups: str, core: str = CORE) -> None:
    """Install groups of pyproject.toml with an ansible-core. The oldest one is tested with the oldest urllib3."""
    urllib3 = "urllib3~=1.26.0" if core == OLDEST_CORE else "urllib3>=1.26"
    release = f"{core}.0a1" if core == NEXT_CORE else f"{core}.0"
    session.install(f"ansible-core~={release}", urllib3, *nox.project.dependency_groups(PYPROJECT, *groups))


def copy_of_tree(session: nox.Session) -> Path:
    """Copy all files that git does not ignore to a collection root. ansible-test does not accept a symbolic link."""
    copy = CACHE / session.name / COLLECTION
    shutil.rmtree(copy, ignore_errors=True)
    listed = session.run(
        *("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"), external=True, silent=True, log=False
    )
    for path in filter(os.path.lexists, str(listed).split("\0")):
        target = copy / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)
    # Without its own repository, ansible-test would use the surrounding one, which ignores the copy.
    session.run("git", "init", "-q", str(copy), external=True, log=False)
    return copy


def users_pip_settings() -> str:
    """Return a pip.conf with the pip settings of the user, because ansible-test does not pass them on to pip."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    found = [line.split("=", 1) for line in listed.stdout.splitlines()]
    found.sort(key=lambda setting: setting[0].startswith(":env:"))  # the environment has precedence
    settings = {name.split(".")[-1]: " ".join(ast.literal_eval(value).split()) for name, value in found}
    settings["quiet"] = "2"  # errors only
    return "\n".join(["[global]", *(f"{name} = {value}" for name, value in settings.items()), ""])


def ansible_test(session: nox.Session, copy: Path, *arguments: str) -> None:
    """Run ansible-test in the copy, with a separate home directory, and with pip from Python instead of a download."""
    home = CACHE / session.name / "home"
    downloads = home / ".ansible" / "test" / "cache"
    downloads.mkdir(parents=True, exist_ok=True)
    for version in ("23_1_2", "24_2", "25_2"):  # ansible-core 2.16 and 2.17; 2.18 and 2.19; 2.20 to 2.22
        shutil.copy(ROOT / "tests" / "get_pip.py", downloads / f"get_pip_{version}.py")
    pip_settings = home / ".config" / "pip" / "pip.conf"
    pip_settings.parent.mkdir(parents=True, exist_ok=True)
    pip_settings.write_text(users_pip_settings())
    python = session.run("python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])", silent=True, log=False)
    with session.chdir(copy):
        session.run(*("ansible-test", *arguments, "--local", "--python", str(python).strip()), env={"HOME": str(home)})


def proxy_environment() -> dict[str, str]:
    """Return the environment variables for the proxy of the tests: those of the caller, or those of the sandbox."""
    if "LITELLM_URL" in os.environ and "LITELLM_MASTER_KEY" in os.environ:
        names = ("LITELLM_URL", "LITELLM_MASTER_KEY", "DATABASE_URL")
        return {name: os.environ[name] for name in names if name in os.environ}
    lines = (CACHE / "sandbox" / "instances" / SANDBOX / "env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


# `make test` starts the sessions in the order of their definition, the longest ones first.


@nox.session(venv_backend="none")
def sandbox(session: nox.Session) -> None:
    """Start a LiteLLM proxy for the tests, unless LITELLM_URL and LITELLM_MASTER_KEY are set."""
    if "LITELLM_URL" in os.environ and "LITELLM_MASTER_KEY" in os.environ:
        session.log(f"using the proxy at {os.environ['LITELLM_URL']} from the environment")
        return
    program = (sys.executable, "tests/sandbox/sandbox.py")
    session.run(*program, "start", "--name", SANDBOX, "--port", "0")


@atexit.register
def list_failed_tests() -> None:
    """Repeat at the end which tests and tasks failed: the output of a test may be thousands of lines above."""
    if IS_FIRST and (failed := Path(FOR_PYTEST["FAILED_TESTS"]).read_text()):
        print(f"Failed tests:\n{failed}", end="", file=sys.stderr)


@atexit.register
def stop_sandbox() -> None:
    """Stop the sandbox at exit, and keep its logs until the next run."""
    instance = CACHE / "sandbox" / "instances" / SANDBOX
    if IS_FIRST and instance.exists():
        subprocess.run([sys.executable, "tests/sandbox/sandbox.py", "stop", "--name", SANDBOX], cwd=ROOT, check=True)
        logs = CACHE / "sandbox" / "last-test"
        shutil.rmtree(logs, ignore_errors=True)
        instance.rename(logs)
        instance.with_suffix(".lock").unlink(missing_ok=True)


@session_per_core(CORE, OLDEST_CORE, tag="integration", requires=("sandbox",))
def end_to_end(session: nox.Session, core: str) -> None:
    """Run Ansible as users do, against a real proxy, and check its output.

    All tests run with one ansible-core, and those that depend on its version with the others; the matrix runs all,
    unless it is quick.
    """
    install(session, "end_to_end", core=core)
    # Two processes, because each of them often waits for the proxy. The tests of a module share its runs of Ansible.
    parallel = ["--numprocesses=2", "--dist=loadfile"]
    tests = os.environ.get("TEST_MATRIX", "all" if core == CORE else "every_core")
    chosen = parallel if tests == "all" else ["-m", tests]
    session.run(
        *("pytest", *(session.posargs or [*chosen, "tests/end_to_end"])),
        env={**FOR_PYTEST, **proxy_environment()},
    )


def failed_tasks(log: str) -> list[str]:
    """Return the failed tasks in a log of Ansible, rescued ones included, with the beginnings of their results."""
    failed: list[str] = []
    task, before = "", 0
    for line in log.splitlines():
        text = line.partition("| ")[2]  # behind the time, the process and the user
        if text.startswith("TASK ["):
            task, before = text.rstrip("* "), len(failed)
        elif text.startswith(("fatal: ", "failed: ")):
            failed.append(f"{task} {text[:500]}")
        elif text.startswith("...ignoring"):
            del failed[before:]
    return failed


@session_per_core(CORE, OLDEST_CORE, tag="integration", requires=("sandbox",), pythons=OLDER)
def integration(session: nox.Session, core: str) -> None:
    """Run tests/integration/targets against a real proxy."""
    install(session, core=core)
    copy = copy_of_tree(session)
    config = copy / "tests" / "integration" / "integration_config.yml"
    config.touch(mode=0o600)
    config.write_text(json.dumps({name.lower(): value for name, value in proxy_environment().items()}))
    log = CACHE / session.name / "ansible.log"
    create_private(log)
    config.with_name("integration.cfg").write_text(f"[defaults]\nlog_path = {log}\n")
    try:
        ansible_test(session, copy, "integration", *session.posargs)
    except CommandFailed:
        with Path(FOR_PYTEST["FAILED_TESTS"]).open("a", encoding="utf-8") as failed:
            failed.writelines(f"  {session.name}: {task}\n" for task in failed_tasks(log.read_text()))
        raise


@session_per_core(CORE, tag="unit", pythons=OURS)
def unit(session: nox.Session, core: str) -> None:
    """Run the unit tests, which need no server."""
    install(session, "tests", core=core)
    session.run(
        *("pytest", "--cov=plugins", "--cov-report=term"),
        *(session.posargs or ["--cov-fail-under=90", "tests/unit"]),
        env={**FOR_PYTEST, "COVERAGE_FILE": str(CACHE / f"coverage-{session.name}")},
    )


@session_per_core(CORE, tag="sanity", pythons=OLDER)
def sanity(session: nox.Session, core: str) -> None:
    """Run ansible-test sanity, without an ignore file."""
    install(session, "sanity", core=core)
    # ansible-core 2.22.0rc1 requires a commit of dill from GitHub, which only Python 3.15 needs.
    for requirements in Path(session.virtualenv.location).glob(
        "lib/*/*/ansible_test/_data/requirements/sanity.pylint.txt"
    ):
        text = re.sub(r"^dill @ https:.*", "dill", requirements.read_text(), flags=re.MULTILINE)
        requirements.unlink()  # it may be a hard link to the cache of uv
        requirements.write_text(text)
    ansible_test(session, copy_of_tree(session), "sanity", *session.posargs)


@session_per_core(tag="demonstration")
def demo(session: nox.Session, core: str) -> None:
    """Run the demo, which starts its own proxy."""
    install(session, core=core)
    session.run("python", "tests/demo/demo.py")


@nox.session
def simulation(session: nox.Session) -> None:
    """Run tests/simulation: found histories of concurrent controllers, and 2000 random ones."""
    install(session, "tests")
    session.run(*("pytest", *(session.posargs or ["tests/simulation"])), env=FOR_PYTEST)


@nox.session(tags=["lint"])
def lint(session: nox.Session) -> None:
    """Run the linters: Python, types, YAML, roles, changelog, documentation."""
    install(session, "lint")
    collection = COLLECTIONS.relative_to(ROOT) / COLLECTION
    commands = (
        ("ruff", "check"),
        ("ruff", "format", "--check"),
        ("mypy", f"{collection}/plugins", f"{collection}/tests", "tests/sandbox", "noxfile.py"),
        ("ansible-lint", "--profile", "production", "--offline", *(() if sys.stdout.isatty() else ("--nocolor",))),
        ("antsibull-changelog", "lint"),
        *(
            ("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, (ROOT / ".github").glob(files)))
            for schema, files in GITHUB_FILES.items()
        ),
    )
    failed = []
    for command in commands:  # run all, so that one failure does not hide the next
        try:
            session.run(*command, env={"ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)})
        except CommandFailed:
            failed.append(" ".join(command[:2]))
    if failed:
        raise CommandFailed(f"failed: {', '.join(failed)}")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site offline; a broken link is an error."""
    install(session, "docs")
    pages, site = CACHE / "docs" / "rst", CACHE / "docs" / "html"
    shutil.rmtree(CACHE / "docs", ignore_errors=True)
    shutil.copytree(ROOT / "docs" / "docsite" / "images", pages / "images")
    pages.chmod(0o755)  # antsibull-docs rejects a directory that others can write to
    session.run(
        *("antsibull-docs", "--config-file", "docs/antsibull-docs.cfg", "collection"),
        *("--use-current", "--squash-hierarchy", "--fail-on-error"),
        *("--dest-dir", str(pages), "rhpds.litellm_virtual_keys"),
        env=FOR_PYTEST,
    )
    shutil.copytree(ROOT / "docs" / "site", pages, dirs_exist_ok=True)
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-c", "docs", str(pages), str(site))
    session.log(f"The site is in {site}/index.html")


# Add the sessions docs-check, license-check and extra-checks, as configured in antsibull-nox.toml.
antsibull_nox.load_antsibull_nox_toml()


@nox.session(default=False, tags=["matrix"])
def galaxy(session: nox.Session) -> None:
    """Import the collection as Ansible Galaxy does, and fail on warnings as well."""
    install(session, "galaxy")
    with session.chdir(copy_of_tree(session)):
        session.run("ansible-galaxy", "collection", "build", "--force", silent=True)
        (artefact,) = Path().glob("*.tar.gz")
        output = str(session.run("python", "-m", "galaxy_importer.main", str(artefact), silent=True))
    session.log(output)
    if "WARNING" in output or "ERROR" in output:
        raise CommandFailed("galaxy-importer reported warnings or errors")


@nox.session(default=False, tags=["matrix"], requires=["sandbox"])
def rulebook(session: nox.Session) -> None:
    """Run the event source with ansible-rulebook, which needs Java, on a real proxy."""
    if not shutil.which("java"):
        session.skip("ansible-rulebook needs Java 17 or later, which is not installed")
    install(session, "rulebook")
    session.run(*("pytest", *(session.posargs or ["tests/rulebook"])), env={**FOR_PYTEST, **proxy_environment()})


@nox.session(default=False)
def proxies(session: nox.Session) -> None:
    """Run tests/proxies, which starts its own proxies: other releases, other settings, a thousand keys."""
    install(session, "tests")
    session.run(
        *("pytest", *(session.posargs or ["tests/proxies"])),
        env=FOR_PYTEST,
    )


@nox.session(venv_backend="none", default=False)
def contract(session: nox.Session) -> None:
    """Compare what this collection sends and reads with releases of LiteLLM, from their packages."""
    program = f"{COLLECTION.as_posix().replace('/', '.')}.tests.contract.audit"
    session.run(sys.executable, "-m", program, *session.posargs, env=FOR_PYTEST)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure the performance of the role and of equivalent uri tasks on a separate proxy, and write docs."""
    install(session, "bench")
    session.run("python", "tests/benchmarks/bench.py", *session.posargs, env=FOR_PYTEST)


@nox.session(default=False)
def picture(session: nox.Session) -> None:
    """Run the demo, and draw its output for the README."""
    install(session, "picture")
    session.run("python", "tests/demo/picture.py", env=FOR_PYTEST)


@nox.session(default=False)
def faults(session: nox.Session) -> None:
    """Run tests/faults on a separate proxy: no fault may lose, duplicate or leave over a key."""
    install(session, "tests")
    session.run(
        *("pytest", *(session.posargs or ["tests/faults"])),
        env=FOR_PYTEST,
    )


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Change the pure core in one place at a time, and check that its unit tests fail."""
    install(session, "mutants")
    session.run("python", "tests/mutants/mutants.py", *session.posargs)


@nox.session(default=False)
def simulate(session: nox.Session) -> None:
    """Explore the histories of concurrent controllers, with faults, exhaustively up to a bound."""
    install(session, "tests")
    program = f"{COLLECTION.as_posix().replace('/', '.')}.tests.simulation.simulate"
    session.run("python", "-m", program, *session.posargs, env=FOR_PYTEST)
