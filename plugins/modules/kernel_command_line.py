#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give the kernel parameters at its next start without breaking the boot loader."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: kernel_command_line
short_description: Give the kernel parameters at its next start without breaking the boot loader
version_added: 0.1.0
author:
  - bulwark.hardening contributors (@bulwark-hardening)
description:
  - Writes C(/etc/default/grub.d/99-bulwark.cfg) and has C(update-grub) make the boot menu anew. The menu must be one
    that grub can read and in which every entry has every parameter; otherwise the old menu and files come back and the
    task fails.
  - Where C(grubby) is the host's means, as in the RHEL family, it adds what is absent.
  - Never restarts the host. RV(reboot_needed) says whether the running kernel was started without a parameter.
options:
  parameters:
    description: Words of the form NAME or NAME=VALUE.
    type: list
    elements: str
    default: []
  superuser:
    description:
      - Name of the user that grub asks for before it lets anybody edit an entry or open its shell. Entries still start
        without it. Empty for none.
    type: str
    default: ""
  password_hash:
    description: What C(grub-mkpasswd-pbkdf2) prints for that user, beginning with C(grub.pbkdf2.sha512).
    type: str
    default: ""
attributes:
  check_mode:
    description: Reports what would be written.
    details: Whether update-grub accepts it shows only in a run.
    support: partial
  diff_mode:
    description: The file with the parameters before and after, never the password's hash.
    support: full
  platform:
    description: Operating systems that the module works on.
    support: full
    platforms: linux
"""

EXAMPLES = r"""
- name: Audit from the first process on
  bulwark.hardening.kernel_command_line:
    parameters: [audit=1, audit_backlog_limit=8192]
"""

RETURN = r"""
applicable:
  description: Whether the host has a boot loader that this module knows.
  returned: always
  type: bool
reason:
  description: Why RV(applicable) is false; else empty.
  returned: always
  type: str
waiting:
  description: Parameters that the running kernel was started without.
  returned: always
  type: list
  elements: str
reboot_needed:
  description: Whether RV(waiting) holds anything and the boot menu has it.
  returned: always
  type: bool
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.command_line import (
    CommandLineError,
    converge,
)

ARGUMENT_SPEC: dict[str, t.Any] = {
    "parameters": {"type": "list", "elements": "str", "default": []},
    "superuser": {"type": "str", "default": ""},
    "password_hash": {"type": "str", "default": "", "no_log": True},
}


def main() -> None:
    """Arguments in, one domain call, result out."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)

    def run(command: t.Sequence[str]) -> tuple[int, str, str]:
        try:
            code, output, errors = module.run_command(
                list(command), environ_update={"LC_ALL": "C"}, handle_exceptions=False
            )
        except OSError as error:
            return 127, "", f"{command[0]} cannot be run: {error.strerror or error}"
        return int(code), str(output), str(errors)

    try:
        outcome = converge(
            module.params["parameters"],
            module.params["superuser"],
            module.params["password_hash"],
            module.check_mode,
            run,
        )
    except CommandLineError as error:
        module.fail_json(msg=str(error))
        return
    except OSError as error:
        module.fail_json(msg=f"{error.filename or 'a boot loader file'} cannot be written: {error.strerror or error}")
        return
    result: dict[str, t.Any] = {
        "changed": outcome.changed,
        "applicable": outcome.applicable,
        "reason": outcome.reason,
        "waiting": outcome.waiting if outcome.applicable else [],
        "reboot_needed": outcome.applicable and bool(outcome.waiting),
    }
    if outcome.changed:
        result["diff"] = {"before": outcome.before, "after": outcome.after}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
