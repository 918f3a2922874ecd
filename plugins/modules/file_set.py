#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a set of files to a host, all of them or none."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: file_set
short_description: Bring a set of files to a host, all of them or none
version_added: 0.1.0
author:
  - bulwark.hardening contributors (@bulwark-hardening)
description:
  - Makes files what they should be in one call, whatever their number. An entry gives the whole content, or edits
    single settings, or keeps one block of lines; all other bytes of an edited file stay as they are.
  - Every candidate is first shown to the program that will read it. If one is refused, nothing is changed.
  - All files are then replaced together. If that fails at any of them, as on a full disk, all are put back. A run that
    is interrupted in between is undone by the next one, which then goes on.
  - Commands run once, after the last file is in place. If one fails, the files are put back and the commands that had
    run are run again. A command that an interrupted run did not come to is run by the next one.
  - No part of a path may be a symbolic link.
notes:
  - What can lock somebody out is refused. It belongs to M(bulwark.hardening.access_policy), M(bulwark.hardening.sshd)
    and the like, which prove a new login.
  - Neither the diff nor the output shows a file that not everybody may read.
options:
  files:
    description:
      - The files. Several entries of one path are edits of the same file, in their order.
      - An entry with none of O(files[].content), O(files[].settings) and O(files[].block) leaves the content as it is;
        a file that does not exist is then made, empty.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The absolute path. Missing directories above it are created, with mode 0755 and owned by root.
        type: str
        required: true
      state:
        description: Whether the file, or the block, should be there.
        type: str
        choices: [present, absent]
        default: present
      content:
        description: The whole content.
        type: str
      settings:
        description: Keys that should have exactly these values, each in one line. Second lines of a key are removed.
        type: dict
        suboptions:
          format:
            description:
              - V(space) is C(KEY value), as in C(login.defs).
              - V(equals) is C(KEY=value), as in C(/etc/default), or C(key = value). A line keeps its own spaces around
                the sign, a new one takes those that the file mostly has.
              - V(ini) is V(equals) below a C([section]).
            type: str
            choices: [space, equals, ini]
            required: true
          section:
            description: The section of an V(ini) file. It is created when missing. Unset means above the first one.
            type: str
          values:
            description:
              - Values by key. V(null) removes the key, a list makes one line for each of its items.
              - A value is a text or a number. YAML's C(yes) and C(no) are neither and need quotes.
            type: dict
            default: {}
          flags:
            description: Words that stand alone in a line, such as C(even_deny_root).
            type: list
            elements: str
            default: []
      block:
        description: Lines that are kept together between two comment lines, C(# BEGIN bulwark NAME) and its end.
        type: dict
        suboptions:
          name:
            description: Tells the block from others in the file.
            type: str
            required: true
          text:
            description: The lines. Empty removes the block.
            type: str
            default: ''
          at:
            description: Where a new block goes. One that is there keeps its place.
            type: str
            choices: [start, end]
            default: end
      owner:
        description: Name or number of the owner. When unset, a file keeps its own, and a new one is root's.
        type: str
      group:
        description: Name or number of the group. When unset, a file keeps its own, and a new one is root's.
        type: str
      mode:
        description: Three or four octal digits in quotes. When unset, a file keeps its own, and a new one gets 0644.
        type: str
      validate:
        description: A program that reads the candidate and fails when it is wrong. C(%s) stands for its path.
        type: list
        elements: str
        default: []
      only_if_exists:
        description: Leave the entry out when there is no such file.
        type: bool
        default: false
  commands_after:
    description: Programs to run when files changed, each at most once and in this order.
    type: list
    elements: dict
    default: []
    suboptions:
      argv:
        description: The program and its arguments.
        type: list
        elements: str
        required: true
      when_changed:
        description: Paths whose change makes it due. C(*) stands for anything.
        type: list
        elements: str
        required: true
attributes:
  check_mode:
    description: >-
      Reports what would change. Validation happens when it is applied. Owners that are not there are taken for what an
      earlier task would have made.
    support: full
  diff_mode:
    description: Each file before and after, unless not everybody may read it.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
  platform:
    description: Operating systems that the module works on.
    support: full
    platforms: linux
"""

EXAMPLES = r"""
- name: Persistent journal, a legal notice, and a schedule that anacron takes
  bulwark.hardening.file_set:
    files:
      - path: /etc/systemd/journald.conf
        settings: {format: ini, section: Journal, values: {Storage: persistent, Compress: "yes"}}
      - path: /etc/issue.net
        content: "Authorised use only.\n"
        mode: "0644"
      - path: /etc/anacrontab
        settings: {format: equals, values: {RANDOM_DELAY: 30}}
        validate: [anacron, -T, -t, "%s"]
    commands_after:
      - argv: [systemctl, restart, systemd-journald.service]
        when_changed: [/etc/systemd/journald.conf]
"""

RETURN = r"""
files:
  description: Each file that changed, or would in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
    action:
      description: V(created), V(changed) or V(removed).
      type: str
    what:
      description: Which of content, owner, group and mode of a changed file differ.
      type: list
      elements: str
commands:
  description: The commands that ran, or would in check mode.
  returned: success
  type: list
  elements: list
  sample: [["systemctl", "restart", "systemd-journald.service"]]
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import files, files_host
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.host import Refused, require_root

ARGUMENT_SPEC: dict[str, t.Any] = {
    "files": files.FILES_OPTION,
    "commands_after": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "argv": {"type": "list", "elements": "str", "required": True},
            "when_changed": {"type": "list", "elements": "str", "required": True},
        },
    },
}


def operate(parameters: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Return the result; raises Refused."""
    require_root("files of the system")
    outcome = files_host.converge(parameters["files"], parameters["commands_after"], check_mode)
    return {
        "changed": bool(outcome.changes or outcome.commands),
        "files": [
            {"path": change.path, "action": change.action, "what": list(change.what)} for change in outcome.changes
        ],
        "commands": [list(argv) for argv in outcome.commands],
        "diff": files.diff(outcome.changes),
    }


class Module(AnsibleModule):  # type: ignore[misc]  # the class has no annotations
    """A module that tells the system's log which files it is about, and not what is in them."""

    def _log_invocation(self) -> None:
        self.log(f"Invoked with files={[entry['path'] for entry in self.params['files']]}")


def main() -> None:
    """Arguments in, one domain call, result out."""
    module = Module(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    module.no_log_values.update(files.secrets(module.params["files"]))
    os.umask(0o022)
    try:
        result = operate(module.params, module.check_mode)
    except Refused as error:
        module.fail_json(msg=str(error))
        return
    module.exit_json(**result)


if __name__ == "__main__":
    main()
