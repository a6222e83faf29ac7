# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The laws that the engine breaks today, with the reason. An entry is removed with the fault.

`test_found.py` has a history for each. The sample and `make simulate` do not fail because of these laws.
"""

from __future__ import annotations

KNOWN: dict[str, str] = {
    "a key stays": "both runs of a race give way if the look of one is slower than the pause of the other",
    "always a key": "two replacements of one key delete each other's successor after the old key",
    "destroyed": "the alias and its predecessor are listed by two requests, and another run renames between them",
    "next run": "a replacement fails if two keys have the alias, or if a key without the marker has its second alias",
    "not lost": "a plain run changes one of two keys, and the other one stays",
    "one key": "a key that is restored beside its successor, or that a killed run leaves behind, stays for ever",
    "predecessors": "LiteLLM writes back old metadata, so an update that overlaps a rename removes the marker",
    "restrictions": "a run that finds no key while two others give way creates one without the settings of the old key",
    "secrets kept": "a creator does not look for its key under the alias that a killed replacement has given it",
    "replaced": "a key that was renamed back, or whose marker was lost, is taken for one that was replaced",
}
