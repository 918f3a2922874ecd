# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that are about roles and privileges of a cluster."""

from __future__ import annotations


class ModuleDocFragment:
    """Roles, databases, and what is in these."""

    DOCUMENTATION = r"""
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
              - On what no rule is about, nobody but the owner has privileges; the result lists it.
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
"""
