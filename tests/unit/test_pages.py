# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The documentation agrees with the code: messages, lifetimes, names of user data, the list of pages, links."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import CONNECTION_OPTIONS
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.handover import (
    environment_variables,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.user_data import (
    build_facts,
    build_user_data,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse, parse_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import (
    DesiredKey,
    Lifetime,
    ObservedKey,
    Snapshot,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.plan import plan
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.steps import Update

ROOT = Path(__file__).parents[2]
RST = ROOT / "docs" / "docsite" / "rst"
ROLE = ROOT / "roles" / "ocp4_workload_litellm_virtual_keys"
LABEL = "ansible_collections.rhpds.litellm_virtual_keys.docsite."

# Stands for the variable parts of a message, here and on the page.
GAP = "…"
# Texts that look like messages but are not: parts of messages, lines of a report, SQL.
NOT_MESSAGES = (
    " (did you mean …?)",
    "did you mean '…'?",
    "did you mean …?",
    "delete the key first (state: absent; with the role, ACTION: destroy)",
    "…. To accept them, set on_unknown_models: warn",
    "…. The key could use no model; to create it, set on_unknown_models: ignore",
    "a value of type …",
    "a list of names, like [a, b], or names with commas",
    "for a private certificate authority set ca_path",
    "… of … virtual keys deleted",
    "… of … virtual keys listed",
    "… of … virtual keys written",
    # The first line of a shell profile.
    "# Virtual key …, written by rhpds.litellm_virtual_keys",
    "# Virtual key, written by rhpds.litellm_virtual_keys",
    "less than a minute",
    ", which is the default,",
    " with block_on_stop, or blocked: false",
    ", 1.60 or later",
    ", 1.67 or later",
    # Parts of a line of the summary.
    ", reset at …",
    "Shared budget: … USD for all keys",
    "Shared budget: no limit, … spent",
    "; shared budget spent: …",
    # What LiteLLM says.
    "is not a member of the team",
    ", or run …",
    "There are no virtual keys",
    "Secret … in namespace …",
    "with a duplicate alias",
    "with a previous secret",
    "previous secret until …",
    "with the budget nearly spent",
    "with the budget spent",
    "SELECT token FROM … …",
    "DELETE FROM … …",
    "WHERE token IN (…)",
    # What the user of a key reads after a provision or an extension.
    "LiteLLM API Endpoint: …",
    "LiteLLM Virtual Key: …",
    "LiteLLM Virtual Key: in the lab guide",
    "(not created in check mode)",
    "Created … virtual keys",
    "Created 1 virtual key",
    "LiteLLM Virtual Key extended to …, until …",
    # The commands on a page to print.
    'curl -H "Authorization: Bearer $OPENAI_API_KEY"',
    '… -H "Content-Type: application/json" "$OPENAI_BASE_URL/chat/completions" -d …',
    # What LiteLLM writes.
    "to access this route",
    "to call this route",
    " You must be a LiteLLM Enterprise user",
)


def page(name: str) -> str:
    return " ".join((RST / f"{name}.rst").read_text(encoding="utf-8").split())


def sentences(tree: ast.AST) -> Iterator[str]:
    """Yield every text of four or more words that is not a docstring, with a gap for each value in it."""
    docstrings = {
        id(body[0].value)
        for node in ast.walk(tree)
        if isinstance(body := getattr(node, "body", None), list) and body and isinstance(body[0], ast.Expr)
    }
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in docstrings | parts:
            continue
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if len(text.split()) >= 4 and len(re.findall(r"(?<!\S)[A-Za-z]{2,}(?=[\s,:;.]|$)", text)) >= 2:
            yield text


def plugin_messages() -> set[str]:
    plugins = ROOT / "plugins"
    paths = [path for folder in ("action", "filter", "lookup", "test") for path in (plugins / folder).glob("*.py")]
    # Summaries need no explanation.
    summaries = {
        plugins / "plugin_utils" / name
        for name in ("_environment/summary.py", "_playbooks/connection.py", "_playbooks/replacement.py")
    }
    paths += {*(plugins / "plugin_utils").rglob("*.py")} - summaries
    paths += (plugins / "module_utils").glob("*.py")
    paths.append(plugins / "modules" / "private_file.py")
    found = set()
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= {text for text in sentences(tree) if "\n" not in text}
    return found


def scalars(node: object) -> Iterator[str]:
    """Yield every text in a task file that is neither a name nor a condition."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name not in ("name", "that", "when"):
                yield from scalars(value)
    elif isinstance(node, list):
        for value in node:
            yield from scalars(value)
    elif isinstance(node, str):
        yield node


def role_messages() -> set[str]:
    """Return the sentences in the roles' tasks, including those inside templates, with a gap for each template."""
    found = set()
    for path in ROLE.parent.glob("*/tasks/*.yml"):
        for text in scalars(yaml.safe_load(path.read_text(encoding="utf-8"))):
            outside, inside = re.sub(r"\{\{.*?\}\}", GAP, text, flags=re.DOTALL), re.findall(r"'(.+?)'", text)
            for one in (outside, *inside):
                if len(re.findall(r"(?<!\S)[A-Za-z]+(?=[\s,:;.]|$)", one)) >= 5 and not re.search(
                    r"psql|FROM|\{%", one
                ):
                    found.add(" ".join(one.split()))
    return found


def playbook_messages() -> set[str]:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "playbooks").glob("*.yml")]
    tasks = [task for text in texts for play in yaml.safe_load(text) for task in play.get("tasks", ())]
    return {fail["fail_msg"] for task in tasks if "fail_msg" in (fail := task.get("ansible.builtin.assert", {}))}


SOURCES = (plugin_messages, role_messages, playbook_messages)


def beginning(message: str) -> str:
    """Return the part that identifies a message; what follows it says why, or what to do."""
    whole = message.strip(f' "{GAP};.')
    ends = (end.start() for end in re.finditer(r"; |\. |: (?!…)| \((?!…\))|, (?=as |in |so )|$", whole))
    return next((whole[:end] for end in ends if len(re.findall(r"\w+", whole[:end])) >= 2), whole)


@pytest.mark.parametrize("source", SOURCES)
def test_every_message_is_in_troubleshooting(source) -> None:
    explained = page("troubleshooting")
    messages = {one for one in source() if one not in NOT_MESSAGES}
    assert messages or source is role_messages  # all decisions, and their messages, are in the plugins
    assert sorted(one for one in messages if beginning(one) not in explained) == []


def test_troubleshooting_has_no_message_that_does_not_exist() -> None:
    existing = " ".join("\n".join(one for source in SOURCES for one in source()).split())
    pieces = {
        piece.strip()
        for literal in re.findall(r"``(.+?)``", page("troubleshooting").partition("Connection ---")[2])
        if GAP in literal
        for piece in literal.split(GAP)
        if len(piece.split()) >= 3
    }
    assert len(pieces) > 50
    assert sorted(piece for piece in pieces if piece not in existing) == []


def lifetime_rows() -> list[list[str]]:
    text = (RST / "expiry.rst").read_text(encoding="utf-8")
    rows = re.findall(r"^(2026-\S+ \S+)  +(.+?)  +(.+?)  +(.+?)  +\S.*$", text, re.MULTILINE)
    assert len(rows) > 5
    return [list(row) for row in rows]


@pytest.mark.parametrize(("now", "requested", "expires", "new_expiry"), lifetime_rows())
def test_the_table_of_lifetimes_is_correct(now: str, requested: str, expires: str, new_expiry: str) -> None:
    def instant(text: str) -> datetime | None:
        return None if text == "never" else parse_instant(text)

    created = datetime(2026, 11, 1, 8, tzinfo=UTC)
    key = ObservedKey("0" * 64, "virtkey-user123", created_at=created, expires=instant(expires))
    end = parse_instant(requested) if " " in requested else parse(requested)
    desired = DesiredKey("virtkey-user123", lifetime=Lifetime(end, shorten=False))
    step = plan(desired, Snapshot((key,), parse_instant(now))).step
    assert (step.end if isinstance(step, Update) else key.expires) == instant(new_expiry)


def test_the_page_of_user_data_lists_all_names() -> None:
    key = {
        "key": "sk-1",
        "key_alias": "a",
        "key_id": "1",
        "models": ["m"],
        "duration": "7d",
        "user_id": "u",
        "user": "bob",
    }
    docling = {"litellm_docling_endpoint": "e", "litellm_docling_model": "m"}
    single, _none = build_user_data([{**key, "user": None}], "e", "e/v1", docling)
    of_all, of_users = build_user_data([key], "e", "e/v1", docling)
    assert set(of_users["bob"]) - set(single) == {"litellm_user_email"}
    text = (RST / "facts_and_user_data.rst").read_text(encoding="utf-8")
    tables = re.findall(r"^=+ +=+\nname .*\n=+ +=+\n((?:``.*\n)+)=+ +=+$", text, re.MULTILINE)
    one, many = (set(re.findall(r"^``(.+?)``", table, re.MULTILINE)) for table in tables)
    assert one == set(single)
    assert many == {name.replace("_bob_", "_<user>_") for name in set(of_all) - set(single)} - {
        f"litellm_<user>_{name}" for name in ("key_alias", "key_id", "user_email")
    }


def test_the_table_of_names_contains_only_names_that_exist() -> None:
    entry = dict.fromkeys(("key", "key_alias", "key_id", "duration", "expires", "user_id"), "x")
    keys = [{**entry, "user": "user1", "models": ["m"]}]
    facts, variables = build_facts(keys, "e", "e/v1"), environment_variables(keys[0], "e/v1")
    data, _of_users = build_user_data(keys, "e", "e/v1", {"litellm_docling_endpoint": "e"})
    section = (RST / "facts_and_user_data.rst").read_text(encoding="utf-8").split("Which name do I read?\n")[1]
    table, _line, text = section.partition("\n- **Facts**")
    header, *rows = ([cell.strip("\n ") for cell in row.split("\n     -")] for row in table.split("\n   * - ")[1:])
    assert header == ["value", "fact", "user data", "environment variable"]
    for _value, fact, saved, variable in rows:
        assert set(re.findall(r"``(\w+)", fact)) <= set(facts)
        assert set(re.findall(r"\['(\w+)'\]", fact)) <= set(facts["_litellm_user_data"])
        assert set(re.findall(r"``(\w+)``", saved)) <= set(data)
        assert set(re.findall(r"``(\w+)``", variable)) <= set(variables)
    missing = re.findall(r"``(\w+)``", text.partition("These names do not exist: ")[2].partition(".")[0])
    assert len(missing) == 2
    assert not set(missing) & {*facts, *data}


def test_every_page_is_listed_once() -> None:
    sections = yaml.safe_load((RST.parent / "extra-docs.yml").read_text(encoding="utf-8"))["sections"]
    listed = [name for section in sections for name in section["toctree"]]
    assert sorted(listed) == sorted(path.stem for path in RST.glob("*.rst"))
    index = (RST.parents[1] / "site" / "index.rst").read_text(encoding="utf-8")
    captions = re.split(r"^   :caption: (.+)$", index, flags=re.MULTILINE)[1:]
    in_index = {
        caption: re.findall(r"^   docsite/(\w+)$", text, re.MULTILINE)
        for caption, text in zip(captions[::2], captions[1::2], strict=True)
    }
    assert in_index == {section["title"]: section["toctree"] for section in sections}


def test_every_connection_setting_is_listed_on_the_site() -> None:
    text = (RST.parents[1] / "site" / "environment_variables.rst").read_text(encoding="utf-8")
    listed = re.findall(r"^   \* - ``(\w+)``\n     - ``(\w+)``\n     - (.*)$", text, re.MULTILINE)
    assert [(name, variable, tuple(re.findall("`(\\w+)`", names))) for name, variable, names in listed] == [
        (name, option.variable, option.environment) for name, option in CONNECTION_OPTIONS.items()
    ]
    described = re.findall(r"^\.\. envvar:: (\w+)$", text, re.MULTILINE)
    assert described == [name for option in CONNECTION_OPTIONS.values() for name in option.environment]


def test_every_plugin_is_listed_on_the_site() -> None:
    site = RST.parents[1] / "site"
    listed = {
        page
        for path in site.glob("*.rst")
        for page in re.findall(
            r"<(\w+_(?:module|role|lookup|filter|test))>$", path.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    kinds = {"modules/*.py": "module", "lookup/*.py": "lookup", "filter/*.yml": "filter", "test/*.yml": "test"}
    plugins = {f"{path.stem}_{kind}" for files, kind in kinds.items() for path in (ROOT / "plugins").glob(files)}
    assert listed == plugins | {f"{path.name}_role" for path in ROLE.parent.iterdir()}


@pytest.mark.parametrize("name", sorted(path.stem for path in RST.glob("*.rst")))
def test_every_link_to_a_page_has_a_target(name: str) -> None:
    assert f".. _{LABEL}{name}:" in page(name)
    for target in re.findall(rf":ref:`(?:[^`<]*<)?{re.escape(LABEL)}(\w+)", page(name)):
        assert (RST / f"{target}.rst").exists(), target


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *ROOT.glob("roles/*/README.md")], ids=lambda path: path.parent.name
)
def test_every_link_of_a_readme_is_a_full_url_and_has_a_target(path: Path) -> None:
    """Galaxy and Automation Hub show a README outside of the repository."""
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r"^\[[^]]+\]: (.+)$", text, re.MULTILINE)
    assert [link for link in links if not link.startswith("https://")] == []
    assert set(re.findall(r"\]\[([^]]+)\]", text)) == set(re.findall(r"^\[([^]]+)\]: ", text, re.MULTILINE))
    sources = {
        "https://rhpds.github.io/rhpds.litellm_virtual_keys/docsite/": lambda page: RST / page.replace(".html", ".rst"),
        "https://github.com/rhpds/rhpds.litellm_virtual_keys/blob/main/": ROOT.joinpath,
        "https://raw.githubusercontent.com/rhpds/rhpds.litellm_virtual_keys/main/": ROOT.joinpath,
    }
    own = [
        source(link.removeprefix(base).partition("#")[0])
        for link in links
        for base, source in sources.items()
        if link.startswith(base)
    ]
    assert own
    assert [target for target in own if not target.exists()] == []


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", RST.parents[1] / "site" / "index.rst"], ids=lambda path: path.name
)
def test_readers_are_invited_to_the_forum(path: Path) -> None:
    """The Ansible community requires the category for questions and a tag."""
    text = path.read_text(encoding="utf-8")
    assert "https://forum.ansible.com/c/help/6" in text
    assert "https://forum.ansible.com/tag/litellm" in text


def test_the_readme_has_the_sections_that_certification_requires() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    for heading in ("Requirements", "Installation", "Testing", "Communication", "Support", "Release notes", "License"):
        assert heading in headings


def test_every_test_that_the_guarantees_name_exists() -> None:
    named = set(re.findall(r"``(?:tests/[a-z_/]*/)?(test_\w+\.py)``", page("guarantees")))
    assert len(named) > 5
    assert named <= {path.name for path in (ROOT / "tests").rglob("test_*.py")}


def test_the_pages_that_plugins_link_to_exist() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "plugins").rglob("*.py")]
    links = re.findall(r"https://rhpds\.github\.io/rhpds\.litellm_virtual_keys/docsite/(\S*)", "\n".join(texts))
    assert links
    assert [link for link in links if not (RST / link.replace(".html", ".rst")).exists()] == []
