#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jails and filters of fail2ban as one policy, tried before they go live and proven afterwards."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fail2ban
short_description: Ban addresses that attack, with jails and filters that are tried first
version_added: "0.1.0"
author: bulwark.hardening contributors (@bulwark-hardening)
description:
  - Applies all jails and filters of a host in one call. The files are replaced together, or none of them.
  - Before anything is replaced, fail2ban reads the whole set in a staging directory, and its own engine tries each
    filter on the log lines that the filter brings as O(filters[].samples).
  - The running server is reloaded, not restarted, so that bans stay. Afterwards every jail is read back from the server
    and from the kernel; if one does not run as it should, the old files are put back and the task fails.
  - Bans are made in an nftables table of their own, in front of all other rules and of address translation, for IPv4
    and IPv6. They hold beside C(ufw), C(firewalld) and Docker, also when these are reloaded, and for containers too.
  - Jails and filters that an administrator made stay. The defaults for all jails, and C(ignoreip), are overridden.
notes:
  - An action plugin of the same name checks the policy and resolves inventory groups on the controller.
  - The packages C(fail2ban) and C(nftables) must be installed, and C(python3-systemd) for jails that read the journal.
  - A server that has never run is started with the finished configuration only. Debian 12's own does not start on a
    host that logs to the journal alone.
requirements:
  - C(fail2ban) 0.11 or newer, C(nftables) 0.9.8 or newer, with systemd
attributes:
  check_mode:
    support: full
    description: Tries the set in a staging directory below C(/run), shows the plan and changes nothing.
  diff_mode:
    support: full
    description: Shows the lines of each file that changes, before and after, as data.
  idempotent:
    support: full
    description: >-
      A second run reports no change. It notices and repairs jails that were stopped or changed at run time, and rules
      that somebody flushed.
  platform:
    support: full
    platforms: posix
    description: Target operating system families.
    details: Debian family and RedHat family.
options:
  jails:
    description:
      - What is watched. A later entry of the same name replaces what it says of an earlier one, also of
        O(base_jails).
    type: list
    elements: dict
    default: []
    suboptions: &jail
      name:
        description: Name of the jail, a letter and up to 31 of a-z, 0-9, C(_) and C(-).
        type: str
        required: true
      enabled:
        description: Whether the jail runs. Unset means that it does.
        type: bool
      filter:
        description: A filter of O(filters) or O(base_filters). Unset means the one that is named like the jail.
        type: str
      package_filter:
        description: Instead, a filter that comes with fail2ban, as V(nginx-http-auth) or V(sshd[mode=aggressive]).
        type: str
      backend:
        description:
          - V(auto), which is the default, reads the journal if there are O(jails[].journal_matches) and fail2ban can
            read a journal on this host, and else those of O(jails[].log_paths) that exist.
        type: str
        choices: [auto, journal, files]
      journal_matches:
        description:
          - Alternatives, each of fields divided by blanks. Each must hold a field that the journal itself sets, such as
            C(_UID=0), because every user may write a line with any other field.
        type: list
        elements: str
      log_paths:
        description: Absolute paths of log files, with C(*) and C(?). A file that every user may write is refused.
        type: list
        elements: str
      ports:
        description: Ports, or ranges as V(8000-8010), that are closed to who is banned. Empty means all.
        type: list
        elements: str
      protocol:
        description: Protocol of O(jails[].ports); unset means V(tcp).
        type: str
        choices: [tcp, udp, any]
      maximum_attempts:
        description: Instead of O(maximum_attempts) for this jail.
        type: int
      find_seconds:
        description: Instead of O(find_seconds) for this jail.
        type: int
      ban_seconds:
        description: Instead of O(ban_seconds) for this jail.
        type: int
      ignored_addresses:
        description: Besides O(ignored_addresses), addresses that this jail never bans.
        type: list
        elements: str
  filters:
    description:
      - How attempts are found in a log. A later entry of the same name replaces what it says of an earlier one, also of
        O(base_filters). Only filters that a jail uses are installed.
    type: list
    elements: dict
    default: []
    suboptions: &filter
      name:
        description: Name of the filter.
        type: str
        required: true
      prefix:
        description:
          - A regular expression for the whole line, with C(<F-CONTENT>.+</F-CONTENT>) for what the patterns are tried
            on. C(<F-MLFID>) marks what the lines of one connection have in common.
        type: str
      fail_patterns:
        description:
          - Regular expressions from C(^) to C($), with C(<ADDR>) for the address. Whatever a client may choose, such as
            a user name, stands before it as C(.*), so that the last address of the line is the one that counts.
        type: list
        elements: str
      ignore_patterns:
        description: Lines that match one of these count against nobody.
        type: list
        elements: str
      date_pattern:
        description: How the log writes its time, if fail2ban does not find it by itself.
        type: str
      samples:
        description:
          - Lines of one log in order, each with the address that it counts against. At least one with an address, and
            one without.
        type: list
        elements: dict
        suboptions:
          line:
            description: The line; from the journal, it begins with the program and its process number.
            type: str
            required: true
          address:
            description: The address that the line counts against. Unset or empty means nobody.
            type: str
          source:
            description: V(file) for a line with its time and host, as in a file. Unset means V(journal).
            type: str
            choices: [journal, file]
  base_jails:
    description: Jails that the role brings.
    type: list
    elements: dict
    default: []
    suboptions: *jail
  base_filters:
    description: Filters that the role brings.
    type: list
    elements: dict
    default: []
    suboptions: *filter
  ignored_addresses:
    description: Addresses and networks that are never banned. This host itself is always one of them.
    type: list
    elements: str
    default: []
  management_sources:
    description: From where administration happens; never banned. The client of this module's SSH session is one.
    type: list
    elements: str
    default: []
  maximum_attempts:
    description: Attempts within O(find_seconds) that lead to a ban.
    type: int
    default: 5
  find_seconds:
    description: Seconds after which an attempt is forgotten.
    type: int
    default: 600
  ban_seconds:
    description: Seconds that a first ban lasts.
    type: int
    default: 3600
  ban_growth_factor:
    description: How many times longer each further ban of an address lasts. V(1) keeps them all alike.
    type: int
    default: 2
  maximum_ban_seconds:
    description: Seconds that a ban lasts at most, however often it happened.
    type: int
    default: 604800
  history_seconds:
    description: Seconds for which earlier bans are remembered, at least O(maximum_ban_seconds).
    type: int
    default: 2592000
  sandbox:
    description:
      - Lets the service write nothing but its own state and what is below C(/var/log) and C(/run), and see no home
        directory. An action that an administrator added and that sends mail or writes elsewhere does not work in it.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Ban who guesses passwords of an application that logs to the journal
  bulwark.hardening.fail2ban:
    management_sources: ["203.0.113.10"]
    filters:
      - name: application
        prefix: '^\s*\S+ application\[\d+\]: <F-CONTENT>.+</F-CONTENT>$'
        fail_patterns:
          - '^login of .* from <ADDR> failed$'
        samples:
          - {line: "application[7]: login of eve from 192.0.2.9 failed", address: "192.0.2.9"}
          - {line: "application[7]: login of a from 192.0.2.9 failed from 198.51.100.7 failed", address: "198.51.100.7"}
          - {line: "application[7]: login of eve from 192.0.2.9 succeeded"}
    jails:
      - name: application
        journal_matches: ["_SYSTEMD_UNIT=application.service"]
        ports: [443]
"""

RETURN = r"""
reasons:
  description: One clause for each difference that the change removes. Empty when nothing changes.
  returned: always
  type: list
  elements: str
  sample: ["jail sshd does not run"]
version:
  description: The version of fail2ban; empty in check mode on a host without it.
  returned: always
  type: str
  sample: 1.1.0
samples:
  description: How many samples the engine was tried on; 0 when no file changed.
  returned: always
  type: int
jails:
  description: Each enabled jail as it runs, with its backend on this host and the addresses that are banned now.
  returned: always
  type: list
  elements: dict
  sample:
    - {name: sshd, filter: sshd, backend: journal, log_paths: [], ports: [], maximum_attempts: 5, find_seconds: 600,
       ban_seconds: 3600, live: true, banned: []}
foreign_jails:
  description: Jails that run and are not in the policy.
  returned: always
  type: list
  elements: str
ignored:
  description: What is never banned, the address that the run comes from included.
  returned: always
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.fail2ban.change import Change
from ansible_collections.bulwark.hardening.plugins.module_utils.fail2ban.model import Fail2banError

STRINGS: dict[str, t.Any] = {"type": "list", "elements": "str"}
JAIL: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "enabled": {"type": "bool"},
    "filter": {"type": "str"},
    "package_filter": {"type": "str"},
    "backend": {"type": "str", "choices": ["auto", "journal", "files"]},
    "journal_matches": STRINGS,
    "log_paths": STRINGS,
    "ports": STRINGS,
    "protocol": {"type": "str", "choices": ["tcp", "udp", "any"]},
    "maximum_attempts": {"type": "int"},
    "find_seconds": {"type": "int"},
    "ban_seconds": {"type": "int"},
    "ignored_addresses": STRINGS,
}
FILTER: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "prefix": {"type": "str"},
    "fail_patterns": STRINGS,
    "ignore_patterns": STRINGS,
    "date_pattern": {"type": "str"},
    "samples": {
        "type": "list",
        "elements": "dict",
        "options": {
            "line": {"type": "str", "required": True},
            "address": {"type": "str"},
            "source": {"type": "str", "choices": ["journal", "file"]},
        },
    },
}
ARGUMENT_SPEC: dict[str, t.Any] = {
    "jails": {"type": "list", "elements": "dict", "default": [], "options": JAIL},
    "filters": {"type": "list", "elements": "dict", "default": [], "options": FILTER},
    "base_jails": {"type": "list", "elements": "dict", "default": [], "options": JAIL},
    "base_filters": {"type": "list", "elements": "dict", "default": [], "options": FILTER},
    "ignored_addresses": {"type": "list", "elements": "str", "default": []},
    "management_sources": {"type": "list", "elements": "str", "default": []},
    "maximum_attempts": {"type": "int", "default": 5},
    "find_seconds": {"type": "int", "default": 600},
    "ban_seconds": {"type": "int", "default": 3600},
    "ban_growth_factor": {"type": "int", "default": 2},
    "maximum_ban_seconds": {"type": "int", "default": 604800},
    "history_seconds": {"type": "int", "default": 2592000},
    "sandbox": {"type": "bool", "default": True},
}


def main() -> None:
    """Arguments in, one domain call, result out."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = Change(module.params, module.check_mode).run()
    except Fail2banError as error:
        module.fail_json(msg=str(error))
        return
    module.exit_json(**result)


if __name__ == "__main__":
    main()
