#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load one set of audit rules and prove it on the kernel's own list."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: audit_rules
short_description: Load one set of audit rules and prove it on the kernel's own list
version_added: 0.1.0
author:
  - bulwark.hardening contributors (@bulwark-hardening)
description:
  - Writes the whole set into one file of C(/etc/audit/rules.d), without doubles, has C(augenrules) load it, and
    compares it with C(auditctl -l). The load of all rules ends at the first that the kernel refuses unless told
    otherwise, while auditd looks healthy, so only the kernel's list counts.
  - A rule that the kernel does not have afterwards fails the task by name; the others stay loaded.
  - A rule for a path whose directory does not exist is left out and told in RV(left_out).
  - Rules in other files of the directory stay as they are.
  - Where the kernel's audit is out of reach, as in a container, nothing is changed and RV(applicable) is false.
options:
  path:
    description: The rules file, with mode 0600 and owned by root.
    type: path
    default: /etc/audit/rules.d/50-bulwark.rules
  rules:
    description: Lines as in C(audit.rules(7\)), beginning with C(-a) or C(-w).
    type: list
    elements: str
    default: []
  privileged_programs:
    description: Whether to add one rule for each set-user-ID and set-group-ID program that is found on the host.
    type: bool
    default: false
  backlog:
    description: How many records the kernel keeps while auditd is busy.
    type: int
    default: 8192
  immutable:
    description:
      - Whether to lock the rules until the next boot (C(-e 2)).
      - With locked rules a later change is written, and RV(reboot_needed) is true until the host was restarted.
    type: bool
    default: false
requirements:
  - auditd with augenrules
attributes:
  check_mode:
    description: Reports what would be written and loaded.
    details: A refusal by the kernel shows only at the load.
    support: partial
  diff_mode:
    description: The text of the rules file before and after.
    support: full
  platform:
    description: Operating systems that the module works on.
    support: full
    platforms: linux
seealso:
  - name: CIS Debian Linux 12 Benchmark
    description: Section 6.2, system auditing.
    link: https://www.cisecurity.org/benchmark/debian_linux
"""

EXAMPLES = r"""
- name: Record changes to sudo's policy and to the clock
  bulwark.hardening.audit_rules:
    rules:
      - -w /etc/sudoers -p wa -k scope
      - -w /etc/sudoers.d -p wa -k scope
      - -a always,exit -F arch=b64 -S adjtimex,settimeofday,clock_settime -k time-change
    privileged_programs: true
"""

RETURN = r"""
applicable:
  description: Whether the kernel's audit rules can be reached from this host.
  returned: always
  type: bool
reason:
  description: Why RV(applicable) is false or RV(reboot_needed) is true; else empty.
  returned: always
  type: str
rules:
  description: The set without doubles, the privileged programs included.
  returned: always
  type: list
  elements: str
missing:
  description: Rules that the kernel does not hold after the load, each with the reason.
  returned: always
  type: list
  elements: dict
left_out:
  description: Rules that were left out, each with the reason.
  returned: always
  type: list
  elements: dict
reboot_needed:
  description: Whether the rules are locked and the new ones come with the next boot.
  returned: always
  type: bool
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.audit import AuditRuleError
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.audit_host import converge

ARGUMENT_SPEC: dict[str, t.Any] = {
    "path": {"type": "path", "default": "/etc/audit/rules.d/50-bulwark.rules"},
    "rules": {"type": "list", "elements": "str", "default": []},
    "privileged_programs": {"type": "bool", "default": False},
    "backlog": {"type": "int", "default": 8192},
    "immutable": {"type": "bool", "default": False},
}


def main() -> None:
    """Arguments in, one domain call, result out."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)

    def run(command: t.Sequence[str]) -> tuple[int, str, str]:
        code, output, errors = module.run_command(list(command), environ_update={"LC_ALL": "C"}, handle_exceptions=True)
        return int(code), str(output), str(errors)

    path = module.params["path"]
    try:
        outcome = converge(
            path,
            module.params["rules"],
            module.params["privileged_programs"],
            module.params["backlog"],
            module.params["immutable"],
            module.check_mode,
            run,
        )
    except AuditRuleError as error:
        module.fail_json(msg=str(error))
        return
    except OSError as error:
        module.fail_json(msg=f"{path} cannot be written: {error.strerror or error}; no audit rule was changed")
        return
    result: dict[str, t.Any] = {
        "changed": outcome.changed,
        "applicable": outcome.applicable,
        "reason": outcome.reason,
        "rules": outcome.wished,
        "missing": outcome.missing,
        "left_out": outcome.left_out,
        "reboot_needed": outcome.reboot_needed,
    }
    if outcome.changed:
        result["diff"] = {
            "before": outcome.before,
            "after": outcome.after,
            "before_header": path,
            "after_header": path,
        }
    if outcome.missing:
        names = "; ".join(f"{entry['rule']} ({entry['reason']})" for entry in outcome.missing[:5])
        module.fail_json(
            msg=f"the kernel does not hold {len(outcome.missing)} of {len(outcome.wished)} audit rules: {names}",
            **result,
        )
        return
    module.exit_json(**result)


if __name__ == "__main__":
    main()
