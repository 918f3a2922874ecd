#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Enable, mask, start and stop many systemd units in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: unit_set
short_description: Enable, mask, start and stop many systemd units in one call
version_added: 0.1.0
author:
  - bulwark.hardening contributors (@bulwark-hardening)
description:
  - Asks systemd once for the state of all units, and runs C(systemctl) once for each kind of change.
  - The units are asked again afterwards. One that did not become what it should be fails the task by name; the others
    stay changed.
  - A unit without an C([Install]) section counts as enabled, since others start it; it cannot be disabled, only masked.
  - Nothing is changed, and the task fails, when a step would end what people log in by, such as sshd or the network,
    or start what ends every session.
options:
  units:
    description: The units.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name with its type, such as C(cron.service).
        type: str
        required: true
      enabled:
        description: Whether it starts with the host. Unset leaves it as it is.
        type: bool
      masked:
        description: Whether nothing can start it. Unset leaves it as it is. Masking does not stop a unit that runs.
        type: bool
      state:
        description:
          - Whether it runs now. Unset leaves it as it is.
          - A unit that its own conditions (systemd.unit(5)) keep from starting on this host is left out.
        type: str
        choices: [started, stopped]
      only_if_exists:
        description: Leave the entry out when there is no such unit.
        type: bool
        default: true
requirements:
  - systemd
attributes:
  check_mode:
    description: Reports what would change. A unit that does not exist is left out, since its package may come before.
    support: full
  diff_mode:
    description: State of each unit that changes, before and after.
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
- name: No restart by three keys, no shell on the ninth console, and logs written
  bulwark.hardening.unit_set:
    units:
      - {name: ctrl-alt-del.target, masked: true}
      - {name: debug-shell.service, masked: true, state: stopped}
      - {name: rsyslog.service, enabled: true, state: started, only_if_exists: false}
"""

RETURN = r"""
steps:
  description: What C(systemctl) did, or would in check mode.
  returned: always
  type: list
  elements: dict
  sample: [{name: debug-shell.service, verb: mask}]
left_out:
  description: A sentence for each wish that was left out.
  returned: always
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import units_host
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.host import Refused, require_root

ARGUMENT_SPEC: dict[str, t.Any] = {
    "units": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "enabled": {"type": "bool"},
            "masked": {"type": "bool"},
            "state": {"type": "str", "choices": ["started", "stopped"]},
            "only_if_exists": {"type": "bool", "default": True},
        },
    },
}


def operate(parameters: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Return the result, with `msg` when the task has failed; raises Refused."""
    require_root("units")
    outcome = units_host.converge(parameters["units"], check_mode)
    moved = list(dict.fromkeys(step.name for step in outcome.steps))
    result: dict[str, t.Any] = {
        "changed": bool(outcome.steps),
        "steps": [{"name": step.name, "verb": step.verb} for step in outcome.steps],
        "left_out": list(outcome.left_out),
        "diff": {
            "before": {name: outcome.before[name].shown() for name in moved},
            "after": {
                name: {"systemctl": [step.verb for step in outcome.steps if step.name == name]}
                if check_mode
                else outcome.after[name].shown()
                for name in moved
            },
        },
    }
    if outcome.problems:
        result["msg"] = "; ".join(outcome.problems)
    return result


def main() -> None:
    """Arguments in, one domain call, result out."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
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
