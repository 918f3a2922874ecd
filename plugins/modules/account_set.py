#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups, accounts of programs, age of passwords and homes, in one call that locks nobody out."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: account_set
short_description: Groups, accounts of programs, age of passwords and homes, in one call that locks nobody out
version_added: 0.1.0
author:
  - bulwark.hardening contributors (@bulwark-hardening)
description:
  - Works on the accounts in C(/etc/passwd), with the programs of the system.
  - An account of a program that the run logs in with, that may use sudo, or that has an SSH key is left as it is and
    told in RV(kept), unless it is named in O(system_accounts.except).
  - A password that would end within the time of warning keeps its age and is told in RV(kept), because an expired
    account refuses key logins as well.
options:
  groups_present:
    description: Groups that should exist. A missing one is made with a number of the system.
    type: list
    elements: str
    default: []
  system_accounts:
    description: Accounts whose number is below C(UID_MIN) of C(login.defs), root excepted.
    type: dict
    suboptions:
      lock:
        description: Whether to lock their passwords.
        type: bool
        default: false
      shell:
        description: The shell for those that have one to log in with. Unset leaves shells as they are.
        type: str
      except:
        description: Names that are left as they are.
        type: list
        elements: str
        default: []
  password_aging:
    description: Days that passwords live. What is unset stays as it is.
    type: dict
    suboptions:
      maximum_days:
        description: After how many days a password has to be changed.
        type: int
      minimum_days:
        description: After how many days it may be changed again.
        type: int
      warning_days:
        description: How many days before the end the user is told.
        type: int
      inactive_days:
        description: How many days after the end the account is closed.
        type: int
      apply_to_existing:
        description:
          - Whether accounts with a password get these as well. Unset means new accounts only.
          - Limits of an account that are stricter stay.
        type: bool
        default: false
  homes:
    description: Homes of people who can log in, as far as they are their own.
    type: dict
    suboptions:
      mode:
        description: The most that a home may grant; nothing is added.
        type: str
      dotfiles_mode:
        description: The most that a file in it whose name begins with a dot may grant; nothing is added.
        type: str
      forbidden_files:
        description:
          - Files that are renamed, to their name with C(.set-aside-by-bulwark), so that no program finds them. Nothing
            is deleted.
        type: list
        elements: str
        default: []
requirements:
  - C(usermod), C(groupadd) and C(chage)
attributes:
  check_mode:
    description: Reports what would change.
    support: full
  diff_mode:
    description: What changes of each account, file and home, before and after.
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
- name: No program's account logs in, passwords last a year, homes are closed
  bulwark.hardening.account_set:
    groups_present: [sugroup]
    system_accounts: {lock: true, shell: /usr/sbin/nologin, except: [postgres]}
    password_aging: {maximum_days: 365, minimum_days: 1, warning_days: 7, inactive_days: 45, apply_to_existing: true}
    homes: {mode: "0750", dotfiles_mode: "0740", forbidden_files: [.rhosts, .netrc, .forward]}
"""

RETURN = r"""
changes:
  description: Each attribute that changed, or would in check mode.
  returned: always
  type: list
  elements: dict
  sample: [{subject: account games, attribute: shell, before: /bin/sh, after: /usr/sbin/nologin}]
kept:
  description: A sentence for each account that was left as it is because somebody would be locked out.
  returned: always
  type: list
  elements: str
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import accounts_host
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.host import Refused, require_root

ARGUMENT_SPEC: dict[str, t.Any] = {
    "groups_present": {"type": "list", "elements": "str", "default": []},
    "system_accounts": {
        "type": "dict",
        "options": {
            "lock": {"type": "bool", "default": False},
            "shell": {"type": "str"},
            "except": {"type": "list", "elements": "str", "default": []},
        },
    },
    "password_aging": {
        "type": "dict",
        "no_log": False,
        "options": {
            "maximum_days": {"type": "int"},
            "minimum_days": {"type": "int"},
            "warning_days": {"type": "int"},
            "inactive_days": {"type": "int"},
            "apply_to_existing": {"type": "bool", "default": False},
        },
    },
    "homes": {
        "type": "dict",
        "options": {
            "mode": {"type": "str"},
            "dotfiles_mode": {"type": "str"},
            "forbidden_files": {"type": "list", "elements": "str", "default": []},
        },
    },
}


def operate(parameters: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Return the result, with `msg` when the task has failed; raises Refused."""
    require_root("accounts")
    outcome = accounts_host.converge(parameters, check_mode)
    changes = [
        {"subject": change.subject, "attribute": change.attribute, "before": change.before, "after": change.after}
        for change in outcome.changes
    ]
    changes += [
        {"subject": change.path, "attribute": "settings", "before": "other", "after": "as wished"}
        for change in outcome.file_changes
    ]
    changes += [
        {
            "subject": home.path,
            "attribute": "mode" if home.mode is not None else "name",
            "before": f"{home.before:04o}" if home.mode is not None else home.name,
            "after": f"{home.mode:04o}" if home.mode is not None else "set aside",
        }
        for home in outcome.homes
    ]
    result: dict[str, t.Any] = {
        "changed": bool(changes),
        "changes": changes,
        "kept": list(outcome.kept),
        "diff": {
            side: {f"{change['subject']}, {change['attribute']}": change[side] for change in changes}
            for side in ("before", "after")
        },
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
    for sentence in result["kept"]:
        module.warn(sentence)
    if "msg" in result:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
