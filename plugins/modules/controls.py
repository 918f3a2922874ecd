#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe the controls of a host and give a verdict on each."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: controls
short_description: Observe the controls of a host and give a verdict on each
version_added: 0.1.0
author:
  - bulwark.hardening contributors (@bulwark-hardening)
description:
  - Reads what is in effect on the running system, such as values of the kernel, loaded rules, units as systemd has
    them, PAM stacks as they are walked, modes on disk, and compares it with what each control expects.
  - Changes nothing, and shares no code with what enforces the controls.
  - A control that cannot be observed gets the verdict V(unknown) with the reason, and hides none of the others.
requirements:
  - root, since much of what is observed is hidden from others
  - systemd as the running init
attributes:
  check_mode:
    support: full
    description: Does the same as without it, since nothing is ever changed.
  diff_mode:
    support: none
    description: There is no change to show.
  platform:
    support: full
    platforms: linux
    description: Debian 12 and 13 are tested.
options:
  controls:
    description:
      - The controls to observe, as the filter P(bulwark.hardening.baseline_policy#filter) gives them.
    type: list
    elements: dict
    required: true
    suboptions:
      id:
        description:
          - Identifier of the control.
        type: str
        required: true
      title:
        description:
          - What is true when it passes.
        type: str
        default: ''
      readers:
        description:
          - What to observe; all must pass.
        type: list
        elements: dict
        default: []
        suboptions:
          reader:
            description:
              - Name of a reader.
            type: str
            required: true
          parameters:
            description:
              - What it takes, which differs by reader.
            type: dict
            default: {}
      needs:
        description:
          - V(own_kernel) makes a control not applicable in a container, which has the kernel of its host; V(reboot)
            says that a change of it takes effect at the next boot only.
        type: list
        elements: str
        default: []
        choices:
          - own_kernel
          - reboot
      waiver:
        description:
          - Who takes it upon them that this control is not met. It is observed all the same.
        type: dict
        suboptions:
          control:
            description:
              - The control again, as inventories write it.
            type: str
          owner:
            description:
              - Who answers for it.
            type: str
            required: true
          reason:
            description:
              - Why.
            type: str
            required: true
          expires:
            description:
              - Last day on which it holds, as YYYY-MM-DD.
            type: str
            required: true
      not_applicable:
        description:
          - Why the control does not apply to this host. Empty if it does.
        type: str
        default: ''
      reported:
        description:
          - Whether nothing ever enforces the control, so that what fails is left to a person. It is handed through.
        type: bool
        default: false
"""

EXAMPLES = r"""
- name: Look whether redirects are refused on every interface, and root's mail goes nowhere
  bulwark.hardening.controls:
    controls:
      - id: OS-14
        title: ICMP redirects are neither accepted nor sent
        readers:
          - reader: sysctl
            parameters: {keys: {"net.ipv4.conf.*.accept_redirects": 0, "net.ipv4.conf.*.send_redirects": 0}}
      - id: OS-58
        title: No printing service
        readers:
          - reader: unit
            parameters: {units: [{name: cups.service, absent: true}]}
        waiver: {owner: print team, reason: this is the print server, expires: "2030-12-31"}
  register: controls_result
"""

RETURN = r"""
controls:
  description:
    - What was observed of each control. C(verdict) is one of V(pass), V(fail), V(waived),
      V(not_applicable), V(pending) (it takes effect at the next boot), V(unknown).
    - C(verdict_without_waiver) and C(waiver) are there for waived controls only.
  returned: success
  type: list
  elements: dict
  sample:
    - id: OS-14
      title: ICMP redirects are neither accepted nor sent
      verdict: fail
      expected: net.ipv4.conf.eth0.accept_redirects 0
      observed: net.ipv4.conf.eth0.accept_redirects 1 (all 0, itself 1)
      reason: ''
      source: /proc/sys
      reported: false
counts:
  description: How many controls got each verdict.
  returned: success
  type: dict
  sample: {pass: 70, fail: 1, waived: 2, not_applicable: 9, pending: 0, unknown: 0}
seconds:
  description: How long the host took.
  returned: success
  type: float
  sample: 0.6
"""

import os
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.evaluate import Refused, counts, evaluate
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.host import Host

READER: dict[str, t.Any] = {
    "reader": {"type": "str", "required": True},
    "parameters": {"type": "dict", "default": {}},
}
WAIVER: dict[str, t.Any] = {
    "control": {"type": "str"},
    "owner": {"type": "str", "required": True},
    "reason": {"type": "str", "required": True},
    "expires": {"type": "str", "required": True},
}
CONTROL: dict[str, t.Any] = {
    "id": {"type": "str", "required": True},
    "title": {"type": "str", "default": ""},
    "readers": {"type": "list", "elements": "dict", "default": [], "options": READER},
    "needs": {"type": "list", "elements": "str", "default": [], "choices": ["own_kernel", "reboot"]},
    "waiver": {"type": "dict", "options": WAIVER},
    "not_applicable": {"type": "str", "default": ""},
    "reported": {"type": "bool", "default": False},
}
ARGUMENT_SPEC: dict[str, t.Any] = {
    "controls": {"type": "list", "elements": "dict", "required": True, "options": CONTROL}
}


def operate(controls: t.Sequence[t.Mapping[str, t.Any]], host: Host) -> dict[str, t.Any]:
    """Observe all controls on a host; raises Refused with the sentence for the user."""
    if os.geteuid() != 0:
        raise Refused("controls can be observed by root only; set become to true")
    started = time.monotonic()
    results = evaluate(host, controls)
    seconds = round(time.monotonic() - started, 3)
    return {"changed": False, "controls": results, "counts": counts(results), "seconds": seconds}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    host = Host()
    try:
        result = operate(module.params["controls"], host)
    except Refused as error:
        module.fail_json(msg=str(error))
    finally:
        host.close()
    module.exit_json(**result)


if __name__ == "__main__":
    main()
