#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set owners and modes of many paths in one call, without following a link."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: permission_set
short_description: Set owners and modes of many paths in one call, without following a link
version_added: 0.1.0
author:
  - bulwark.hardening contributors (@bulwark-hardening)
description:
  - Sets owner, group and mode of files and directories that patterns find, or only takes away what is too much.
  - No link is ever followed, neither to find a path nor to set it. A link that is named in full is left as it is and
    told in RV(left_out).
  - A file with a second name, in a directory where others than root may make names, is left as it is and told in
    RV(left_out), since that name could be another file's.
  - What does not exist is no difference.
  - Nothing is changed, and the task fails, when somebody who has a key could not log in any more, or sudo would not
    work.
options:
  entries:
    description: What should be true. Several entries may be about one path; they are applied in their order.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description:
          - An absolute path. C(*), C(?) and C([]) match within one name, and no leading dot; C(**) is any number of
            directories.
        type: str
        required: true
      owner:
        description: Name or number.
        type: str
      group:
        description: Name or number.
        type: str
      mode:
        description: Three or four octal digits in quotes.
        type: str
      at_most:
        description:
          - Take away what goes beyond O(entries[].mode), and grant nothing. Set-user-ID, set-group-ID and sticky bits
            stay.
        type: bool
        default: false
      type:
        description: Only files, or only directories. Unset means both; nothing else is ever touched.
        type: str
        choices: [file, directory]
      except:
        description: Paths that are left out, with the same wildcards.
        type: list
        elements: str
        default: []
  suid_stripped:
    description:
      - Programs that should not run with the rights of their owner or group. C(dpkg-statoverride) keeps it so across
        updates, where there is one.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: >-
      Reports what would change. Owners that are not there are taken for what an earlier task would have made.
    support: full
  diff_mode:
    description: Owner, group and mode of each path, before and after.
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
- name: The usual files, logs that only their readers can read, and one program less that lends rights
  bulwark.hardening.permission_set:
    entries:
      - {path: /etc/shadow, owner: root, group: shadow, mode: "0640"}
      - {path: /var/log/**/*, type: file, mode: "0640", at_most: true}
    suid_stripped: [/usr/bin/chfn]
"""

RETURN = r"""
changes:
  description: Each path that changed, or would in check mode.
  returned: success
  type: list
  elements: dict
  sample: [{path: /etc/shadow, before: {owner: root, group: root, mode: "0644"},
            after: {owner: root, group: shadow, mode: "0640"}}]
overrides:
  description: The programs whose mode C(dpkg) was told to keep.
  returned: success
  type: list
  elements: str
left_out:
  description: A sentence for each path that was left as it is.
  returned: success
  type: list
  elements: str
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import permissions_host
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.host import Refused, require_root

ARGUMENT_SPEC: dict[str, t.Any] = {
    "entries": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "str", "required": True},
            "owner": {"type": "str"},
            "group": {"type": "str"},
            "mode": {"type": "str"},
            "at_most": {"type": "bool", "default": False},
            "type": {"type": "str", "choices": ["file", "directory"]},
            "except": {"type": "list", "elements": "str", "default": []},
        },
    },
    "suid_stripped": {"type": "list", "elements": "str", "default": []},
}


def operate(parameters: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Return the result, with `msg` when the task has failed; raises Refused."""
    require_root("owners and modes")
    outcome = permissions_host.converge(parameters["entries"], parameters["suid_stripped"], check_mode)
    shown = permissions_host.shown
    changes = [
        {"path": change.path, "before": shown(change.before), "after": shown(change.after)}
        for change in outcome.changes
    ]
    result: dict[str, t.Any] = {
        "changed": bool(outcome.changes or outcome.overrides),
        "changes": changes,
        "overrides": list(outcome.overrides),
        "left_out": list(outcome.left_out),
        "diff": {side: {change["path"]: change[side] for change in changes} for side in ("before", "after")},
    }
    if outcome.problems:
        result["msg"] = "; ".join(outcome.problems)
    return result


def main() -> None:
    """Arguments in, one domain call, result out."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    os.umask(0o022)
    try:
        result = operate(module.params, module.check_mode)
    except Refused as error:
        module.fail_json(msg=str(error))
        return
    if "msg" in result:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
