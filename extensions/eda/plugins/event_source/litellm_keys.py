# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An event source for ansible-rulebook: what happens to the virtual keys of a LiteLLM proxy."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

DOCUMENTATION = r"""
---
short_description: Send events about the virtual keys of a LiteLLM proxy
description:
  - An event source for C(ansible-rulebook). It lists the virtual keys of a LiteLLM proxy in regular intervals, and
    sends an event when a key ends soon, when it has ended, when a part of its budget is spent, when it is blocked, and
    when it names a model that the proxy does not serve. The old key of a rotation, which ends on purpose, leads to no
    event.
  - Each event is sent once. It is sent again if it happens again, for example when a key that was extended ends soon
    once more.
  - An event counts as sent when C(ansible-rulebook) has taken it from the event source. If C(ansible-rulebook) is
    stopped before it has run the action of an event, the event is not sent again. Remove O(state_file) to send
    everything that is still true again.
  - An event contains no secret. Its texts contain neither templates nor control characters, because every user of the
    proxy can name keys, and C(ansible-rulebook) passes events to playbooks as extra variables, in which Ansible
    evaluates templates. A C({) becomes C(\x7b).
  - Errors of the proxy are logged, and do not end the event source. An invalid argument ends it.
  - A key that can only read suffices, such as the key of a user with the role C(proxy_admin_viewer).
options:
  url:
    description:
      - The URL of the LiteLLM proxy.
      - It is required. By default, the environment variable C(LITELLM_URL) or C(LITELLM_PROXY_URL) is used.
    type: str
  master_key:
    description:
      - The master key of the proxy, or another key that sees all virtual keys.
      - It is required. By default, the environment variable C(LITELLM_MASTER_KEY) or C(LITELLM_PROXY_API_KEY) is used.
    type: str
  validate_certs:
    description:
      - Whether to validate the TLS certificate of the proxy. By default, C(LITELLM_VALIDATE_CERTS) is used.
    type: bool
    default: true
  ca_path:
    description:
      - A PEM file with the CA certificates to trust. By default, C(LITELLM_CA_PATH) is used.
    type: str
  timeout:
    description:
      - The timeout for each request, in seconds. By default, C(LITELLM_TIMEOUT) is used.
    type: float
    default: 30
  retries:
    description:
      - The number of retries of a request. By default, C(LITELLM_RETRIES) is used.
    type: int
    default: 3
  concurrency:
    description:
      - The maximum number of parallel requests. By default, C(LITELLM_CONCURRENCY) is used.
    type: int
    default: 8
  alias_prefix:
    description:
      - Only keys whose alias starts with this prefix are watched. With an empty prefix, all keys are.
    type: str
    default: virtkey-
  events:
    description:
      - The types of events to send.
    type: list
    elements: str
    choices: [ends_soon, ended, spent, blocked, unknown_model]
    default: [ends_soon, ended, spent, blocked, unknown_model]
  ending_within:
    description:
      - A key ends soon if it expires within this duration, such as C(3d). A number is hours.
    type: str
    default: 24h
  spent_percents:
    description:
      - The parts of the budget, in percent, that lead to an event when they are spent. If several are reached at once,
        only the largest one leads to an event.
    type: list
    elements: float
    default: [80, 100]
  delay:
    description:
      - The seconds between two listings of the keys, from 1 to 86400. A listing is one request for each hundred keys,
        and two others.
    type: float
    default: 60
  state_file:
    description:
      - A file in which the event source saves what it has sent, so that a restart does not send it again. Only its
        owner can read it. The directory must exist. Use one file for each event source.
      - Without it, events about what is still true are sent again after a restart. They are also sent again if the file
        is damaged. It is saved after each event, so at most the last event is sent again after a kill.
    type: str
  send_existing:
    description:
      - Whether to send events about what is true already when the event source starts for the first time, without a
        state.
    type: bool
    default: true
"""

EXAMPLES = r"""
- rhpds.litellm_virtual_keys.litellm_keys:
    url: https://litellm.example.com
    master_key: "{{ litellm_master_key }}"
    ending_within: 2d
    spent_percents: [50, 80, 100]
    state_file: /var/lib/rulebook/litellm_keys.json
"""

_logger = logging.getLogger("rhpds.litellm_virtual_keys.litellm_keys")


def _make_importable() -> None:
    """Let Python find this collection: ansible-rulebook runs this file by its path, without the importer of Ansible."""
    folder = Path(__file__).absolute().parents[6]
    if folder.name != "ansible_collections":
        return  # a copy of this file; the collection may be installed elsewhere
    if str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    import ansible_collections

    # The Python package "ansible" contains collections of its own, which hide all others.
    if str(folder) not in ansible_collections.__path__:
        ansible_collections.__path__.append(str(folder))


async def main(queue: asyncio.Queue[Any], args: dict[str, Any]) -> None:
    """Send events about virtual keys to the queue."""
    _make_importable()
    from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._events.watching import watch_keys

    await watch_keys(args, queue.put, _logger)


if __name__ == "__main__":
    # Print the events of the proxy that LITELLM_URL and LITELLM_MASTER_KEY name, until it is interrupted. Arguments are
    # pairs such as ending_within=3d.

    class _Printer(asyncio.Queue[Any]):
        """A queue that prints what is put into it."""

        async def put(self, item: Any) -> None:
            print(item, flush=True)

    def _run(pairs: list[str]) -> str:
        """Run the event source, and return why it ended."""
        for pair in pairs:
            if "=" not in pair:
                return f"Arguments are pairs such as ending_within=3d, but one is {pair!r}"
        _make_importable()
        from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import UserError

        try:
            asyncio.run(main(_Printer(), dict(pair.split("=", 1) for pair in pairs)))
        except UserError as error:
            return str(error)
        except KeyboardInterrupt:
            return "Interrupted"
        return ""

    sys.exit(_run(sys.argv[1:]))
