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
notes:
  - The role that the module works as, and the one that the cluster was made with, are never changed.
  - A table with O(databases[].schemas[].tables[].append_only) is protected from all but its owner, superusers, and
    those who can write to the files of the server. Let nobody log in as the owner outside of a migration.
  - A privilege that a role passed on to another is revoked in the name of that role.
options:
  roles:
    description: Roles, which are made if they do not exist. Their attributes are exactly these, V(false) if not named.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the role.
        type: str
        required: true
      login:
        description: Whether it may log in.
        type: bool
        default: false
      inherit:
        description:
          - Whether it has the privileges of the roles it is a member of. From PostgreSQL 16 on it is also the
            C(INHERIT) option of its memberships.
        type: bool
        default: true
      superuser:
        description: Whether it may do everything.
        type: bool
        default: false
      createrole:
        description: Whether it may make and change roles.
        type: bool
        default: false
      createdb:
        description: Whether it may make databases.
        type: bool
        default: false
      replication:
        description: Whether it may copy the whole cluster.
        type: bool
        default: false
      bypassrls:
        description: Whether row security does not apply to it.
        type: bool
        default: false
      connection_limit:
        description: How many sessions it may have at once; V(-1) is any number.
        type: int
        default: -1
      member_of:
        description:
          - All roles that it is a member of, without the right to pass the membership on. Others are revoked.
          - A superuser is accepted here only if the member is one.
        type: list
        elements: str
        default: []
      password:
        description: Its password. Without this and O(roles[].verifier) the password stays.
        type: str
      verifier:
        description: The SCRAM-SHA-256 verifier of its password, as RFC 5803 writes it, in place of the password.
        type: str
      adopt:
        description:
          - Take the role over although it owns objects in a database that O(databases) does not name, which else is
            taken as a sign that it belongs to somebody else, and refused.
        type: bool
        default: false
  databases:
    description: Databases whose privileges are exact.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the database.
        type: str
        required: true
      owner:
        description:
          - Its owner. Without this the owner stays.
          - A database that does not exist is made if it has an owner, from C(template0) with the encoding UTF8, before
            the transaction; it stays, empty, if that fails.
        type: str
      grants:
        description: Who may do what with the database.
        type: list
        elements: dict
        default: []
        suboptions: &grant
          roles:
            description: Roles by name; V(PUBLIC) is everybody.
            type: list
            elements: str
            required: true
          privileges:
            description: What GRANT has for this kind of object, such as V(CONNECT) or V(SELECT); V(ALL) is all of it.
            type: list
            elements: str
            required: true
      schemas:
        description: Schemas whose privileges, and those of the objects in them, are exact.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name of the schema.
            type: str
            required: true
          owner:
            description: Its owner. A schema that does not exist is made if it has one. Without this the owner stays.
            type: str
          objects_owner:
            description: The owner of every table, view, sequence, function and type in it. Without this, owners stay.
            type: str
          grants:
            description: Who may do what with the schema.
            type: list
            elements: dict
            default: []
            suboptions: *grant
          tables:
            description:
              - Rules for tables, views, materialized views and foreign tables. Every rule whose names match applies.
              - On what no rule is about, nobody but the owner has privileges; RV(without_rule) lists it.
            type: list
            elements: dict
            default: []
            suboptions:
              names: &names
                description:
                  - Names of objects of the schema. C(*) and C(?) stand for any characters and any one character.
                  - What is named without these has to exist, see O(missing_objects).
                type: list
                elements: str
                required: true
              except: &except
                description: Names, likewise, that the rule is not about.
                type: list
                elements: str
                default: []
              grants:
                description: Who may do what with them.
                type: list
                elements: dict
                default: []
                suboptions:
                  roles:
                    description: Roles by name; V(PUBLIC) is everybody.
                    type: list
                    elements: str
                    required: true
                  privileges:
                    description: What GRANT has for tables, such as V(SELECT); V(ALL) is all of it.
                    type: list
                    elements: str
                    required: true
                  columns:
                    description: Columns to which the privileges are limited; accepted are then those that columns have.
                    type: list
                    elements: str
                    default: []
              append_only:
                description:
                  - Refuse whatever lets anybody but the owner change or remove rows of these tables, or hook into
                    them.
                  - That is C(UPDATE), C(DELETE), C(TRUNCATE), C(REFERENCES) and C(TRIGGER) for anybody, and anything
                    for C(PUBLIC); C(UPDATE) on a sequence that numbers the rows; a role with privileges on the table
                    that owns it, its schema or database, is a member of who does, or has C(SUPERUSER), C(CREATEROLE),
                    C(BYPASSRLS) or C(REPLICATION); a member of the owner that is not in O(roles); a member of
                    C(pg_write_all_data), C(pg_write_server_files) or C(pg_execute_server_program).
                  - The server is asked as well who has such a privilege in the end.
                type: bool
                default: false
          sequences:
            description: Rules for sequences, likewise.
            type: list
            elements: dict
            default: []
            suboptions: &rule
              names: *names
              except: *except
              grants:
                description: Who may do what with them.
                type: list
                elements: dict
                default: []
                suboptions: *grant
          functions:
            description:
              - Rules for functions, procedures and aggregates, likewise; a name stands for all of this name.
              - Without this key their privileges stay, which for new ones is C(EXECUTE) for everybody.
            type: list
            elements: dict
            suboptions: *rule
          types:
            description:
              - Rules for types and domains, likewise.
              - Without this key their privileges stay, which for new ones is C(USAGE) for everybody.
            type: list
            elements: dict
            suboptions: *rule
      default_privileges:
        description:
          - What objects are born with that a role will create. Exact for the roles of O(roles) and for the schemas of
            O(databases[].schemas), so that entries which are not here are taken away.
        type: list
        elements: dict
        default: []
        suboptions:
          creator:
            description: The role whose new objects this is about.
            type: str
            required: true
          schema:
            description:
              - The schema in which they are created. Privileges for one schema are added to those for all.
              - Without this it is about every schema. The set is then whole, so that C(PUBLIC) loses C(EXECUTE) on new
                functions if the grants do not give it.
            type: str
          objects:
            description: The kind of objects.
            type: str
            required: true
            choices: [tables, sequences, functions, types, schemas]
          grants:
            description: Who may do what with them.
            type: list
            elements: dict
            default: []
            suboptions: *grant
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
