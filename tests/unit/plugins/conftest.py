# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fixture for the tests of all plugins: render a template as ansible-core does."""

from __future__ import annotations

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar
from ansible.utils.collection_loader import AnsibleCollectionConfig

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core before 2.19 trusts every string
    trust_as_template = str

# Before any test imports from ansible_collections. ansible-test has done so already.
if AnsibleCollectionConfig.collection_finder is None:
    init_plugin_loader()


@pytest.fixture
def template():
    """Return a function that renders a template with variables to the value that a task would get."""

    def render(text, **variables):
        return Templar(loader=DataLoader(), variables=variables).template(trust_as_template(text))

    return render
