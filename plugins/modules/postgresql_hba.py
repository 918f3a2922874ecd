#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say who may log in to a PostgreSQL cluster, and prove it before it stays."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgresql_hba
short_description: Say who may log in to a PostgreSQL cluster, and prove it before it stays
version_added: 0.1.0
author:
  - bulwark.hardening contributors (@bulwark-hardening)
description:
  - Brings C(pg_hba.conf) to an ordered list of rules, of which the first that matches a connection decides.
  - Every probe is a connection whose outcome is part of the policy. All are simulated first, with the memberships of
    the server's roles and the networks of the host. A policy that one of them contradicts is refused.
  - Then the server's own program reads the new file, in a cluster that is made for it in a temporary directory and
    thrown away. It needs about 30 MB there.
  - The file is replaced in one step, with owner, group and mode as they were, and the server is told to reload. It is
    never restarted, and sessions that exist go on.
  - The new file stays if new sessions live by it, the superuser of O(system_user) has logged in by the socket, and the
    server answers the probes that are possible from this host as simulated. Otherwise, and if the run dies, the old
    file is put back and loaded, by a timer or at the next boot if need be, and the task fails.
  - The superuser of O(system_user) is always a probe and has to stay admitted by the socket by C(peer).
extends_documentation_fragment:
  - bulwark.hardening.postgresql_server
notes:
  - A present file with an error is refused with its line, also with O(foreign_rules=remove), because the server could
    not go back to it.
  - A standby has a C(pg_hba.conf) of its own, so the module works there as well.
  - One change runs on a host at a time, whatever it changes.
  - Rules with regular expressions need PostgreSQL 16 or later, as do C(include) lines among adopted ones.
options:
  rules:
    description:
      - The rules in their order.
      - Names are written as in C(pg_hba.conf). V(all), V(sameuser), V(samerole) and V(replication) are keywords as
        databases, V(all) as a user; V(+team) is everybody in the role C(team), V(/^app_) a regular expression.
      - A name in double quotes, such as V("all"), is only a name. Quotes that its characters need are added.
    type: list
    elements: dict
    required: true
    suboptions:
      type:
        description: The connections that the rule is for.
        type: str
        choices: [local, host, hostssl, hostnossl, hostgssenc, hostnogssenc]
        default: hostssl
      databases:
        description: Databases, or keywords.
        type: list
        elements: str
        required: true
      users:
        description: Roles, or V(all).
        type: list
        elements: str
        required: true
      addresses:
        description:
          - Addresses, networks in CIDR notation, names of hosts, V(all), V(samehost) or V(samenet). Needed for every
            type but V(local), which has none.
          - A name of a host works only if the address of a client leads to the name, and the name back to the address.
        type: list
        elements: str
        default: []
      method:
        description:
          - How the client proves who it is, or V(reject).
          - V(trust), V(password), V(md5) and V(ident) need O(rules[].accepted_risk).
        type: str
        choices: [reject, scram-sha-256, cert, peer, gss, ldap, pam, radius, oauth, md5, password, ident, trust]
        default: scram-sha-256
      options:
        description: Options of the method by name, such as C(clientcert) or C(map).
        type: dict
        default: {}
      comment:
        description: A line for people, before the rule.
        type: str
        default: ""
      accepted_risk:
        description:
          - Why the rule has to be although it is weak. It is written before the rule.
          - Needed for a weak method, for a type that lets other hosts in without TLS, and for a rule by which a
            superuser could come from another host. The last is not needed after a rule that rejects superusers with
            the address V(all).
        type: str
        default: ""
  probes:
    description: Connections that have to be allowed or refused. Name each service, each administrator and a stranger.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: A name for messages.
        type: str
        required: true
      connection:
        description: How the client comes.
        type: str
        choices: [local, tls, plaintext]
        default: tls
      user:
        description: The role that logs in. It need not exist.
        type: str
        required: true
      database:
        description: The database. Needed unless O(probes[].replication) is true.
        type: str
      replication:
        description: Whether this is a physical replication connection, which has no database.
        type: bool
        default: false
      address:
        description:
          - The client's address. Needed unless O(probes[].connection=local).
          - From an address of this host, 127.0.0.0/8 included, the running server is really asked, if it listens there.
            Others are simulated; M(bulwark.hardening.postgresql_login) asks from those hosts.
        type: str
      expect:
        description: What has to come of it.
        type: str
        choices: [allowed, refused]
        required: true
      method:
        description: The method that has to decide. Any that is allowed will do if this is missing.
        type: str
      password:
        description:
          - With it, an allowed probe by the socket, or over TLS from 127.0.0.1, ::1 or another address of this host,
            is a complete login to the running server.
        type: str
  foreign_rules:
    description:
      - What becomes of lines in the present file that are not from this module.
      - V(refuse) fails the task. V(adopt) keeps them after all rules of the policy, so that they decide only on what
        the policy does not. V(remove) drops them, with comments.
      - Where the file is still the one that a new cluster of Debian has, V(refuse) drops its lines, which nobody chose.
    type: str
    choices: [refuse, adopt, remove]
    default: refuse
  window_seconds:
    description: After so many seconds, 30 to 600, a change that is not proven is undone even if the run has died.
    type: int
    default: 60
attributes:
  check_mode:
    description: Simulates all probes and lets the server's program read the new file.
    details: Logins are not tried. The new file lies beside the present one for a moment, under a name that is not read.
    support: partial
  diff_mode:
    description: The file before and after.
    support: full
  idempotent:
    description: A second run changes nothing. A file that the server has not loaded since it was written is a change.
    support: full
  platform:
    description: Operating systems that the module works on.
    support: full
    platforms: linux
seealso:
  - name: The pg_hba.conf file
    description: What each type, keyword, method and option means.
    link: https://www.postgresql.org/docs/current/auth-pg-hba-conf.html
  - module: bulwark.hardening.postgresql_login
"""

EXAMPLES = r"""
- name: The service logs in over TLS from its host, nobody else from anywhere
  bulwark.hardening.postgresql_hba:
    foreign_rules: remove
    rules:
      - {type: local, databases: [all], users: [postgres], method: peer, comment: administration on this host}
      - {type: host, databases: [all, replication], users: [postgres], addresses: [all], method: reject}
      - {databases: [app], users: [app], addresses: [192.0.2.10, 127.0.0.1]}
      - {databases: [replication], users: [standby], addresses: ["192.0.2.20/32"]}
    probes:
      - {name: the service, user: app, database: app, address: 192.0.2.10, expect: allowed, method: scram-sha-256}
      - name: the service's password
        user: app
        database: app
        address: 127.0.0.1
        expect: allowed
        password: "{{ vault_app_password }}"
      - {name: the standby, user: standby, replication: true, address: 192.0.2.20, expect: allowed}
      - {name: a remote superuser, user: postgres, database: app, address: 192.0.2.10, expect: refused}
      - {name: a stranger, user: app, database: app, address: 198.51.100.7, expect: refused}
      - {name: no TLS, connection: plaintext, user: app, database: app, address: 192.0.2.10, expect: refused}

- name: Put rules before those that are there
  bulwark.hardening.postgresql_hba:
    foreign_rules: adopt
    rules:
      - {type: local, databases: [all], users: [postgres], method: peer}
      - {type: hostnossl, databases: [all, replication], users: [all], addresses: [all], method: reject}
"""

RETURN = r"""
hba_file:
  description: The file, as the server names it, with links in its directories resolved.
  returned: success
  type: str
  sample: /etc/postgresql/17/main/pg_hba.conf
probes:
  description: What decides on each probe; the first is that of the local administrator.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The probe's name.
      type: str
    expect:
      description: What it expects.
      type: str
    method:
      description: The method of the rule that decides; V(no rule) if none does, so that it is refused.
      type: str
    rule:
      description: The rule as a line; empty if none decides.
      type: str
    line:
      description: The number of that line in the file; 0 if none decides.
      type: int
    found:
      description:
        - How that was found. V(simulated) without the running server, V(asked) by its answer to a connection without a
          password, V(logged in) by a complete login.
      type: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.hba import change, match, model, syntax
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.server import (
    PLACE_ARGUMENTS,
    Place,
    Refused,
)

RULE: dict[str, t.Any] = {
    "type": {"type": "str", "choices": list(syntax.TYPES), "default": "hostssl"},
    "databases": {"type": "list", "elements": "str", "required": True},
    "users": {"type": "list", "elements": "str", "required": True},
    "addresses": {"type": "list", "elements": "str", "default": []},
    "method": {"type": "str", "choices": list(syntax.METHODS), "default": "scram-sha-256"},
    "options": {"type": "dict", "default": {}},
    "comment": {"type": "str", "default": ""},
    "accepted_risk": {"type": "str", "default": ""},
}
PROBE: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "connection": {"type": "str", "choices": list(match.CONNECTIONS), "default": match.TLS},
    "user": {"type": "str", "required": True},
    "database": {"type": "str"},
    "replication": {"type": "bool", "default": False},
    "address": {"type": "str"},
    "expect": {"type": "str", "choices": list(model.EXPECTATIONS), "required": True},
    "method": {"type": "str"},
    "password": {"type": "str", "no_log": True},
}
ARGUMENT_SPEC: dict[str, t.Any] = {
    "rules": {"type": "list", "elements": "dict", "required": True, "options": RULE},
    "probes": {"type": "list", "elements": "dict", "default": [], "options": PROBE},
    "foreign_rules": {"type": "str", "choices": list(change.FOREIGN), "default": change.REFUSE},
    "window_seconds": {"type": "int", "default": 60},
    **PLACE_ARGUMENTS,
}


def operate(parameters: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Return the result; raises Refused."""
    wish = change.Wish(
        parameters["rules"], parameters["probes"], parameters["foreign_rules"], parameters["window_seconds"]
    )
    outcome = change.converge(Place.of(parameters), wish, check_mode)
    plan = outcome.plan
    return {
        "changed": plan.due,
        "hba_file": plan.path,
        "probes": [decision.to_dict() for decision in outcome.decisions],
        "warnings": list(plan.warnings),
        "diff": {"before": plan.before, "after": plan.after, "before_header": plan.path, "after_header": plan.path},
    }


def main() -> None:
    """Arguments in, one domain call, result out."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = operate(module.params, module.check_mode)
    except Refused as error:
        module.fail_json(msg=str(error))
        return
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
