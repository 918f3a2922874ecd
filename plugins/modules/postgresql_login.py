#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a PostgreSQL server, from this host, how it would let somebody in."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgresql_login
short_description: Ask a PostgreSQL server, from this host, how it would let somebody in
version_added: 0.1.0
author:
  - bulwark.hardening contributors (@bulwark-hardening)
description:
  - Connects to a PostgreSQL server as a client would, with or without TLS, names a role and a database, and says what
    the server asks for. It ends before any password is sent, so none is needed.
  - For hosts whose logins O(expect) should be allowed or refused, after M(bulwark.hardening.postgresql_hba).
  - The server logs the attempt as a login that was not finished.
options:
  host:
    description: Address or name of the server.
    type: str
    required: true
  port:
    description: Port of the server.
    type: int
    default: 5432
  user:
    description: The role to log in as. It need not exist.
    type: str
    required: true
  database:
    description: The database to connect to. Needed unless O(replication) is true.
    type: str
  replication:
    description: Whether to ask for a physical replication connection, which has no database.
    type: bool
    default: false
  tls:
    description: Whether to connect with TLS.
    type: bool
    default: true
  ca_file:
    description:
      - A file with the certificates of the CAs that the server's must be from, with the name or address in O(host).
      - Without it, the server's certificate is not verified.
    type: path
  source:
    description: The own address to connect from. The system chooses if this is missing.
    type: str
    default: ""
  expect:
    description:
      - What has to come of it. The task fails if it is something else.
      - V(allowed) is any request for a proof; V(refused) is a refusal by the server's rules, or for want of TLS there.
    type: str
    choices: [allowed, refused]
attributes:
  check_mode:
    description: Asks as well, since nothing is changed.
    support: full
  diff_mode:
    description: Nothing is changed, so there is nothing to show.
    support: none
  idempotent:
    description: Nothing is changed.
    support: full
  platform:
    description: Operating systems that the module works on.
    support: full
    platforms: linux
seealso:
  - module: bulwark.hardening.postgresql_hba
"""

EXAMPLES = r"""
- name: The service's host is asked for SCRAM, by a server whose certificate is right
  bulwark.hardening.postgresql_login:
    host: db.example.org
    user: app
    database: app
    ca_file: /etc/ssl/certs/ca-certificates.crt
    expect: allowed

- name: Nobody gets in without TLS
  bulwark.hardening.postgresql_login:
    host: db.example.org
    user: app
    database: app
    tls: false
    expect: refused
"""

RETURN = r"""
answer:
  description:
    - V(scram), V(md5), V(password), V(gss), V(sspi) or V(oauth) is the proof that the server asks for. V(admitted)
      means that it asks for none, V(failed) that it found a rule and did not take what this client is.
    - V(refused) means that no rule admits the connection, or that the rule needs a client certificate. V(no tls) means
      that TLS cannot be had, or not with a certificate from O(ca_file).
    - V(unreachable) and V(error) say nothing about rules and fail the task.
  returned: always
  type: str
detail:
  description: The server's own words, or the names of its mechanisms.
  returned: always
  type: str
"""

import ssl
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.hba import model, wire
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.hba.match import PLAINTEXT, TLS, Connection

ARGUMENT_SPEC: dict[str, t.Any] = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 5432},
    "user": {"type": "str", "required": True},
    "database": {"type": "str"},
    "replication": {"type": "bool", "default": False},
    "tls": {"type": "bool", "default": True},
    "ca_file": {"type": "path"},
    "source": {"type": "str", "default": ""},
    "expect": {"type": "str", "choices": list(model.EXPECTATIONS)},
}
DENIED = (wire.REFUSED, wire.NO_TLS)


def operate(parameters: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the result, with ``msg`` when the task has failed."""
    context = None
    if parameters["ca_file"]:
        try:
            context = ssl.create_default_context(cafile=parameters["ca_file"])
        except OSError as error:
            return {"msg": f"ca_file {parameters['ca_file']} cannot be used: {error.strerror or error}"}
    connection = Connection(
        TLS if parameters["tls"] else PLAINTEXT,
        parameters["user"],
        parameters["database"] or "",
        replication=parameters["replication"],
    )
    target = wire.Target(parameters["host"], parameters["port"], parameters["source"])
    answer = wire.ask(target, connection, context)
    result: dict[str, t.Any] = {"changed": False, "answer": answer.kind, "detail": answer.detail}
    place = f"the server at {target.host} port {target.port}"
    if answer.kind in (wire.UNREACHABLE, wire.ERROR):
        result["msg"] = f"{place} gave no answer to go by: {answer.detail}"
    elif parameters["expect"] and (answer.kind in DENIED) != (parameters["expect"] == model.REFUSED):
        result["msg"] = (
            f"{place} answered {model.describe(connection)} with {answer.kind} ({answer.detail}), "
            f"and it is expected to be {parameters['expect']}"
        )
    return result


def main() -> None:
    """Arguments in, one domain call, result out."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        mutually_exclusive=[("database", "replication")],
        required_one_of=[("database", "replication")],
    )
    result = operate(module.params)
    if "msg" in result:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
