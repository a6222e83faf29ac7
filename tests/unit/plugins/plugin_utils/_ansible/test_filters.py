# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plain functions become Jinja filters and tests."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.filters import (
    instant_or_now,
    jinja_plugin,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError, UserError
from jinja2 import Undefined

UTC = timezone(timedelta(0))  # datetime.UTC is not in Python 3.10


@jinja_plugin
def shout(text: str, *, end: str = "!") -> str:
    """Return the text in capital letters."""
    if not text:
        raise OptionError("text is empty")
    return text.upper() + end


def test_a_function_keeps_its_result_and_its_documentation() -> None:
    assert (shout("a"), shout("a", end="?")) == ("A!", "A?")
    assert (shout.__name__, shout.__doc__) == ("shout", "Return the text in capital letters.")


def test_an_undefined_argument_is_returned() -> None:
    undefined = Undefined(name="nowhere")
    assert shout(undefined) is undefined  # type: ignore[arg-type]
    assert shout("a", end=undefined) is undefined  # type: ignore[arg-type]


def test_an_error_for_the_user_becomes_a_filter_error_without_a_cause() -> None:
    with pytest.raises(AnsibleFilterError) as error:
        shout("")
    assert str(error.value) == "text is empty"
    assert error.value.__cause__ is None


def test_other_exceptions_are_not_hidden() -> None:
    @jinja_plugin
    def divide(one: int, other: int) -> float:
        return one / other

    with pytest.raises(ZeroDivisionError):
        divide(1, 0)


def test_the_default_instant_is_now() -> None:
    assert abs(instant_or_now(None) - datetime.now(UTC)) < timedelta(minutes=5)
    assert instant_or_now("2026-11-30") == datetime(2026, 11, 30, tzinfo=UTC)
    with pytest.raises(UserError, match="'noon' is not an instant"):
        instant_or_now("noon")
