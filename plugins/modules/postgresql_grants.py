#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles of a PostgreSQL cluster and what each may do, as one exact set."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgresql_grants
short_description: Roles of a PostgreSQL cluster and what each may do, as one exact set
version_added: 0.1.0
author:
  - bulwark.hardening contributors (@bulwark-hardening)
description:
  - Brings roles, memberships, owners, privileges and default privileges of all databases of a cluster to what is
    wished, in one call. What the wish gives is granted, and what it does not give is revoked, by statements that name
    each privilege; C(CASCADE) is never used, and no role, database or object is ever dropped.
  - Exact are the attributes and memberships of the roles in O(roles); the privileges of the databases in O(databases)
    and of the schemas that these name; those of every table, view and sequence in these schemas, for every grantee; and
    those of functions and types where the schema has the key for them. Members of extensions are left alone.
  - A role of O(roles) keeps nothing else in these databases. What it holds on other schemas, on languages, foreign
    servers, settings or tablespaces is revoked. Large objects are not looked at.
  - An owner has all privileges on what it owns, unless a grant of the wish names the owner.
  - What a database shares with others goes into one transaction with the first database; each further database has a
    transaction of its own. Before a C(COMMIT) everything is read again and must be as wished, else all of the
    transaction is rolled back. A failure says what is kept.
  - Passwords become SCRAM-SHA-256 verifiers in the memory of the module, and only those reach the server, while its
    logging of statements is off. A password that the server already has is no change.
extends_documentation_fragment:
  - bulwark.hardening.postgresql_server
  - bulwark.hardening.postgresql_privileges
notes:
  - The role that the module works as, and the one that the cluster was made with, are never changed.
  - A table with O(databases[].schemas[].tables[].append_only) is protected from all but its owner, superusers, and
    those who can write to the files of the server. Let nobody log in as the owner outside of a migration.
  - A privilege that a role passed on to another is revoked in the name of that role.
options:
  missing_objects:
    description:
      - What to do if an object that is named without a pattern, or a column, does not exist.
      - V(fail) changes nothing and says which. V(report) does all the rest and lists them in RV(missing), for the time
        before the first migration.
    type: str
    choices: [fail, report]
    default: fail
  lock_timeout_seconds:
    description: How long to wait for a lock that another session has, from 1 to 600.
    type: int
    default: 5
attributes:
  check_mode:
    description: Reports what would change.
    details:
      - Only the catalogue is read, and nothing is locked. Of a database that does not exist it says what its owner and
        the schema C(public) would get. Whether the server takes the statements shows when they are run.
    support: partial
  diff_mode:
    description: One line for each attribute, membership, owner and privilege that goes or comes.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
  platform:
    description: Operating systems that the module works on.
    support: full
    platforms: linux
seealso:
  - name: PostgreSQL, privileges
    description: What each privilege lets a role do.
    link: https://www.postgresql.org/docs/current/ddl-priv.html
"""

EXAMPLES = r"""
- name: A service with an owner for migrations, and an audit trail that it can only add to
  bulwark.hardening.postgresql_grants:
    roles:
      - name: shop_owner
      - name: shop_app
        login: true
        connection_limit: 20
        password: "{{ shop_app_password }}"
    databases:
      - name: shop
        owner: shop_owner
        grants:
          - roles: [shop_app]
            privileges: [CONNECT]
        schemas:
          - name: public
            objects_owner: shop_owner
            grants:
              - roles: [shop_app]
                privileges: [USAGE]
            tables:
              - names: ['*']
                except: [audit]
                grants:
                  - roles: [shop_app]
                    privileges: [SELECT, INSERT, UPDATE, DELETE]
              - names: [audit]
                append_only: true
                grants:
                  - roles: [shop_app]
                    privileges: [INSERT]
                    columns: [actor, action, details]
            sequences:
              - names: ['*']
                grants:
                  - roles: [shop_app]
                    privileges: [USAGE]
        default_privileges:
          - creator: shop_owner
            objects: functions

- name: Say what a migration has left to review
  bulwark.hardening.postgresql_grants:
    databases: "{{ shop_databases }}"
    roles: "{{ shop_roles }}"
  check_mode: true
  diff: true
"""

RETURN = r"""
queries:
  description: The statements that were run, or in check mode would be, in order; verifiers are masked.
  returned: success
  type: list
  elements: str
  sample: ['REVOKE DELETE ON TABLE "public"."audit" FROM "shop_app"']
missing:
  description: What the wish names and does not exist, by database; only with O(missing_objects=report).
  returned: success
  type: dict
  sample: {shop: ['table "public"."audit"']}
without_rule:
  description: Tables in the schemas of the wish that no rule is about, by database. After a migration, look at these.
  returned: success
  type: dict
  sample: {shop: ['"public"."new_table"']}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.grants import change, model, planner
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.server import (
    PLACE_ARGUMENTS,
    Place,
    Refused,
)

ARGUMENT_SPEC: dict[str, t.Any] = {
    **PLACE_ARGUMENTS,
    **model.ARGUMENTS,
    "missing_objects": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
    "lock_timeout_seconds": {"type": "int", "default": 5},
}
LONGEST_WAIT_SECONDS = 600


def operate(parameters: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Return the result; raises Refused."""
    seconds = parameters["lock_timeout_seconds"]
    if not 1 <= seconds <= LONGEST_WAIT_SECONDS:
        raise Refused(f"lock_timeout_seconds: {seconds} is not accepted; accepted are 1 to {LONGEST_WAIT_SECONDS}")
    wish = model.parse(parameters)
    outcome = change.converge(
        Place.of(parameters), wish, check_mode, seconds, parameters["missing_objects"] == "report"
    )
    return {
        "changed": bool(outcome.statements),
        "queries": [statement.shown for statement in outcome.statements],
        "missing": outcome.missing,
        "without_rule": outcome.without_rule,
        "diff": {**planner.facts(outcome.statements), "before_header": "cluster", "after_header": "cluster"},
    }


def main() -> None:
    """Arguments in, one domain call, result out."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        module.exit_json(**operate(module.params, module.check_mode))
    except Refused as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
