# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""List the keys again and again, and send an event for each change that is watched for.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from logging import Logger
from typing import Any

from .._errors import LiteLLMError, OptionError, UserError
from .._keys.names import PREVIOUS_SUFFIX, SUCCESSOR_SUFFIX
from .._keys.observer import Observer
from .._keys.references import served_models
from .._keys.result import describe_status
from .._litellm.client import Client
from .._litellm.permission import require_administrator
from .._litellm.transport import URLLIB3_IMPORT_ERROR
from .arguments import UNKNOWN_MODEL, Arguments, parse_arguments
from .decisions import Decision, Json, Snapshot, decide, without
from .state import StateFile

Put = Callable[[Json], Awaitable[object]]


async def watch_keys(given: Mapping[str, Any], put: Put, logger: Logger) -> None:
    """Send events until the task is cancelled. Errors of the proxy are logged, and the next listing is tried.

    :param given: the arguments of the event source.
    :param put: sends one event.
    :raises OptionError: if an argument is invalid.
    """
    if URLLIB3_IMPORT_ERROR:
        raise OptionError(
            f"litellm_keys needs the Python package urllib3 ({URLLIB3_IMPORT_ERROR}); install it with pip"
        )
    arguments = parse_arguments(given, os.environ)
    connection = arguments.connection
    if connection.is_unencrypted:
        logger.warning("The master key is sent to %s unencrypted; use an https:// URL", connection.url)
    watcher = Watcher(arguments, put, logger)
    while True:
        await watcher.look()
        await asyncio.sleep(arguments.delay)


class Watcher:
    """What is known between two listings.

    :raises OptionError: if the state cannot be read.
    """

    def __init__(self, arguments: Arguments, put: Put, logger: Logger) -> None:
        self._arguments, self._put, self._logger = arguments, put, logger
        self._client = Client(arguments.connection)
        path = arguments.state_file
        self._state = StateFile(path, arguments.connection.url) if path else None
        self._marks = self._state.load(logger.warning) if self._state else None
        self._model_problem = self._state_problem = ""

    async def look(self) -> None:
        """List the keys, and send the events that follow."""
        try:
            # In a thread, because other event sources run in this one.
            snapshot = await asyncio.to_thread(self._observe)
        except LiteLLMError as error:
            delay = self._arguments.delay
            self._logger.warning("Cannot list the virtual keys: %s. The next attempt is in %g seconds", error, delay)
            return
        decision = decide(snapshot, self._arguments.watch, self._marks or {})
        if self._marks is None and not self._arguments.send_existing:
            decision = Decision((), decision.marks)
        await self._send(decision)

    async def _send(self, decision: Decision) -> None:
        """Send the events, and save each of them as sent at once: a process that is killed does nothing afterwards."""
        unsent = list(decision.events)
        self._keep(without(decision.marks, unsent))
        while unsent:
            await self._put(unsent[0].body)
            del unsent[0]
            self._keep(without(decision.marks, unsent))

    def _keep(self, marks: dict[str, frozenset[str]]) -> None:
        """Keep the marks, and save them if they changed. A problem is logged once, as long as it stays the same."""
        before, self._marks = self._marks, marks
        if not self._state or marks == before:
            return
        try:
            self._state.save(marks)
        except UserError as error:
            if str(error) != self._state_problem:
                self._logger.warning("%s", error)
            self._state_problem = str(error)
        else:
            self._state_problem = ""

    def _observe(self) -> Snapshot:
        """Return all keys.

        :raises LiteLLMError: if they cannot be listed, or not all of them.
        """
        prefix = self._arguments.alias_prefix
        require_administrator(self._client)
        found = Observer(self._client).find_by_prefix(prefix)
        models = self._models() if UNKNOWN_MODEL in self._arguments.watch.types else None
        now = self._client.now()
        keys = [
            {**describe_status(key, now), "guid": (key.alias or "").removeprefix(prefix) or None}
            for key in found
            # The old key of a rotation ends on purpose. A replacement gets its alias in a moment.
            if not (key.alias or "").endswith((PREVIOUS_SUFFIX, SUCCESSOR_SUFFIX))
        ]
        aliases = [key.alias for key in found if key.alias and key.alias.endswith(SUCCESSOR_SUFFIX)]
        being_replaced = {alias.removesuffix(SUCCESSOR_SUFFIX) for alias in aliases}
        return Snapshot(keys, now, models, self._arguments.connection.url, being_replaced)

    def _models(self) -> frozenset[str] | None:
        """Return what the proxy serves; None if that is unknown, which is logged once."""
        try:
            models = served_models(self._client)
        except LiteLLMError as error:
            if str(error) != self._model_problem:
                self._logger.warning("The models of the proxy cannot be listed, so they are not checked: %s", error)
            self._model_problem = str(error)
            return None
        self._model_problem = ""
        return models
