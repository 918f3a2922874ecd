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
  - Connects to a PostgreSQL server as clients would, with or without TLS, names a role and a database, and says what
    the server asks for. It ends before any password is sent, so none is needed.
  - For hosts whose logins should be allowed or refused, after M(bulwark.hardening.postgresql_hba).
  - The server logs each attempt as a login that was not finished.
options:
  host:
    description: Address or name of the server.
    type: str
    required: true
  port:
    description: Port of the server.
    type: int
    default: 5432
  ca_file:
    description:
      - A file with the certificates of the CAs that the server's must be from, with the name or address in O(host).
      - Without it, the server's certificate is not verified. A certificate that is not accepted fails the task.
    type: path
  source:
    description: The own address to connect from. The system chooses if this is missing.
    type: str
    default: ""
  logins:
    description: The logins to try, all in one call.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: A name for messages.
        type: str
        required: true
      user:
        description: The role to log in as. It need not exist.
        type: str
        required: true
      database:
        description: The database to connect to. Needed unless O(logins[].replication) is true.
        type: str
      replication:
        description: Whether to ask for a physical replication connection, which has no database. Not with a database.
        type: bool
      tls:
        description: Whether to connect with TLS.
        type: bool
        default: true
      expect:
        description:
          - What has to come of it. The task fails if it is something else.
          - V(allowed) is any request for a proof; V(refused) is a refusal by the server's rules, or for want of TLS.
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
- name: The service's host is asked for SCRAM by a server whose certificate is right, and not without TLS
  bulwark.hardening.postgresql_login:
    host: db.example.org
    ca_file: /etc/ssl/certs/ca-certificates.crt
    logins:
      - {name: the service, user: app, database: app, expect: allowed}
      - {name: without TLS, user: app, database: app, tls: false, expect: refused}
"""

RETURN = r"""
answers:
  description: What the server said to each login.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The name of the login.
      type: str
    answer:
      description:
        - V(scram), V(md5), V(password), V(gss), V(sspi) or V(oauth) is the proof that the server asks for. V(admitted)
          means that it asks for none, V(failed) that it found a rule and did not take what this client is.
        - V(refused) means that no rule admits the connection, or that the rule needs a client certificate. V(no tls)
          means that TLS cannot be had.
        - V(untrusted), V(unreachable) and V(error) say nothing about rules and fail the task.
      type: str
    detail:
      description: The server's own words, or the names of its mechanisms.
      type: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.hba import model, wire
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.hba.match import PLAINTEXT, TLS, Connection

LOGIN: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "user": {"type": "str", "required": True},
    "database": {"type": "str"},
    "replication": {"type": "bool"},
    "tls": {"type": "bool", "default": True},
    "expect": {"type": "str", "choices": list(model.EXPECTATIONS)},
}
ARGUMENT_SPEC: dict[str, t.Any] = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 5432},
    "ca_file": {"type": "path"},
    "source": {"type": "str", "default": ""},
    "logins": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": LOGIN,
        "mutually_exclusive": [("database", "replication")],
        "required_one_of": [("database", "replication")],
    },
}
DENIED = (wire.REFUSED, wire.NO_TLS)
NO_ANSWER = (wire.UNTRUSTED, wire.UNREACHABLE, wire.ERROR)


def operate(parameters: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the result, with ``msg`` when the task has failed."""
    context = None
    if parameters["ca_file"]:
        try:
            context = wire.verified(parameters["ca_file"])
        except OSError as error:
            return {"msg": f"ca_file {parameters['ca_file']} cannot be used: {error.strerror or error}"}
    target = wire.Target(parameters["host"], parameters["port"], parameters["source"])
    answers, problems = [], []
    for login in parameters["logins"]:
        kind = TLS if login["tls"] else PLAINTEXT
        connection = Connection(kind, login["user"], login["database"] or "", replication=bool(login["replication"]))
        answer = wire.ask(target, connection, context)
        answers.append({"name": login["name"], "answer": answer.kind, "detail": answer.detail})
        problem = judged(answer, login["expect"])
        if problem:
            problems.append(f"{login['name']} ({model.describe(connection)}): {problem}")
    result: dict[str, t.Any] = {"changed": False, "answers": answers}
    if problems:
        result["msg"] = f"the server at {target.host} port {target.port}: {'; '.join(problems)}"
    return result


def judged(answer: wire.Answer, expect: str | None) -> str:
    """Return what is wrong with an answer; empty if nothing is."""
    if answer.kind in NO_ANSWER:
        return f"no answer to go by: {answer.detail}"
    if expect and (answer.kind in DENIED) != (expect == model.REFUSED):
        return f"is expected to be {expect}, and the answer is {answer.kind} ({answer.detail})"
    return ""


def main() -> None:
    """Arguments in, one domain call, result out."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    result = operate(module.params)
    if "msg" in result:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
