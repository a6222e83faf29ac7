# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The base class of the actions: failures, secrets, hidden results, diffs, progress and signals."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from ansible import context
from ansible.module_utils.common.collections import ImmutableDict
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import connection_loader
from ansible.template import Templar
from ansible.utils.display import Display
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible import action as base
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.action import (
    ControllerAction,
    interruptible,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import (
    CONNECTION_OPTIONS,
    Option,
    Options,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core before 2.19 trusts every string
    trust_as_template = str

DIFF = {
    "before_header": "virtual key a",
    "after_header": "virtual key a",
    "before": {"a": 1},
    "after": {"a": 2, "b": 3},
}


class Example(ControllerAction):
    OPTIONS: ClassVar[Options] = {**CONNECTION_OPTIONS, "secret": Option(secret=True), "public": Option()}
    work: Callable[[Any], dict[str, Any]]

    def execute(self, task_vars: Any) -> dict[str, Any]:
        return self.work(self)


def example(
    work: Callable[[Any], dict[str, Any]] = lambda _action: {},
    arguments: dict[str, Any] | None = None,
    variables: dict[str, Any] | None = None,
    *,
    no_log: bool = False,
) -> Any:
    """Return an action that does this work."""
    task = Task()
    task.action, task.args, task.no_log = "rhpds.litellm_virtual_keys.example", arguments or {}, no_log
    action = Example(
        task,
        connection_loader.get("ansible.builtin.local", PlayContext(), os.devnull),
        PlayContext(),
        DataLoader(),
        Templar(loader=DataLoader(), variables=variables or {}),
        None,
    )
    action.work = work
    return action


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record what is displayed."""
    texts: list[str] = []
    for method in ("display", "warning", "error"):
        monkeypatch.setattr(Display, method, lambda self, text, *args, **kwargs: texts.append(text))
    return texts


@pytest.fixture(params=[True, False], ids=["before 2.19", "2.19 and later"])
def _both_cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_BEFORE_2_19", request.param)


def fail(_action: Any) -> dict[str, Any]:
    raise OptionError("public is sk-hidden and my password")


def with_secret(action: Any) -> dict[str, Any]:
    action.hide_secrets()
    return {"changed": True, "key": "sk-hidden", "diff": [DIFF]}


# Failures


def test_an_error_becomes_a_failed_result_without_secrets() -> None:
    result = example(fail, {"secret": "my password"}).run(task_vars={})
    assert (result["failed"], result["changed"]) == (True, False)
    assert result["msg"] == "public is sk-hidden and ********"


def test_a_failed_result_is_printable() -> None:
    """The proxy can have keys with any names, and ansible-core 2.19 and later prints the message unchanged."""
    action = example(lambda _action: {"failed": True, "msg": "virtkey-\x1b]0;title\x07\x9b31m of \u202euser"})
    assert action.run(task_vars={})["msg"] == r"virtkey-\x1b]0;title\x07\x9b31m of \u202euser"


def test_an_unexpected_exception_is_not_hidden() -> None:
    def crash(_action: Any) -> dict[str, Any]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        example(crash).run(task_vars={})


def test_secrets_are_masked_in_warnings(shown: list[str]) -> None:
    action = example(lambda action: action.warn("my password\x1b[2J") or {}, {"secret": "my password"})
    action.run(task_vars={})
    assert shown == [r"********\x1b[2J"]


def test_secrets_from_variables_and_the_environment_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_MASTER_KEY", "from the environment")

    def work(action: Any) -> dict[str, Any]:
        assert action.arguments(task_vars)["url"] == "http://host"
        raise OptionError("from the environment")

    task_vars = {"litellm_url": trust_as_template("http://{{ name }}")}
    assert example(work, variables={"name": "host"}).run(task_vars=task_vars)["msg"] == "********"


# Results with secrets


@pytest.mark.usefixtures("_both_cores")
def test_a_result_with_a_secret_is_registered_and_not_displayed(shown: list[str]) -> None:
    result = example(lambda action: {**with_secret(action), "diff": []}).run(task_vars={})
    assert (result["_ansible_no_log"], result["key"], shown) == (True, "sk-hidden", [])


def test_a_result_without_a_secret_is_displayed(shown: list[str]) -> None:
    result = example(lambda _action: {"changed": True, "diff": [DIFF]}).run(task_vars={})
    assert "_ansible_no_log" not in result
    assert (result["diff"], shown) == ([DIFF], [])


@pytest.mark.usefixtures("_both_cores")
def test_the_diff_of_a_hidden_result_is_displayed(shown: list[str]) -> None:
    result = example(with_secret).run(task_vars={})
    assert result["_ansible_no_log"] is True
    assert shown == ["--- virtual key a\n+++ virtual key a\n@@ -1 +1,2 @@\n-a: 1\n+a: 2\n+b: 3"]


@pytest.mark.usefixtures("_both_cores")
def test_with_no_log_the_diff_is_neither_displayed_nor_returned(shown: list[str]) -> None:
    result = example(with_secret, no_log=True).run(task_vars={})
    assert result["_ansible_no_log"] is True
    assert "diff" not in result
    assert shown == []


@pytest.mark.usefixtures("_both_cores")
def test_a_retry_displays_the_diff_as_the_first_attempt_does(shown: list[str]) -> None:
    """Before ansible-core 2.19 the first attempt sets no_log on the task, which is not the user's."""
    action = example(with_secret)
    action.run(task_vars={})
    action.run(task_vars={})
    assert len(shown) == 2


@pytest.mark.parametrize(("before_2_19", "no_log", "messages"), [(True, False, 1), (True, True, 0), (False, False, 0)])
def test_the_message_of_a_hidden_failure_is_displayed_where_ansible_core_would_hide_it(
    monkeypatch: pytest.MonkeyPatch, shown: list[str], before_2_19: bool, no_log: bool, messages: int
) -> None:
    monkeypatch.setattr(base, "_BEFORE_2_19", before_2_19)

    def work(action: Any) -> dict[str, Any]:
        action.hide_secrets()
        return {"failed": True, "msg": "1 of 2 keys failed"}

    example(work, no_log=no_log).run(task_vars={})
    assert shown == ["1 of 2 keys failed"] * messages


def test_an_ad_hoc_command_displays_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "CLIARGS", ImmutableDict(module_name="litellm_key"))
    assert "_ansible_no_log" not in example(with_secret).run(task_vars={})


# Variables


@pytest.mark.parametrize(
    ("variables", "value"),
    [
        ({"name": "own", "hostvars": {"localhost": {"name": "other"}}}, "own"),
        ({"hostvars": {"localhost": {"name": "other"}}}, "other"),
        ({"name": "", "hostvars": {"localhost": {"name": "other"}}}, "default"),
        # A fact, where ansible-core does not distinguish facts from variables.
        ({"hostvars": {"localhost": {"name": "theirs", "ansible_facts": {"name": "theirs"}}}}, "default"),
        ({"hostvars": {}}, "default"),
        ({}, "default"),
    ],
)
def test_a_platform_variable_is_read_from_this_host_or_localhost(variables: dict[str, Any], value: str) -> None:
    assert example().platform_variable("name", variables, "default") == value


def test_a_platform_variable_may_be_a_template() -> None:
    action = example(variables={"other": "value"})
    assert action.platform_variable("name", {"name": trust_as_template("{{ other }}")}, None) == "value"


def test_a_fact_that_is_a_template_is_ignored() -> None:
    facts = {"plain": "value", "template": trust_as_template("{{ undefined_variable }}")}
    assert [example().fact(name, facts) for name in ("plain", "template", "missing")] == ["value", None, None]


# Progress


def test_progress_that_cannot_be_displayed_does_not_stop_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    displayed: list[str] = []

    def display(_self: Display, text: str, **_options: Any) -> None:
        displayed.append(text)
        raise BrokenPipeError

    monkeypatch.setattr(base, "_SECONDS_BETWEEN_REPORTS", 0)
    monkeypatch.setattr(Display, "display", display)
    example().progress_reporter()("1 of 2 virtual keys listed")
    assert len(displayed) == 1


def test_progress_is_displayed_if_nothing_was_displayed_for_a_while(
    monkeypatch: pytest.MonkeyPatch, shown: list[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    report = example().progress_reporter()
    for step in (1.0, 5.0, 1.0, 4.0):
        now += step
        report(f"at {now:g}")
    assert shown == ["example: at 106", "example: at 111"]


# Signals


@pytest.fixture
def handlers() -> Iterator[dict[int, Any]]:
    """The handlers of the signals by which Ansible ends its workers; restored after the test."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_the_work_once(handlers: dict[int, Any], number: int) -> None:
    undone: list[bool] = []

    def work() -> None:
        with interruptible():
            try:
                os.kill(os.getpid(), number)
                time.sleep(5)
            finally:
                os.kill(os.getpid(), number)  # Ansible sends several
                os.kill(os.getpid(), signal.SIGINT)
                undone.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert undone == [True]
    assert {number: signal.getsignal(number) for number in handlers} == handlers
