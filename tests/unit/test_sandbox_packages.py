# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sandbox installs a LiteLLM release whose side packages are not on the registry yet, with older ones."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SANDBOX = Path(__file__).parents[1] / "sandbox"
REQUIRED = {"litellm-proxy": "1.110.2", "litellm-proxy-extras": "0.4.114.post1", "litellm-enterprise": "0.1.83.post1"}


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Return the module `_install`, whose releases are in a temporary folder."""
    monkeypatch.syspath_prepend(str(SANDBOX))
    for name in ("_install", "_postgres", "_system"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("_install")
    monkeypatch.setattr(module, "RELEASES", tmp_path / "releases")
    monkeypatch.setattr(module, "STATE", tmp_path)
    return module


class Registry:
    """Stands for uv and a registry; `available` is whether it has every side package."""

    def __init__(self, module: ModuleType, monkeypatch: pytest.MonkeyPatch, *, available: bool) -> None:
        self.available = available
        self.error = module.SandboxError("no")
        self.calls: list[list[str]] = []
        monkeypatch.setattr(module.Release, "_pip", lambda _release, _uv, _log, *arguments: self._pip(arguments))
        monkeypatch.setattr(module, "_uv", lambda _log: ["uv"])
        requirements = [f"{name}=={version} ; extra == 'proxy'" for name, version in REQUIRED.items()]
        monkeypatch.setattr(module.Release, "_litellm_requirements", lambda _release: requirements)
        older = {"litellm-proxy-extras": "0.4.110", "litellm-enterprise": "0.1.83"}
        monkeypatch.setattr(
            module.Release, "_installed_versions", lambda _release: REQUIRED if self.available else older
        )

    def _pip(self, arguments: tuple[Any, ...]) -> None:
        self.calls.append(list(map(str, arguments)))
        if not self.available and not {"--override", "--no-deps"} & set(self.calls[-1]):
            raise self.error


@pytest.fixture
def installed(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a release, of which everything but its packages is installed already."""

    def fake_installation(release: Any) -> None:
        for file in (release.python, release.node):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        release._install_packages(["uv"], release.folder / "install.log")

    monkeypatch.setattr(install.Release, "_install", fake_installation)
    return install.Release("1.110.2")


def test_a_release_is_installed_without_overrides_if_the_registry_has_all_packages(install, installed, monkeypatch):
    registry = Registry(install, monkeypatch, available=True)
    installed.install(in_use=())
    assert [call for call in registry.calls if "--override" in call] == []
    assert installed.substitutes == {}
    installed.install(in_use=())
    assert len(registry.calls) == 1


def test_missing_side_packages_are_replaced_by_older_ones(install, installed, monkeypatch):
    registry = Registry(install, monkeypatch, available=False)
    installed.install(in_use=())
    assert registry.calls[-1][0] == "--override"
    assert Path(registry.calls[-1][1]).read_text().splitlines() == [
        "litellm-proxy ; sys_platform == 'none'",
        "litellm-proxy-extras<=0.4.114.post1",
        "litellm-enterprise<=0.1.83.post1",
    ]
    assert installed.substitutes == {
        "litellm-proxy": "left out instead of 1.110.2",
        "litellm-proxy-extras": "0.4.110 instead of 0.4.114.post1",
        "litellm-enterprise": "0.1.83 instead of 0.1.83.post1",
    }


def test_the_packages_are_replaced_until_the_registry_has_them(install, installed, monkeypatch):
    registry = Registry(install, monkeypatch, available=False)
    installed.install(in_use=())
    marker = installed.folder / "installed first"
    marker.touch()
    installed.install(in_use=())
    assert marker.exists()
    registry.available = True
    installed.install(in_use=(installed.id,))  # a running sandbox keeps its packages
    assert marker.exists()
    installed.install(in_use=())
    assert not marker.exists()
    assert installed.substitutes == {}


def test_the_default_release_is_only_installed_as_it_is_pinned(install, installed, monkeypatch):
    Registry(install, monkeypatch, available=False)
    with pytest.raises(install.SandboxError):
        type(installed)(install.LITELLM).install(in_use=())


@pytest.mark.parametrize(
    ("requirement", "found"),
    [
        ("litellm-proxy-extras==0.4.113 ; extra == 'proxy'", {"litellm-proxy-extras": "0.4.113"}),
        ("litellm-proxy-extras (==0.4.113) ; extra == 'proxy'", {"litellm-proxy-extras": "0.4.113"}),
        ("litellm-enterprise==0.1.82.post1", {"litellm-enterprise": "0.1.82.post1"}),
        ("litellm-enterprise>=0.1", {}),
        ("fastapi==0.165.0", {}),
    ],
)
def test_only_packages_of_litellm_that_are_required_in_one_version_are_replaced(install, requirement, found):
    assert install.side_packages([requirement]) == found


def test_the_default_release_is_the_pinned_one(install):
    assert f"litellm[proxy]=={install.LITELLM}" in (SANDBOX / "requirements.in").read_text().splitlines()
    assert f"litellm=={install.LITELLM} " in (SANDBOX / "requirements.txt").read_text()
