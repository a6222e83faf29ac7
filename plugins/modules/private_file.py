#!/usr/bin/python
# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: private_file
short_description: Write a file that other users must not read or redirect
version_added: 2.1.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Writes a whole file, or one block of lines in a file. Used by the roles and playbooks of this collection for files
    that contain virtual keys.
  - A new file is readable by others at no moment. It has its owner and its mode before it has any content, and replaces
    the old file atomically.
  - Every part of O(path) must belong to root, to the user that runs the module, or to O(owner), or be in a directory
    that nobody else can change. Symbolic links are followed only if they belong to root or to the user that runs the
    module, in a directory where no other user could have put them. The module fails otherwise, and changes nothing.
  - Unlike the other modules of this collection, it runs on the managed node. It requires Python 3.6 or later. Facts and
    statistics that the node returns are dropped.
options:
  path:
    description: The file. Its directory must exist.
    type: path
    required: true
  state:
    description:
      - V(present) writes the file or the block.
      - V(absent) removes the block if O(block) is set. Otherwise, it removes the file if its first line is O(header).
        Anything else stays as it is, and causes a warning.
    type: str
    choices: [present, absent]
    default: present
  content:
    description: The content of the file, after O(header), or the lines of the block.
    type: str
    default: ""
  header:
    description: The first line of the file. By it, O(state=absent) knows the file again. It is required for that.
    type: str
  former_headers:
    description: Beginnings of first lines by which O(state=absent) knows files of earlier releases again.
    type: list
    elements: str
    default: []
  block:
    description:
      - The name of a block. Only this block is written, between the lines C(# BEGIN name) and C(# END name), and the
        rest of the file is kept.
    type: str
  owner:
    description:
      - The owner of the file. By default, the owner of an existing file with other lines is kept, and any other file
        belongs to the user that runs the module.
    type: str
  group:
    description: The group of the file.
    type: str
  mode:
    description: The mode of the file, as an octal number.
    type: str
    default: "0600"
seealso:
  - name: Hand a key to an application
    description: How the role writes keys to files.
    link: https://rhpds.github.io/rhpds.litellm_virtual_keys/docsite/hand_over_a_key.html
  - name: Security
    description: The rules for files.
    link: https://rhpds.github.io/rhpds.litellm_virtual_keys/docsite/security.html
attributes:
  check_mode:
    support: full
    description: Returns what would change, and changes nothing.
  diff_mode:
    support: none
    description: Returns what changed. Never, because the files contain secrets.
  platform:
    support: full
    platforms: posix
    description: The platforms of the managed node.
notes:
  - Access control lists of an existing file are not kept.
"""

EXAMPLES = r"""
- name: Write an environment variable to a file of the user
  rhpds.litellm_virtual_keys.private_file:
    path: /home/user1/.env
    block: virtkey-user123
    content: "OPENAI_API_KEY={{ virtual_key.key }}"
    owner: user1
  no_log: true

- name: Remove it again
  rhpds.litellm_virtual_keys.private_file:
    path: /home/user1/.env
    block: virtkey-user123
    owner: user1
    state: absent
"""

RETURN = r"""
path:
  description: The file.
  returned: always
  type: str
  sample: /home/user1/.env
"""

import grp
import os
import pwd
import stat
from typing import Any, Callable, Dict, Optional, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rhpds.litellm_virtual_keys.plugins.module_utils._file_trust import (
    Trust,
    UnsafeFileError,
    own_uids,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.module_utils._files import Folder
from ansible_collections.rhpds.litellm_virtual_keys.plugins.module_utils._paths import open_parent

MAX_BYTES = 4 << 20


class Refused(Exception):
    """The file cannot be used. The message is a sentence."""


def with_block(text: str, name: str, lines: str) -> str:
    """Return a text in which the block has these lines, where it was, or else at the end."""
    begin, end = markers(name)
    before, after = split_at_block(text, name) or (text, "")
    if before and not before.endswith("\n"):
        before += "\n"
    return f"{before}{begin}\n{complete(lines)}{end}\n{after}"


def without_block(text: str, name: str) -> str:
    """Return a text without the block."""
    return "".join(split_at_block(text, name) or (text,))


def split_at_block(text: str, name: str) -> Optional[Tuple[str, str]]:
    """Return what is before and after the block, and None if there is no complete block."""
    begin, end = markers(name)
    lines = text.splitlines(True)
    bare = [line.rstrip("\r\n") for line in lines]
    if begin not in bare or end not in bare[bare.index(begin) :]:
        return None
    last = bare.index(end, bare.index(begin))
    first = max(number for number in range(last) if bare[number] == begin)
    return "".join(lines[:first]), "".join(lines[last + 1 :])


def markers(name: str) -> Tuple[str, str]:
    """Return the lines around a block: those of `ansible.builtin.blockinfile`, which earlier releases used."""
    return f"# BEGIN {name}", f"# END {name}"


def complete(lines: str) -> str:
    return lines if not lines or lines.endswith("\n") else lines + "\n"


def whole(header: Optional[str], content: str) -> str:
    return complete(header or "") + complete(content)


def number_of(value: Optional[str], kind: str, find: Callable[[str], int]) -> Optional[int]:
    """Return the number of a user or a group, from its name or its number."""
    if not value:
        return None
    try:
        return int(value) if value.isdigit() else find(value)
    except KeyError:
        raise Refused(f"{kind} '{value}' does not exist on this host; create it first") from None


class PrivateFile:
    """The file, in its open directory."""

    def __init__(
        self, options: Dict[str, Any], folder: Folder, name: str, owner: Optional[int], group: Optional[int]
    ) -> None:
        self.options = options
        self.folder = folder
        self.name = name
        self.owner = owner
        self.group = group

    def write(self, is_check: bool) -> bool:
        """Write the content, and return whether anything changes."""
        block = self.options["block"]
        if block:
            before, status = self._read()
            after = with_block(before, block, self.options["content"])
        else:
            status = self.folder.check(self.name)
            # A file of somebody else is not read, but replaced.
            is_own = status is not None and status.st_uid == self._new_owner(None)
            before = self._read()[0] if is_own else ""
            after = whole(self.options["header"], self.options["content"])
        return self._replace(before, after, status, status if block else None, is_check)

    def remove(self, is_check: bool) -> Tuple[bool, str]:
        """Remove the block or the file, and return whether anything changes, and a warning."""
        text, status = self._read()
        if status is None:
            return False, ""
        if self.options["block"]:
            after = without_block(text, self.options["block"])
            return after != text and self._replace(text, after, status, status, is_check), ""
        first_line = text.partition("\n")[0].rstrip("\r")
        if first_line != self.options["header"] and not first_line.startswith(tuple(self.options["former_headers"])):
            path, header = self.options["path"], self.options["header"]
            return False, f"{path} was not removed, because its first line is not: {header}"
        if not is_check:
            self.folder.remove(self.name)
        return True, ""

    def _read(self) -> Tuple[str, Optional[os.stat_result]]:
        found = self.folder.read(self.name, MAX_BYTES)
        if found is None:
            return "", None
        content, status = found
        is_moved = self.owner is not None and status.st_uid != self.owner
        if is_moved and not self.folder.is_exclusive_to(self.folder.trust.uids):
            path, owner = self.options["path"], self.options["owner"]
            raise Refused(
                f"{path} does not belong to {owner}, who could have put it there; move it away, or change its owner"
            )
        return content.decode("utf-8", "surrogateescape"), status

    def _new_owner(self, kept: Optional[os.stat_result]) -> int:
        if self.owner is not None:
            return self.owner
        return kept.st_uid if kept else os.geteuid()

    def _replace(
        self, before: str, after: str, status: Optional[os.stat_result], kept: Optional[os.stat_result], is_check: bool
    ) -> bool:
        """Replace the file if its content, owner, group or mode is not the desired one.

        :param status: what the file is, and None if there is none.
        :param kept: the same, if the file keeps its owner and group.
        """
        owner = self._new_owner(kept)
        mode = int(self.options["mode"], 8)
        is_same = status and after == before and status.st_uid == owner and stat.S_IMODE(status.st_mode) == mode
        if status and is_same and self.group in (None, status.st_gid):
            return False
        if is_check:
            return True
        group = self.group
        if group is None and kept:
            group = kept.st_gid
        if group is None and owner != os.geteuid():
            group = pwd.getpwuid(owner).pw_gid
        numbers = (owner if owner != os.geteuid() else -1, -1 if group is None else group)
        self.folder.replace(self.name, after.encode("utf-8", "surrogateescape"), mode, numbers)
        return True


def run(options: Dict[str, Any], is_check: bool) -> Tuple[bool, str]:
    """Do what the options ask for, and return whether anything changes, and a warning."""
    owner = number_of(options["owner"], "User", lambda name: pwd.getpwnam(name).pw_uid)
    group = number_of(options["group"], "Group", lambda name: grp.getgrnam(name).gr_gid)
    is_absent = options["state"] == "absent"
    try:
        with open_parent(options["path"], Trust(own_uids(), owner, is_strict=False)) as (folder, name):
            file = PrivateFile(options, folder, name, owner, group)
            return file.remove(is_check) if is_absent else (file.write(is_check), "")
    except FileNotFoundError:
        if is_absent:
            return False, ""
        if is_check:
            return True, ""
        raise Refused(f"The directory of {options['path']} does not exist; create it first") from None
    except (UnsafeFileError, Refused) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if is_absent:  # what is there was not written by this module
            return False, f"Nothing was removed: {reason}"
        raise Refused(f"Cannot write {options['path']}: {reason}") from None


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "content": {"type": "str", "default": "", "no_log": True},
            "header": {"type": "str"},
            "former_headers": {"type": "list", "elements": "str", "default": []},
            "block": {"type": "str"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
            "mode": {"type": "str", "default": "0600"},
        },
        mutually_exclusive=[("block", "header")],
        required_if=[("state", "absent", ("block", "header"), True)],
        supports_check_mode=True,
    )
    try:
        changed, warning = run(module.params, module.check_mode)
    except Refused as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"Cannot write {module.params['path']}: {error.strerror or error}")
    if warning:
        module.warn(warning)
    module.exit_json(changed=changed, path=module.params["path"])


if __name__ == "__main__":
    main()
