# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Draw the output of the demo as an SVG image for the README, in terminal colors."""

from __future__ import annotations

import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
PICTURE = HERE.parents[1] / "docs" / "docsite" / "images" / "demo.svg"
HEADER = """\
<!--
Copyright: rhpds.litellm_virtual_keys contributors
GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
SPDX-License-Identifier: GPL-3.0-or-later
-->
"""
WIDTH = 108
# The keys no longer work, but a published image must not show a secret.
SECRET = re.compile(r"sk-\w{8,}")


def main() -> None:
    run = subprocess.run([sys.executable, str(HERE / "demo.py")], stdout=subprocess.PIPE, text=True, check=True)
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
    console.print("[bold green]$[/] make demo")
    before = ""
    for line in run.stdout.splitlines():
        shown = Text(SECRET.sub("sk-…", line), style="bold" if line and not before else "")
        before = line
        shown.highlight_regex(r"^  \$ .*|^ +-e .*", "cyan")
        shown.highlight_regex(r"changed=[1-9]\d*", "yellow")
        shown.highlight_regex(r"changed=0", "green")
        console.print(shown)
    svg = console.export_svg(title="make demo", unique_id="demo")
    # Use the reader's fonts instead of downloading fonts.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    lines = "\n".join(line.rstrip() for line in svg.splitlines())
    PICTURE.write_text(f"{HEADER}{lines}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
