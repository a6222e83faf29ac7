# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Adapt plain functions to Jinja filters and tests.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime, timezone
from typing import ParamSpec, TypeVar

from ansible.errors import AnsibleFilterError
from jinja2 import Undefined

from .._errors import UserError
from .._keys.durations import parse_instant

P = ParamSpec("P")
R = TypeVar("R")


def jinja_plugin(function: Callable[P, R]) -> Callable[P, R | Undefined]:
    """Make a function usable as a filter or test.

    An undefined argument is returned, as ansible-core 2.19 and later do by themselves, and a UserError becomes an
    AnsibleFilterError without a cause: ansible-core 2.19 and later would print the cause, which has the same message.
    """

    @functools.wraps(function)
    def adapted(*args: P.args, **kwargs: P.kwargs) -> R | Undefined:
        for argument in (*args, *kwargs.values()):
            if isinstance(argument, Undefined):
                return argument
        try:
            return function(*args, **kwargs)
        except UserError as error:
            raise AnsibleFilterError(str(error)) from None

    return adapted


def instant_or_now(value: object) -> datetime:
    """Return the instant of an argument; the current time for None.

    :raises InstantError: if the value is not an instant.
    """
    return datetime.now(timezone.utc) if value is None else parse_instant(value)
