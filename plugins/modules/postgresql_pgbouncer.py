#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put PgBouncer before a cluster: TLS and SCRAM only, with limits, tried before it changes and proven by logins."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgresql_pgbouncer
short_description: Put PgBouncer before a PostgreSQL cluster, and prove it by logins
version_added: 0.1.0
author:
  - bulwark.hardening contributors (@bulwark-hardening)
extends_documentation_fragment:
  - bulwark.hardening.postgresql_server
description:
  - Writes C(/etc/pgbouncer/pgbouncer.ini) and C(/etc/pgbouncer/userlist.txt) whole. Clients come by TLS and SCRAM only;
    a server elsewhere is reached by TLS, and has to prove its name.
  - The list of users holds the SCRAM verifiers that the server has, read over its socket; no password passes through
    Ansible. PgBouncer logs in to the server as the client, with what the client's own login has proven.
  - Before anything changes, PgBouncer runs with the candidate as a second instance, on a socket that nobody else
    knows, and each server is asked for a login over the way that PgBouncer will take.
  - The running program reads the files by a reload, which ends no session. What needs a restart is in
    RV(restart_required), and is done if O(restart) is set.
  - The running program then has to show every setting, refuse a client without TLS, ask for SCRAM over TLS, and let
    O(probes) in. If it does not, the old files are put back. A run that is killed is rolled back by a timer.
options:
  databases:
    description: What clients can name. There is none besides.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name that clients use.
        type: str
        required: true
      database:
        description: Name of the database at the server. Unset means the same.
        type: str
      host:
        description: Name or address of the server, or the directory of its socket. Unset means O(socket_directory).
        type: str
      port:
        description: Port of the server. Unset means O(port).
        type: int
      pool_mode:
        description:
          - Whether a client keeps a session of the server until it leaves, or until its transaction ends.
          - V(transaction) breaks clients that use advisory locks, prepared statements or settings of a session.
        type: str
        choices: [session, transaction]
        default: session
      pool_size:
        description: Sessions of the server for each user.
        type: int
        default: 20
      max_connections:
        description: Sessions of the server for all users.
        type: int
        default: 50
  users:
    description:
      - Roles of the server that may log in. One that cannot log in at the server now is left out of the list of users,
        and is in RV(without_login).
      - When the password of one changes, run this again; PgBouncer knows only the verifier that it was given.
    type: list
    elements: str
    required: true
  probes:
    description: Logins that have to succeed after a change, each with a statement at the server.
    type: list
    elements: dict
    default: []
    suboptions:
      user:
        description: One of O(users).
        type: str
        required: true
      database:
        description: Name of one of O(databases).
        type: str
        required: true
      password:
        description: Password of the user.
        type: str
        required: true
  listen_addresses:
    description: Addresses and names of this host at which PgBouncer listens; never all of them.
    type: list
    elements: str
    default: [localhost]
  listen_port:
    description: Port at which it listens.
    type: int
    default: 6432
  client_tls_certificate_file:
    description: Certificate that clients are shown, with its chain.
    type: path
    required: true
  client_tls_key_file:
    description: Its key, which O(system_user) has to be able to read.
    type: path
    required: true
  client_tls_minimum_version:
    description: Oldest version of TLS for clients.
    type: str
    choices: [TLSv1.2, TLSv1.3]
    default: TLSv1.2
  server_tls_ca_file:
    description: CAs that a server's certificate may come from. Needed if any of O(databases) is reached by a name or
      an address.
    type: path
  max_client_connections:
    description: Clients at once.
    type: int
    default: 500
  max_user_connections:
    description: Sessions of the server for each user, over all databases.
    type: int
    default: 50
  query_wait_timeout_seconds:
    description: Seconds that a client may wait for a session of the server.
    type: int
    default: 30
  client_login_timeout_seconds:
    description: Seconds that a login may take.
    type: int
    default: 15
  client_idle_timeout_seconds:
    description: Seconds that a client may do nothing.
    type: int
    default: 3600
  idle_transaction_timeout_seconds:
    description: Seconds that a client may do nothing within a transaction.
    type: int
    default: 60
  extra_settings:
    description: Other settings of PgBouncer by name. What the options above are about is refused.
    type: dict
    default: {}
  restart:
    description: Restart PgBouncer if a setting waits for that. All sessions end then.
    type: bool
    default: false
  window_seconds:
    description: Seconds after which a change that was not finished is rolled back.
    type: int
    default: 60
notes:
  - PgBouncer has to be installed; its unit is C(pgbouncer.service), and runs as O(system_user).
attributes:
  check_mode:
    description: Tries the candidate as a real run does, and reports what would change.
    details: Whether clients get in shows only when it is in force.
    support: partial
  diff_mode:
    description: The file, and the names of the users; never a verifier.
    support: full
  idempotent:
    description: A second run changes nothing, and reloads nothing.
    support: full
  platform:
    description: Operating systems that the module works on.
    support: full
    platforms: linux
"""

EXAMPLES = r"""
- name: Pool the connections of ZITADEL on the host of its database
  bulwark.hardening.postgresql_pgbouncer:
    databases:
      - name: zitadel
    users: [zitadel_runtime]
    listen_addresses: [192.0.2.10]
    client_tls_certificate_file: /etc/bulwark/tls/database/current/full_chain.pem
    client_tls_key_file: /etc/bulwark/tls/database/current/key.pem
"""

RETURN = r"""
users:
  description: The roles that may log in.
  returned: success
  type: list
  elements: str
without_login:
  description: Those of O(users) that cannot log in at the server now, and so not here.
  returned: success
  type: list
  elements: str
restart_required:
  description: The settings that wait for a restart.
  returned: success
  type: list
  elements: str
restarted:
  description: Whether PgBouncer was restarted while it ran.
  returned: success
  type: bool
logins:
  description: How many of O(probes) have logged in; none without a change.
  returned: success
  type: int
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.pgbouncer import change, model
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.server import PLACE_ARGUMENTS, Place, Refused

ARGUMENT_SPEC: dict[str, t.Any] = {
    **PLACE_ARGUMENTS,
    **model.ARGUMENTS,
    "restart": {"type": "bool", "default": False},
    "window_seconds": {"type": "int", "default": 60},
}


def operate(parameters: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Return the result; raises Refused."""
    wish = {name: parameters[name] for name in model.ARGUMENTS}
    outcome = change.converge(
        Place.of(parameters), wish, parameters["restart"], parameters["window_seconds"], check_mode
    )
    return {
        "changed": outcome.changed,
        "users": list(outcome.users),
        "without_login": list(outcome.without_login),
        "restart_required": list(outcome.restart_required),
        "restarted": outcome.restarted,
        "logins": outcome.logins,
        "diff": [
            _diff(model.CONFIGURATION, outcome.before, outcome.after),
            _diff(model.USERS, _lines(outcome.users_before), _lines(outcome.users)),
        ],
    }


def _lines(names: t.Iterable[str]) -> str:
    return "".join(f"{name}\n" for name in names)


def _diff(path: str, before: str, after: str) -> dict[str, str]:
    return {"before": before, "after": after, "before_header": path, "after_header": path}


def main() -> None:
    """Arguments in, one domain call, result out."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    os.umask(0o022)
    try:
        result = operate(module.params, module.check_mode)
    except Refused as error:
        module.fail_json(msg=str(error))
        return
    if result["restart_required"]:
        names = ", ".join(result["restart_required"])
        module.warn(f"{names} wait for a restart of PgBouncer; set restart to true, or restart it at a better time")
    if result["without_login"]:
        module.warn(f"{', '.join(result['without_login'])} cannot log in at the server, and so not at PgBouncer")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
