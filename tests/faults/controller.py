# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A controller in a separate process, which tests can kill.

It reads its task from the first line of standard input and prints the outcomes. It starts when it reads a second line,
so that several controllers can start at the same time.
"""

from __future__ import annotations

import json
import signal
import sys
import traceback

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import desired_key


def main() -> None:
    task = json.loads(sys.stdin.readline())
    client = Client(Connection(task["url"], task["master_key"], **task.get("connection", {})))
    desired_keys = [desired_key(alias, task["operation"], **task["key"]) for alias in task["aliases"]]
    print("ready", flush=True)
    sys.stdin.readline()
    outcomes = reconcile(client, desired_keys, warn=lambda text: print(text, file=sys.stderr))
    keys = [
        {
            "alias": outcome.desired.alias,
            "operation": outcome.operation,
            "secret": outcome.secret.value if outcome.secret else None,
            "key_id": outcome.after.key_id if outcome.after else None,
            "error": outcome.error,
        }
        for outcome in outcomes
    ]
    print(json.dumps({"keys": keys}))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores SIGINT by default
    try:
        main()
    except KeyboardInterrupt:
        traceback.print_exc()
        sys.exit(130)
