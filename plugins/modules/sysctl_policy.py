#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set kernel parameters now and for every boot, and say what the kernel made of each."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: sysctl_policy
short_description: Set kernel parameters now and for every boot, and say what the kernel made of each
version_added: 0.1.0
author:
  - bulwark.hardening contributors (@bulwark-hardening)
description:
  - Writes all parameters into one file of C(/etc/sysctl.d) and sets them in the running kernel, in one call.
  - C(*) stands for every network interface that exists, besides C(all) and C(default), which never reach those. An
    interface that comes later gets the value from systemd, by the line with C(*) in the file.
  - Every key is read back. One that this kernel does not have, or refuses, is in the result with the reason.
  - Files that give a key another value later, at the next boot or when ufw or Docker starts, are in RV(overridden), and
    a warning names them.
notes:
  - A refused key fails the task only when it is one of C(net), which a host has to itself even as a container.
options:
  path:
    description:
      - The file, which is rewritten whole. Its name should sort behind those of the distribution, such as Debian's
        C(99-protect-links.conf), because the last one counts.
    type: str
    default: /etc/sysctl.d/99-zz-bulwark.conf
  parameters:
    description:
      - Values by key. As in C(sysctl(8\)), a dot in the name of an interface is written as a slash.
      - A key that is named wins over one with C(*).
    type: dict
    default: {}
attributes:
  check_mode:
    description: Reports what would change.
    details: Whether the kernel takes a new value shows only when it is written.
    support: partial
  diff_mode:
    description: The file and the values of the running kernel, before and after.
    support: full
  idempotent:
    description: A second run changes nothing, refused keys included.
    support: full
  platform:
    description: Operating systems that the module works on.
    support: full
    platforms: linux
"""

EXAMPLES = r"""
- name: No redirects on any interface, and no way to see the kernel's addresses
  bulwark.hardening.sysctl_policy:
    parameters:
      net.ipv4.conf.*.accept_redirects: 0
      net.ipv4.conf.*.send_redirects: 0
      kernel.kptr_restrict: 2
"""

RETURN = r"""
parameters:
  description: Every key of this kernel that the parameters are about.
  returned: always
  type: list
  elements: dict
  contains:
    key:
      description: The key, with the name of the interface in place of C(*).
      type: str
    wished:
      description: The value that it should have.
      type: str
    observed:
      description: The value that it has after the run; in check mode, the one that it would have.
      type: str
    state:
      description: V(unchanged), V(changed), V(refused) or V(missing).
      type: str
    reason:
      description: Why it is refused or missing; else empty.
      type: str
refused:
  description: The keys whose value the kernel refused.
  returned: always
  type: list
  elements: str
missing:
  description: The keys that this kernel does not have.
  returned: always
  type: list
  elements: str
overridden:
  description: The keys that would have another value after a boot, with that value and the file it comes from.
  returned: always
  type: list
  elements: dict
  sample: [{key: net.ipv4.conf.all.log_martians, wished: "1", value: "0", file: /etc/ufw/sysctl.conf}]
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import sysctls, sysctls_host
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.host import Refused, require_root

ARGUMENT_SPEC: dict[str, t.Any] = {
    "path": {"type": "str", "default": "/etc/sysctl.d/99-zz-bulwark.conf"},
    "parameters": {"type": "dict", "default": {}},
}


def operate(parameters: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Return the result, with `msg` when the task has failed; raises Refused."""
    require_root("kernel parameters")
    outcome = sysctls_host.converge(parameters["path"], parameters["parameters"], check_mode)
    states = outcome.states
    moved = [state for state in states if state.state == sysctls.CHANGED]
    result: dict[str, t.Any] = {
        "changed": outcome.changed,
        "parameters": [
            {name: getattr(state, name) for name in ("key", "wished", "observed", "state", "reason")}
            for state in states
        ],
        "refused": [state.key for state in states if state.state == sysctls.REFUSED],
        "missing": [state.key for state in states if state.state == sysctls.MISSING],
        "overridden": [
            {"key": entry.key, "wished": entry.wished, "value": entry.value, "file": entry.source}
            for entry in outcome.overridden
        ],
        "warnings": _warnings(outcome),
        "diff": [
            {
                "before": outcome.before,
                "after": outcome.after,
                "before_header": parameters["path"],
                "after_header": parameters["path"],
            },
            {
                "before": {state.key: state.before for state in moved},
                "after": {state.key: state.observed for state in moved},
                "before_header": "running kernel",
                "after_header": "running kernel",
            },
        ],
    }
    failed = [state for state in states if state.state == sysctls.REFUSED and state.namespaced]
    if failed:
        listed = "; ".join(f"{state.key} = {state.wished} ({state.reason})" for state in failed)
        result["msg"] = f"the kernel refused parameters of this host's own network: {listed}"
    return result


def _warnings(outcome: sysctls_host.Outcome) -> list[str]:
    by_file: dict[str, list[str]] = {}
    for entry in outcome.overridden:
        by_file.setdefault(entry.source, []).append(f"{entry.key} = {entry.value}")
    return [
        f"{source} sets {', '.join(keys)} later than this policy; change it there, or these go back"
        for source, keys in by_file.items()
    ]


def main() -> None:
    """Arguments in, one domain call, result out."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    os.umask(0o022)
    try:
        result = operate(module.params, module.check_mode)
    except Refused as error:
        module.fail_json(msg=str(error))
        return
    for warning in result.pop("warnings"):
        module.warn(warning)
    if "msg" in result:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
