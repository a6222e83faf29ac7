# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configure Sphinx for `make docs`. The build downloads nothing, so it works offline."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes

GALAXY = yaml.safe_load((Path(__file__).parents[1] / "galaxy.yml").read_text(encoding="utf-8"))

project = f"{GALAXY['namespace']}.{GALAXY['name']}"
release = GALAXY["version"]
copyright = f"{GALAXY['authors'][0]}, {GALAXY['license'][0]}"
html_title = f"{project} {release}"
html_short_title = project

extensions = ["sphinx_antsibull_ext"]
default_role = "any"
nitpicky = True
highlight_language = "YAML+Jinja"
pygments_style = "ansible"
html_theme = "sphinx_ansible_theme"
html_theme_options = {"documentation_home_url": GALAXY["repository"], "vcs_pageview_mode": "edit"}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_use_index = False

# Labels of Ansible's own documentation. The URLs can be derived from them, so no inventory has to be downloaded.
_BUILTIN = re.compile(r"ansible_collections\.ansible\.builtin\.(\w+)_(module|lookup|filter|test)\b")
_ANSIBLE = "https://docs.ansible.com/ansible/latest"
_PAGES = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "common_return_values": "reference_appendices/common_return_values.html",
    "playbooks_module_defaults": "playbook_guide/playbooks_module_defaults.html",
}


def to_ansible(_app: Any, _env: Any, node: Any, text: nodes.TextElement) -> nodes.reference | None:
    """Resolve a label that is not on this site to a page of Ansible's documentation."""
    target = node.get("reftarget", "")
    if found := _BUILTIN.match(target):
        page = f"collections/ansible/builtin/{found[1]}_{found[2]}.html"
    else:
        page = _PAGES.get(target, "")
    return nodes.reference("", "", text, refuri=f"{_ANSIBLE}/{page}") if page else None


def setup(app: Any) -> None:
    app.connect("missing-reference", to_ansible)
