#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a host behind one firewall policy, as a transaction that cannot lock the operator out."""

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall
short_description: Put a host behind one firewall policy without locking anyone out
version_added: "0.1.0"
author: bulwark.hardening contributors (@bulwark-hardening)
description:
  - Applies an ordered list of rules, first match wins, through C(ufw) or C(firewalld), for IPv4 and IPv6 alike.
  - The whole policy is one call, whatever its length.
  - The change is a transaction. A policy that would keep the controller or a management source away from SSH is refused
    before the host is touched, and the message spells out the missing rule. Everything else is rehearsed in a private
    network namespace with real TCP connections, then applied with an armed rollback, and kept only after the
    controller has made new logins.
  - Only rules that this module made are changed or removed. Rules of Docker, fail2ban, a VPN or an administrator keep
    their place and their effect.
  - With C(firewalld), the services C(ssh) and C(cockpit) that a zone has from the package are closed, because they are
    open to everybody. What an administrator opened stays, with a warning.
  - A rule that allows the management sources to reach SSH always comes first in the policy.
notes:
  - An action plugin of the same name works on the controller. It resolves inventory groups, proves new logins and sets
    O(operation) and O(transaction).
  - The package of the backend must be installed.
requirements:
  - C(ufw) 0.36 or C(firewalld) 1.0 on the managed host, with systemd
attributes:
  check_mode:
    support: full
    description: Shows the complete plan and changes nothing.
  diff_mode:
    support: full
    description: Shows defaults and rules before and after, as data.
  idempotent:
    support: full
    description: A second run reports no change. It notices and repairs a live rule set that drifted from the files.
  platform:
    support: full
    platforms: posix
    description: Target operating system families.
    details: Debian family and RedHat family.
options:
  backend:
    description: The firewall manager. The other one, when active, is stopped and disabled in the same transaction.
    type: str
    choices: [ufw, firewalld]
    required: true
  rules:
    description:
      - The policy in order, first match wins. An empty list leaves the management rule and the defaults.
      - O(rules[].sources) and O(rules[].destinations) multiply with each other, within one address family.
    type: list
    elements: dict
    default: []
    suboptions: &rule
      name:
        description: Unique name, 1 to 64 of letters, digits, space, C(.), C(_) and C(-). V(management) is taken.
        type: str
        required: true
      direction:
        description: Whether the rule is about connections to this host or from it.
        type: str
        choices: [in, out]
        default: in
      action:
        description:
          - V(limit) allows, but refuses a source that opened 6 connections within 30 seconds. Only with O(backend=ufw);
            C(firewalld) knows a limit for all sources together only.
        type: str
        choices: [allow, deny, reject, limit]
        default: allow
      protocol:
        description: V(any) and the protocols without ports take no O(rules[].ports).
        type: str
        choices: [tcp, udp, any, esp, ah, gre]
        default: tcp
      ports:
        description: Ports, or ranges as V(8000-8010). Empty means every port.
        type: list
        elements: str
        default: []
      sources:
        description: Addresses or networks from which the connection comes. Empty means anywhere.
        type: list
        elements: str
        default: []
      destinations:
        description: Addresses or networks to which the connection goes. Empty means anywhere.
        type: list
        elements: str
        default: []
      interface:
        description: Only connections over this interface. Only with O(backend=ufw).
        type: str
        default: ''
      log:
        description: Log new connections that match.
        type: bool
        default: false
      comment:
        description: Kept beside the rule where the backend can hold it. Up to 200 printable characters.
        type: str
        default: ''
  group_rules:
    description: More rules, behind O(rules). Messages name the list and the place in it where a faulty rule stands.
    type: list
    elements: dict
    default: []
    suboptions: *rule
  host_rules:
    description: More rules, behind O(group_rules).
    type: list
    elements: dict
    default: []
    suboptions: *rule
  dependent_rules:
    description: More rules, behind O(host_rules).
    type: list
    elements: dict
    default: []
    suboptions: *rule
  default_inbound:
    description:
      - What happens to a connection to this host that no rule matches.
      - With O(backend=firewalld), V(deny) and V(reject) are the same. The zone's target refuses the connection, so that
        zones that accept on purpose, as those of Docker and VPNs do, stay as they are.
    type: str
    choices: [deny, reject, allow]
    default: deny
  default_outbound:
    description:
      - What happens to a connection from this host that no rule matches.
      - Other than V(allow), a policy is refused that would cut name servers, package mirrors or time; see O(allow_cut).
      - Whatever is chosen, answers and error messages pass, and with firewalld all ICMP does. With ufw, its own
        before6.rules let the host ping others over IPv6, while its before.rules do not over IPv4; a line for the chain
        ufw-before-output there changes that.
    type: str
    choices: [allow, deny, reject]
    default: allow
  default_routed:
    description:
      - What happens to routed packets that no rule matches. Only with O(backend=ufw).
      - When unset, routed packets are left as the host has them, which is what Docker and VPN gateways need.
    type: str
    choices: [deny, reject, allow]
  logging:
    description: How much the firewall logs. For C(firewalld), V(low) is denied unicast, above it all denied.
    type: str
    choices: ['off', low, medium, high]
    default: low
  management_sources:
    description:
      - Addresses and networks from which administration happens. They always reach O(management_ports).
      - Empty leaves SSH open to every address, and the result says so.
    type: list
    elements: str
    default: []
  management_ports:
    description: TCP ports of SSH. Empty means the port of this module's session and those of the running sshd.
    type: list
    elements: int
    default: []
  dependent_management_ports:
    description:
      - TCP ports on which SSH is going to listen. Opened like O(management_ports), in addition to them.
      - New logins are proven only on ports where sshd listens already.
    type: list
    elements: int
    default: []
  allow_cut:
    description: What an outbound policy may cut although hosts usually need it.
    type: list
    elements: str
    choices: [dns, mirrors, ntp]
    default: []
  rehearse:
    description: Try the policy in a private network namespace first. Where that is not possible, the result says so.
    type: bool
    default: true
  window_seconds:
    description: Seconds from arming until the host rolls back on its own, 30 to 600.
    type: int
    default: 90
  confirm_logins:
    description: New logins, each with a source port of its own, that the commit demands.
    type: int
    default: 3
  confirm_seconds:
    description: Seconds over which the controller spreads the logins.
    type: int
    default: 10
  operation:
    description: Set by the action plugin.
    type: str
    choices: [apply, commit, rollback, status]
    default: apply
  transaction:
    description: Set by the action plugin.
    type: dict
    suboptions:
      id:
        description: Which transaction.
        type: str
      nonce:
        description: Proves that the commit comes from the run that applied.
        type: str
      logins:
        description: The new logins as the host saw them.
        type: list
        elements: dict
      reason:
        description: Why to roll back.
        type: str
"""

EXAMPLES = r"""
- name: A web server that only the bastion administers
  bulwark.hardening.firewall:
    backend: ufw
    management_sources: ["203.0.113.10/32"]
    rules:
      - name: https
        ports: [443]
      - name: metrics
        ports: [9100]
        sources: ["group:monitoring"]

- name: A database host that may only reach what it needs
  bulwark.hardening.firewall:
    backend: firewalld
    management_sources: ["10.0.0.0/24", "fd00:0:0:1::/64"]
    default_outbound: deny
    rules:
      - {name: postgresql, ports: [5432], sources: ["10.0.1.0/24"]}
      - {name: name servers, direction: out, protocol: udp, ports: [53], destinations: ["10.0.0.2"]}
      - {name: package mirrors, direction: out, ports: [80, 443]}
      - {name: time, direction: out, protocol: udp, ports: [123]}
"""

RETURN = r"""
reasons:
  description: One clause for each difference that the change removes. Empty when nothing changes.
  returned: O(operation=apply)
  type: list
  elements: str
  sample: ["ufw is not enabled", "the IPv4 rules differ"]
plan:
  description: Counts and entries. One entry is one rule for one address pair and family.
  returned: O(operation=apply)
  type: dict
  sample: {added: 4, removed: 0, kept: 2, added_rules: [], removed_rules: []}
notes:
  description: What a reader should know about the policy, without being a fault.
  returned: O(operation=apply)
  type: list
  elements: str
foreign_rules:
  description: The host's own rules, which stay. C(widens) marks those that admit more than the policy.
  returned: O(operation=apply)
  type: list
  elements: dict
management:
  description: From where and on which ports administration stays possible, and the controller's address.
  returned: O(operation=apply)
  type: dict
  sample: {sources: ["203.0.113.10"], ports: [22], controller: "203.0.113.10"}
rehearsal:
  description: Whether a rehearsal was possible, why not, and what each connection did.
  returned: when something changed and O(rehearse=true)
  type: dict
transaction:
  description: Identity, phase, deadline and verdicts of the transaction.
  returned: when something changed, and for every other operation
  type: dict
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.backend import FirewallError
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.change import Change, RolledBack
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.engine import TransactionError

RULES: dict[str, t.Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "name": {"type": "str", "required": True},
        "direction": {"type": "str", "choices": ["in", "out"], "default": "in"},
        "action": {"type": "str", "choices": ["allow", "deny", "reject", "limit"], "default": "allow"},
        "protocol": {"type": "str", "choices": ["tcp", "udp", "any", "esp", "ah", "gre"], "default": "tcp"},
        "ports": {"type": "list", "elements": "str", "default": []},
        "sources": {"type": "list", "elements": "str", "default": []},
        "destinations": {"type": "list", "elements": "str", "default": []},
        "interface": {"type": "str", "default": ""},
        "log": {"type": "bool", "default": False},
        "comment": {"type": "str", "default": ""},
    },
}
ARGUMENT_SPEC: dict[str, t.Any] = {
    "backend": {"type": "str", "choices": ["ufw", "firewalld"], "required": True},
    "rules": RULES,
    "group_rules": RULES,
    "host_rules": RULES,
    "dependent_rules": RULES,
    "default_inbound": {"type": "str", "choices": ["deny", "reject", "allow"], "default": "deny"},
    "default_outbound": {"type": "str", "choices": ["allow", "deny", "reject"], "default": "allow"},
    "default_routed": {"type": "str", "choices": ["deny", "reject", "allow"]},
    "logging": {"type": "str", "choices": ["off", "low", "medium", "high"], "default": "low"},
    "management_sources": {"type": "list", "elements": "str", "default": []},
    "management_ports": {"type": "list", "elements": "int", "default": []},
    "dependent_management_ports": {"type": "list", "elements": "int", "default": []},
    "allow_cut": {"type": "list", "elements": "str", "choices": ["dns", "mirrors", "ntp"], "default": []},
    "rehearse": {"type": "bool", "default": True},
    "window_seconds": {"type": "int", "default": 90},
    "confirm_logins": {"type": "int", "default": 3},
    "confirm_seconds": {"type": "int", "default": 10},
    "operation": {"type": "str", "choices": ["apply", "commit", "rollback", "status"], "default": "apply"},
    "transaction": {
        "type": "dict",
        "options": {
            "id": {"type": "str"},
            "nonce": {"type": "str", "no_log": False},
            "logins": {"type": "list", "elements": "dict"},
            "reason": {"type": "str"},
        },
    },
}


def main() -> None:
    """Arguments in, one domain call, result out."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = Change(module.params, module.check_mode).run()
    except RolledBack as error:
        undone = error.transaction.get("phase") == "ROLLED_BACK"
        ending = "the host went back to the old policy" if undone else "and the rollback is not complete"
        module.fail_json(msg=f"{error}; {ending}", rolled_back=undone, transaction=error.transaction)
        return
    except (FirewallError, TransactionError) as error:
        module.fail_json(msg=str(error))
        return
    for warning in result.pop("warnings", []):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
