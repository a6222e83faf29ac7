# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replacement for the get-pip.py that ansible-test downloads: install the pip that is bundled with Python.

ansible-test runs this file with the Python of an empty virtual environment and the arguments for get-pip.py.
noxfile.py copies it to the folder where ansible-test stores its downloads.
"""

import subprocess
import sys

subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
packages = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
subprocess.run([sys.executable, "-m", "pip", "install", "--upgrade", *packages], check=True)
