# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A controller of its own, to be killed: runs the engine on what stands on its standard input, and prints the outcomes.

It begins when a second line comes, so that several can begin together.
"""

from __future__ import annotations

import json
import signal
import sys
import traceback

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._client import Client, Connection
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import wanted


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    client = Client(Connection(asked["url"], asked["master_key"], **asked.get("connection", {})))
    wishes = [wanted(alias, asked["operation"], **asked["key"]) for alias in asked["aliases"]]
    print("ready", flush=True)
    sys.stdin.readline()
    outcomes = reconcile(client, wishes, warn=lambda text: print(text, file=sys.stderr))
    keys = [
        {
            "alias": outcome.wanted.alias,
            "operation": outcome.operation,
            "secret": outcome.secret.value if outcome.secret else None,
            "key_id": outcome.after.key_id if outcome.after else None,
            "error": outcome.error,
        }
        for outcome in outcomes
    ]
    print(json.dumps({"keys": keys}))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also as a job in the background, which ignores it
    try:
        main()
    except KeyboardInterrupt:
        traceback.print_exc()
        sys.exit(130)
