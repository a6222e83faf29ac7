# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role as a drop-in for release 1.3.2: the same catalog variables give the same keys, facts and user data.

`recordings/release_1_3_2.yaml` contains what 1.3.2 made of 12 sets of catalog variables. Each set runs through the
role, and its result must equal the recording with all `DIFFERENCES` applied, which are intended. So the tests also fail
if one of them no longer occurs.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import PREFIX
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    GRANITE,
    MISTRAL,
    ROLE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
)

PAGE = Path(__file__).parents[2] / "docs" / "docsite" / "rst" / "upgrade.rst"
DOCLING = "Docling"
# The models of the recording, and models that the sandbox serves.
MODELS = {"fake-gpt": GRANITE, "fake-claude": MISTRAL, "fake-embed": DOCLING}
RECORDED: dict[str, Json] = yaml.safe_load(
    re.sub(
        "|".join(MODELS),
        lambda name: MODELS[name[0]],
        Path(__file__).with_name("recordings").joinpath("release_1_3_2.yaml").read_text(encoding="utf-8"),
    )
)
FACTS = tuple(RECORDED["one"]["original"]["facts"])
LISTS = ("litellm_virtual_keys", "litellm_key_aliases", "litellm_key_ids", "litellm_user_ids")


@dataclass
class State:
    """What a provision leaves behind, with placeholders for what differs from run to run.

    :ivar facts: the facts that are set.
    :ivar data: the user data; None if there is no such file.
    :ivar messages: the messages to the user; None if there is no such file.
    :ivar keys: the keys on the proxy, by alias.
    """

    facts: Json
    data: Json | None
    messages: list[str] | None
    keys: Json

    @property
    def aliases(self) -> list[str]:
        return sorted(self.keys)

    @property
    def is_multi_user(self) -> bool:
        return any("user" in key["metadata"] for key in self.keys.values())


def recorded(case: str) -> State:
    """Return a new copy of the recorded state."""
    state = copy.deepcopy(RECORDED[case]["original"])
    facts = {name: value for name, value in state["facts"].items() if value is not None}
    return State(facts, state["data"], state["info"], state["rows"])


# The intended differences. Each function changes a recorded state into that of this collection.


def saved_records(state: State) -> None:
    assert state.data
    state.data["litellm_keys"] = state.aliases


def new_facts(state: State) -> None:
    state.facts |= {"litellm_api_base_url": "<url>/v1", "litellm_key_expires": "<expiry>"}


def no_undefined_facts(state: State) -> None:
    state.facts |= {"litellm_key_deleted": False, "litellm_key_was_missing": False}
    if not state.is_multi_user:
        state.facts |= {**{name: [] for name in LISTS}, "_litellm_user_data": {}}


def facts_of_users(state: State) -> None:
    if state.is_multi_user:
        names = (*LISTS, "litellm_virtual_key", "litellm_key_alias", "litellm_key_id")
        state.facts |= {name: (state.data or {})[name] for name in names}


def saved_by_create(state: State) -> None:
    if state.data is None:
        one = recorded("one")
        state.data, state.messages = one.data, one.messages


def one_product_name(state: State) -> None:
    names = {"LiteMaaS API Base URL": "LiteLLM API Endpoint", "LiteMaaS Virtual Key": "LiteLLM Virtual Key"}
    change_messages(state, lambda name, text: [(names.get(name, name), text)])


def message_about_the_expiry(state: State) -> None:
    more = [("Key Expires", "<expiry>")]
    change_messages(state, lambda name, text: [(name, text), *(more if name == "Key Duration" else ())])


def docling_address(state: State) -> None:
    new = ("Docling Endpoint", "<url>/docling/v1/convert/source")
    change_messages(state, lambda name, text: [new if name == "Document Conversion" else (name, text)])


def change_messages(state: State, change: Callable[[str, str], list[tuple[str, str]]]) -> None:
    """Replace each message, which is a name and a text, by others."""
    each = [message.partition(": ") for message in state.messages or ()]
    state.messages = [": ".join(filter(None, new)) for name, _colon, text in each for new in change(name, text)]


@dataclass(frozen=True)
class Difference:
    """An intended difference.

    :ivar name: its row in the table of the page about migration.
    :ivar apply: changes a recorded state into that of this collection.
    """

    name: str
    apply: Callable[[State], None]
    reason: str


DIFFERENCES = (
    Difference(
        "``ACTION: create``",
        saved_by_create,
        "AgnosticD's lookup and lab guides read the files of provision, and not create-user-data.yaml.",
    ),
    Difference("new facts", new_facts, "A client needs the base URL, and an operator the expiry."),
    Difference(
        "facts that do not apply",
        no_undefined_facts,
        "Nothing is left of another environment in the same play, and every fact can be read.",
    ),
    Difference("facts for many users", facts_of_users, "The facts have the same names as the user data."),
    Difference("saved keys", saved_records, "The next run finds keys, secrets and settings again."),
    Difference("names in messages", one_product_name, "1.3.2 has other names for one key than for many."),
    Difference("expiry in messages", message_about_the_expiry, "Users must know when their key stops working."),
    Difference("Docling in messages", docling_address, "1.3.2 shows another address than in the user data."),
)


@dataclass(frozen=True)
class Runs:
    """All cases, in one play.

    :ivar states: the state of each case, with placeholders.
    """

    result: CommandResult
    states: dict[str, State]


@pytest.fixture(scope="module")
def runs(ansible: Ansible, proxy: Proxy, guid: str) -> Iterator[Runs]:
    # The alias of one environment is the beginning of another's: one and one-email.
    guids = {case: f"{guid}-{case}" for case in RECORDED}
    tasks: list[Json] = []
    for case, recording in RECORDED.items():
        variables = {
            "guid": guids[case],
            "output_dir": str(ansible.folder / case),
            f"{PREFIX}models": [GRANITE, MISTRAL],
            **recording["variables"],
        }
        facts = {name: f"{{{{ {name} | default('undefined') }}}}" for name in FACTS}
        tasks += [
            {"ansible.builtin.include_role": {"name": ROLE}, "vars": variables},
            {"name": case, "ansible.builtin.debug": {"msg": facts}},
        ]
    result = ansible.play({"hosts": "localhost", "tasks": tasks})
    status, listing = proxy.request(
        "GET", f"/key/list?return_full_object=true&size=100&substring_matching=true&key_alias=virtkey-{guid}"
    )
    assert status == 200, listing
    try:
        assert result.code == 0, result.output
        yield Runs(
            result,
            {
                case: observed(result.task_msg(case), ansible.folder / case, listing["keys"], guids[case], proxy.url)
                for case in RECORDED
            },
        )
    finally:
        proxy.request("POST", "/key/delete", {"keys": [row["token"] for row in listing["keys"]]})


def observed(facts: Json, folder: Path, rows: list[Json], guid: str, url: str) -> State:
    """Return the state of an environment."""
    own = [row for row in rows if row["metadata"].get("guid") == guid]
    aliases = {row["token"]: row["key_alias"] for row in own}

    def secret(found: re.Match[str]) -> str:
        return f"<secret of {aliases[hashlib.sha256(found[0].encode()).hexdigest()]}>"

    def generalize(value: Any) -> Any:
        if isinstance(value, dict):
            return {generalize(name): generalize(one) for name, one in value.items()}
        if isinstance(value, list):
            return [generalize(one) for one in value]
        if not isinstance(value, str):
            return value
        text = re.sub(r"\bsk-[\w-]+", secret, value)
        for token, alias in aliases.items():
            text = text.replace(token, f"<id of {alias}>")
        for row in own:
            text = text.replace(f"{datetime.fromisoformat(row['expires']):%Y-%m-%dT%H:%M:%SZ}", "<expiry>")
        return text.replace(guid, "<guid>").replace(url, "<url>")

    data = load(folder / "provision-user-data.yaml")
    if data and "litellm_keys" in data:
        data["litellm_keys"] = sorted(data["litellm_keys"])
    return State(
        generalize({name: value for name, value in facts.items() if value != "undefined"}),
        generalize(data),
        generalize(load(folder / "provision-user-info.yaml")),
        generalize({row["key_alias"]: describe(row) for row in own}),
    )


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None


def describe(row: Json) -> Json:
    """Return what the recording contains of a key."""
    lifetime = datetime.fromisoformat(row["expires"]) - datetime.fromisoformat(row["created_at"])
    names = ("models", "user_id", "max_budget", "metadata")
    return {**{name: row[name] for name in names}, "hours": round(lifetime.total_seconds() / 3600)}


def with_differences(case: str) -> tuple[State, list[str]]:
    """Return the expected state, and the names of the differences that the recording shows."""
    state, shown = recorded(case), []
    for difference in DIFFERENCES:
        before = copy.deepcopy(state)
        difference.apply(state)
        if state != before:
            shown.append(difference.name)
    return state, shown


@pytest.mark.parametrize("case", RECORDED)
def test_the_result_is_that_of_1_3_2_except_for_the_intended_differences(runs: Runs, case: str) -> None:
    expected, _shown = with_differences(case)
    found = runs.states[case]
    assert found.keys == expected.keys
    assert found.facts == expected.facts
    assert found.data == expected.data
    assert found.messages == expected.messages


def test_each_difference_occurs() -> None:
    shown = {name for case in RECORDED for name in with_differences(case)[1]}
    assert shown == {difference.name for difference in DIFFERENCES}


def test_the_page_about_migration_lists_the_differences() -> None:
    section = (
        PAGE.read_text(encoding="utf-8")
        .partition("Facts, user data and messages\n")[2]
        .partition("The following differences")[0]
    )
    header, *names = re.findall(r"^   \* - (.+)$", section, re.MULTILINE)
    assert header == "topic"
    assert sorted(names) == sorted(difference.name for difference in DIFFERENCES)


def test_no_key_differs() -> None:
    for case in RECORDED:
        assert with_differences(case)[0].keys == recorded(case).keys


def test_no_case_leads_to_a_warning_except_about_a_variable_without_effect(runs: Runs) -> None:
    """One of the items sets a number of users, and multi_user: false."""
    warnings = " ".join(runs.result.stderr.split()).split("[WARNING]: ")
    expected = f"{PREFIX}user_count is 3, but has no effect without {PREFIX}multi_user: true"
    assert [warning.strip() for warning in warnings] == ["", expected]
    assert "WARNING" not in runs.result.stdout
