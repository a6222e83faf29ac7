#!/usr/bin/env bash
# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This target needs its own playbook, because tasks run in parallel only across hosts.
set -eu

ansible-playbook race.yml -i one,two,three, -e @../../integration_config.yml "$@"
