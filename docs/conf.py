# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configure Sphinx for `make docs`. The build downloads nothing, so it works offline."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from docutils import nodes
from sphinx.util import logging

logger = logging.getLogger(__name__)

GALAXY = yaml.safe_load((Path(__file__).parents[1] / "galaxy.yml").read_text(encoding="utf-8"))

project = f"{GALAXY['namespace']}.{GALAXY['name']}"
release = GALAXY["version"]
copyright = f"{GALAXY['authors'][0]}, {GALAXY['license'][0]}"
html_title = f"{project} {release}"
html_short_title = project

extensions = ["sphinx_antsibull_ext", "sphinx_copybutton", "notfound.extension"]
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

# Copy buttons are for what a reader can run or save, and leave out prompts.
copybutton_selector = "div[class*=highlight-]:not(.highlight-text) pre"
copybutton_exclude = ".gp, .go"
# The page for unknown addresses is shown at any of them, so its links contain the path of the site.
notfound_urls_prefix = urlsplit(GALAXY["documentation"]).path
notfound_template = "page.html"

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


_VARIABLE = re.compile(r":ansenvvar:`(LITELLM[\w\\]+)`")
_MOVED = yaml.safe_load((Path(__file__).parent / "moved.yml").read_text(encoding="utf-8"))
_REDIRECT = """<script>
const moved = {sections}[location.hash.slice(1)]
if (moved) location.replace(moved)
</script>
"""
_MOVED_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{page}</title>
{redirect}<script>if (!moved) location.replace("{page}" + location.hash)</script>
<noscript><meta http-equiv="refresh" content="0; url={page}"></noscript>
<link rel="canonical" href="{page}">
</head>
<p>This page has moved to <a href="{page}">{page}</a>.</p>
</html>
"""


def write_redirects(app: Any, exception: Exception | None) -> None:
    """Redirect the readers of pages and sections that have moved, and check that the targets exist."""
    if exception or app.builder.name != "html":
        return
    guides = Path(app.outdir, "docsite")
    for old, moved in _MOVED.items():
        sections = {anchor: _url(guides, target) for anchor, target in moved.get("sections", {}).items()}
        redirect = _REDIRECT.replace("{sections}", json.dumps(sections))
        page = guides / f"{old}.html"
        if "page" in moved:
            text = _MOVED_PAGE.replace("{redirect}", redirect).replace("{page}", _url(guides, moved["page"]))
        else:
            text = page.read_text(encoding="utf-8").replace("</head>", f"{redirect}</head>", 1)
        page.write_text(text, encoding="utf-8")


def _url(guides: Path, target: str) -> str:
    name, mark, anchor = target.partition("#")
    page = guides / f"{name}.html"
    if not page.exists() or (anchor and f'id="{anchor}"' not in page.read_text(encoding="utf-8")):
        logger.warning("docs/moved.yml contains %s, which does not exist", target)
    return f"{name}.html{mark}{anchor}"


def add_links(_app: Any, name: str, source: list[str]) -> None:
    """Link guides to their source, and environment variables to the page that describes them.

    antsibull-docs links only its own pages to their source, and only environment variables that ansible-core reads.
    """
    source[0] = _VARIABLE.sub(lambda found: f":ansenvvarref:`{found[1]}`".replace("\\", ""), source[0])
    folder, _separator, page = name.rpartition("/")
    if folder == "docsite":
        url = f"{GALAXY['repository']}/edit/main/docs/docsite/rst/{page}.rst"
        source[0] = f":github_url: {url}\n\n{source[0]}"


def setup(app: Any) -> None:
    app.connect("source-read", add_links)
    app.connect("missing-reference", to_ansible)
    app.connect("build-finished", write_redirects)
