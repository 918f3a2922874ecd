#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change what decides on logins and on sudo, as a transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: access_policy
short_description: Change PAM, sudo, password aging and mount options without locking anyone out
version_added: 0.1.0
author:
  - bulwark.hardening contributors (@bulwark-hardening)
description:
  - Brings everything that can keep an administrator from logging in or from becoming root to a host in one
    transaction.
  - The candidate is made in a private copy of C(/etc). There pam-auth-update builds the stacks, visudo reads sudo's
    rules, and the host's own PAM and sudo are asked about every administrator. A candidate that they do not take, or
    that leaves the connecting user without a way in or without root, is refused before anything is touched.
  - With a difference, a second sshd on loopback lives with the copy, and the controller logs in to it and becomes root
    there. Only then is the candidate applied, with a rollback armed on the host. New logins from the controller, each
    with a real sudo, confirm it, or it is rolled back and the task fails.
requirements:
  - systemd as the running init
  - root, by sudo or by a login as root
  - pam-auth-update, or authselect, when O(pam_profiles) is given
notes:
  - On a host that is as it should be, nothing is copied and nobody logs in.
  - Accounts and groups are made by other means before, such as the group that a rule names.
attributes:
  check_mode:
    support: full
    description: >-
      Makes and examines the candidate in the private copy; starts nothing and changes nothing. Groups, and profiles of
      packages, that are not there are taken for what an earlier task of the run would have made.
  diff_mode:
    support: full
    description: Shows each file and each mount. Of C(/etc/shadow) only days are shown.
  platform:
    support: full
    platforms: linux
    description: Debian 12 and 13 are tested.
options:
  files:
    description:
      - Files below C(/etc) that decide on logins. Those that hold accounts, C(fstab), sshd's and what pam-auth-update
        makes are refused.
      - Several entries of one path are edits of the same file, in their order.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description:
          - The absolute path. No part of it may be a symbolic link.
        type: str
        required: true
      state:
        description:
          - Whether the file, or the block, should be there.
        type: str
        choices: [present, absent]
        default: present
      content:
        description:
          - The whole content.
        type: str
      settings:
        description:
          - Keys that should have exactly these values, each in one line.
        type: dict
        suboptions:
          format:
            description:
              - V(space) is C(KEY value), V(equals) is C(KEY=value), V(ini) is the same below a C([section]).
            type: str
            choices: [space, equals, ini]
            required: true
          section:
            description:
              - The section of an V(ini) file.
            type: str
          values:
            description:
              - Values by key. V(null) removes the key, a list makes one line for each of its items.
            type: dict
            default: {}
          flags:
            description:
              - Words that stand alone in a line, such as C(even_deny_root).
            type: list
            elements: str
            default: []
      block:
        description:
          - Lines that are kept together between two comment lines.
        type: dict
        suboptions:
          name:
            description:
              - Tells the block from others in the file.
            type: str
            required: true
          text:
            description:
              - The lines. Empty removes the block.
            type: str
            default: ''
          at:
            description:
              - Where a new block goes. One that is there keeps its place.
            type: str
            choices: [start, end]
            default: end
      owner:
        description:
          - Name or number of the owner. When unset, a file keeps its own, and a new one is root's.
        type: str
      group:
        description:
          - Name or number of the group. When unset, a file keeps its own, and a new one is root's.
        type: str
      mode:
        description:
          - Three or four octal digits in quotes. When unset, a file keeps its own, and a new one gets 0644.
        type: str
      validate:
        description:
          - A program that reads the candidate in the private copy and fails when it is wrong. C(%s) stands for its
            path.
        type: list
        elements: str
        default: []
      only_if_exists:
        description:
          - Leave the entry out when there is no such file.
        type: bool
        default: false
  pam_profiles:
    description:
      - All profiles of ours, as pam-auth-update takes them. One that is on the host, begins with C(bulwark-) and is not
        listed is removed, and what it took the place of is enabled again. Nothing is removed when the list is empty
        and no profile of ours is there.
      - A profile takes the place of others that run the same module in the Primary block of the same stack.
      - An entry without the lines of any stack enables a profile that a package brought, or, where there is
        authselect, one of its features.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - The name; with lines of its own it begins with C(bulwark-).
        type: str
        required: true
      priority:
        description:
          - The highest comes first in its block, 0 to 9999. Debian's own pam_unix has 256, which is taken when unset.
        type: int
      default:
        description:
          - Whether it is enabled when an administrator resets the choice of profiles.
        type: bool
        default: true
      auth:
        description:
          - Lines CONTROL MODULE ARGUMENTS for this stack. C(success=end) jumps over the rest of the block.
        type: str
      auth_initial:
        description:
          - Lines that are taken when nothing stands before them in the block.
        type: str
      auth_type:
        description:
          - The block. One module of V(Primary) is enough; all of V(Additional) are run. V(Primary) when unset.
        type: str
        choices: [Primary, Additional]
      account:
        description:
          - Lines for this stack, as in O(pam_profiles[].auth).
        type: str
      account_initial:
        description:
          - Lines that are taken when nothing stands before them in the block.
        type: str
      account_type:
        description:
          - The block, as in O(pam_profiles[].auth_type). V(Primary) when unset.
        type: str
        choices: [Primary, Additional]
      password:
        description:
          - Lines for this stack, as in O(pam_profiles[].auth).
        type: str
      password_initial:
        description:
          - Lines that are taken when nothing stands before them in the block.
        type: str
      password_type:
        description:
          - The block, as in O(pam_profiles[].auth_type). V(Primary) when unset.
        type: str
        choices: [Primary, Additional]
      session:
        description:
          - Lines for this stack, as in O(pam_profiles[].auth).
        type: str
      session_initial:
        description:
          - Lines that are taken when nothing stands before them in the block.
        type: str
      session_type:
        description:
          - The block, as in O(pam_profiles[].auth_type). V(Additional) when unset.
        type: str
        choices: [Primary, Additional]
      session_interactive_only:
        description:
          - Leave the lines of O(pam_profiles[].session) out for services that nobody sits at.
        type: bool
        default: false
  mounts:
    description:
      - Mount options, now and after a restart. Paths that logging in needs are refused.
      - A path in use is not covered by a new mount; it is reported in RV(pending) and mounted at the next start.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description:
          - Where it is mounted.
        type: str
        required: true
      type:
        description:
          - V(tmpfs) mounts one where there is none, for C(/tmp), C(/var/tmp) and C(/dev/shm); C(proc) is for C(/proc).
          - When unset, options are added to what is mounted there, and nothing happens where nothing is.
        type: str
      source:
        description:
          - What stands in the first column. The type when unset.
        type: str
      options:
        description:
          - Options that it must have. Others stay, as far as they do not contradict.
        type: list
        elements: str
        default: []
      size:
        description:
          - Size of a tmpfs, such as V(2g) or V(25%). A share of the memory takes effect with the next mount.
        type: str
  password_aging:
    description:
      - Limits for the accounts that have a password. What is stricter already stays.
      - An account whose password has ended refuses logins by key as well, so that such a limit is refused for who is
        connected.
    type: dict
    suboptions:
      maximum_days:
        description:
          - Days after which a password ends.
        type: int
      minimum_days:
        description:
          - Days before which it cannot be changed again.
        type: int
      warning_days:
        description:
          - Days of warning before.
        type: int
      inactive_days:
        description:
          - Days after its end on which it can still be changed.
        type: int
      except:
        description:
          - Users whose limits stay as they are.
        type: list
        elements: str
        default: []
  administrators:
    description:
      - Users who are asked about, and reported. Empty stands for the members of the groups sudo and wheel who have a
        key. The connecting user always counts, and must keep login and sudo; without one, somebody must.
    type: list
    elements: str
    default: []
  has_become_password:
    description:
      - Whether the controller has a password for sudo. Set by the action plugin.
    type: bool
    default: false
  operation:
    description:
      - Step of the transaction. Set by the action plugin; playbooks use V(apply), or V(validate) to check the policy
        on the controller only.
    type: str
    default: apply
    choices:
      - validate
      - stage
      - discard
      - apply
      - commit
      - rollback
      - status
  window_seconds:
    description:
      - Seconds after which the host goes back by itself unless the change was confirmed, 30 to 600.
    type: int
    default: 90
  confirm_logins:
    description:
      - New logins that must succeed before the change is confirmed, 0 to 20. V(0) is what the action plugin uses for
        connections that are no login.
    type: int
    default: 3
  confirm_seconds:
    description:
      - Seconds over which the new logins are spread, 0 to 120.
    type: float
    default: 10.0
  transaction:
    description:
      - Proof or reason for the later operations. Set by the action plugin.
    type: dict
    suboptions:
      id:
        description:
          - Transaction to work on.
        type: str
      nonce:
        description:
          - Shows that the caller is who began the transaction.
        type: str
      reason:
        description:
          - Why to roll back.
        type: str
      logins:
        description:
          - New logins that were made.
        type: list
        elements: dict
        suboptions:
          client_address:
            description:
              - Client's address as the host saw it.
            type: str
          client_port:
            description:
              - Client's port as the host saw it.
            type: int
          server_address:
            description:
              - Address on which the login arrived.
            type: str
          server_port:
            description:
              - Port on which the login arrived.
            type: int
          port:
            description:
              - Port that the controller dialled.
            type: int
          elevation_proof:
            description:
              - What the login read as root, by sudo.
            type: str
"""

EXAMPLES = r"""
- name: Lock accounts after failed attempts, and let sudo write a log
  bulwark.hardening.access_policy:
    files:
      - path: /etc/security/faillock.conf
        content: "deny = 4\nunlock_time = 900\n"
        mode: "0644"
      - path: /etc/sudoers.d/zz-bulwark
        content: "Defaults use_pty\nDefaults logfile=/var/log/sudo.log\n"
        mode: "0440"
    pam_profiles:
      - name: bulwark-faillock
        priority: 1024
        auth: required pam_faillock.so preauth
      - name: bulwark-faillock-failed
        priority: 0
        auth: "[default=die] pam_faillock.so authfail"
      - name: bulwark-faillock-passed
        auth_type: Additional
        auth: required pam_faillock.so authsucc

- name: Keep programs from running in /tmp
  bulwark.hardening.access_policy:
    mounts:
      - path: /tmp
        type: tmpfs
        options: [nodev, nosuid, noexec]
        size: 50%
"""

RETURN = r"""
administrators:
  description: For each administrator whether login and sudo would work under the policy, and why not.
  returned: when planned; empty without a difference
  type: list
  elements: dict
  sample:
    - {user: admin, able: true, reason: can log in and become root}
files:
  description: Each file that changed, or would in check mode.
  returned: when planned
  type: list
  elements: dict
  sample:
    - {path: /etc/sudoers.d/zz-bulwark, action: created}
pending:
  description: What takes effect at the next start of the host, and why not now.
  returned: when planned
  type: list
  elements: str
  sample: ["/tmp is mounted at the next start of the host, since the socket /tmp/.s.PGSQL.5432 is in use"]
reboot_needed:
  description: Whether something waits for the next start of the host.
  returned: when planned
  type: bool
  sample: false
notes:
  description: What was left out on this host, and why.
  returned: when planned
  type: list
  elements: str
  sample: ["/var/log is no file system of its own, so that there are no options to set"]
stage:
  description: The second sshd on loopback. Port 0 means that there is none, for the given reason.
  returned: when operation is stage and there is a difference
  type: dict
  sample: {port: 40123, reason: "", unit: bulwark-access-rehearsal-0a1b2c3d.service}
rolled_back:
  description: Whether a change that failed was taken back.
  returned: when a change failed after it was begun
  type: bool
  sample: true
transaction:
  description: The transaction and its state.
  returned: when one was begun or asked for
  type: dict
  sample: {id: 20260101T120000Z-0a1b2c3d, phase: COMMITTED, pending: false, ports: [22]}
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import access, access_service, host
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.access_options import ARGUMENT_SPEC


def operate(parameters: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Run one operation; raises one of access_service.USER_ERRORS with the sentence for the user."""
    problems = access.problems(parameters)
    if problems:
        raise host.Refused("; ".join(problems))
    operation = parameters["operation"]
    if operation == "validate":
        return {"changed": False, "msg": "the policy is valid"}
    host.require_root("what decides on logins")
    if operation == "stage":
        return access_service.stage(parameters, check_mode)
    if operation == "discard":
        return access_service.discard()
    if operation == "apply":
        return access_service.apply(parameters, check_mode)
    if operation == "status":
        return access_service.status(parameters)
    if check_mode:
        raise host.Refused(f"there is no transaction to {operation} in check mode")
    return access_service.commit(parameters) if operation == "commit" else access_service.rollback(parameters)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    # Programs that this starts write files with the usual mode, whatever mask the login has.
    os.umask(0o022)
    try:
        result = operate(module.params, module.check_mode)
    except access_service.RolledBack as error:
        undone = error.transaction.get("phase") == "ROLLED_BACK"
        module.fail_json(msg=str(error), rolled_back=undone, transaction=error.transaction)
    except access_service.USER_ERRORS as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        where = error.filename or "a file"
        module.fail_json(msg=f"{where}: {host.in_words(error)}; nothing stays half-applied")
    for warning in result.pop("warnings", []):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
