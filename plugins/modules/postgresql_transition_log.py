#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write each state change of chosen tables into an append-only table, in the same transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgresql_transition_log
short_description: Write each state change of chosen tables into an append-only table, in the same transaction
version_added: 0.1.0
author:
  - bulwark.hardening contributors (@bulwark-hardening)
description:
  - Triggers that the owner of the tables cannot change write a record of every inserted, updated and deleted row. A
    change is committed together with its record or not at all, whatever the program, its connection or the server does.
  - The record has the whole row before and after, when, by which login, role, address and process, and in which
    transaction. Of a hidden column it has only whether it is set.
  - The log belongs to O(owner_role), the functions that write it to O(writer_role). Neither can log in, neither has
    members, and the writer can neither read nor change a record, nor choose its time, login or number.
  - TRUNCATE of the tables, and every change of the log itself, is refused, whoever tries.
  - DDL and grants in the database are recorded as well, and CREATE CAST is refused for all but superusers, because a
    cast to json would run inside of the functions that record.
  - A superuser, and whoever can write to the files of the server, can remove all of this; O(operation=verify) notices
    what is missing, but not what is no longer in the log.
options:
  operation:
    description:
      - V(install) brings everything to what the options say. When something has to be changed, every row is recorded
        once as it is, with operation C(BASELINE), so that the log goes on from what is there.
      - V(verify) writes nothing, and fails if anything differs. It reads the catalogue only, unless O(compare_rows).
      - V(remove) drops triggers, functions, event triggers and guards wherever they are. The log, its schema and the
        roles stay, and the log stays append-only.
    type: str
    choices: [install, verify, remove]
    default: install
  database:
    description: The database with the tables. It has to be encoded in UTF8.
    type: str
    required: true
  tables:
    description:
      - The tables. A table that is no longer named loses its triggers.
      - Plain tables only, without partitions, parents and children, because triggers would miss their rows.
    type: list
    elements: dict
    default: []
    suboptions:
      schema:
        description: The schema of the table.
        type: str
        default: public
      name:
        description: The table.
        type: str
        required: true
      key:
        description: The column by which a row is found; required unless O(tables[].append_only) is true.
        type: str
      state:
        description: The column with the state of a row, whose text before and after each record shows.
        type: str
      hidden:
        description:
          - Columns with secrets, of which a record only shows whether they are set.
          - They are hidden by name, so look at this list again when an upgrade brings columns.
        type: list
        elements: str
        default: []
      ignored:
        description: Columns that are not recorded. An update that changes nothing else writes no record.
        type: list
        elements: str
        default: []
      append_only:
        description: Refuse UPDATE, DELETE and TRUNCATE, also for the owner, and record nothing.
        type: bool
        default: false
  guards:
    description:
      - Conditions that the database itself enforces. One that is no longer named, or not enabled, is dropped.
      - The texts are SQL, run as a superuser; they are code, like the playbook itself.
    type: list
    elements: dict
    default: []
    suboptions:
      schema:
        description: The schema of the table.
        type: str
        default: public
      table:
        description: The table.
        type: str
        required: true
      name:
        description: The name of the guard. Its trigger is called C(bulwark_) and this.
        type: str
        required: true
      check:
        description:
          - A condition on C(NEW), a row that is inserted or updated. Where it is false, the statement fails as for a
            CHECK constraint of that name, but without its detail, which quotes the row and its secrets.
          - Rows that are there already are not looked at until they are changed.
        type: str
      when:
        description: A condition on C(OLD) and C(NEW), the row before and after an update. Needs O(guards[].set_null).
        type: str
      set_null:
        description: The columns that become NULL when O(guards[].when) is met.
        type: list
        elements: str
        default: []
      enabled:
        description: Whether the guard is wanted.
        type: bool
        default: true
  compare_rows:
    description:
      - With V(verify), also compare each row with its newest record. A row that differs was changed while its trigger
        was disabled, by a restore, or by a migration that rewrote the table.
      - Reads the tables and the log whole, and keeps others from creating casts meanwhile.
    type: bool
    default: false
  baseline:
    description:
      - With V(install), record each row as it is even if nothing else has to be done, so that O(compare_rows) takes
        that for right, such as after a migration. The task is then always changed.
    type: bool
    default: false
  log_schema:
    description: The schema of the log, which is for nothing else. The log is its table C(transition).
    type: str
    default: bulwark_audit
  owner_role:
    description: The role that owns the log. It is made if it is missing.
    type: str
    default: bulwark_audit
  writer_role:
    description: The role that owns the functions that write the log. It is made if it is missing.
    type: str
    default: bulwark_audit_writer
  reader_role:
    description: The role that may read the log. It is made if it is missing; let auditors be members of it.
    type: str
    default: bulwark_audit_reader
  lock_timeout_seconds:
    description:
      - How long to try to lock the tables, in seconds; V(0) tries once.
      - Each attempt ends within half of the server's C(deadlock_timeout), so that the product is never ended as a part
        of a deadlock and waits no longer than that behind an attempt.
    type: float
    default: 10
extends_documentation_fragment:
  - bulwark.hardening.postgresql_server
attributes:
  check_mode:
    description: Reports what would change, from reading the catalogue without locks.
    details: Whether the server takes the conditions of O(guards) shows only when they are made.
    support: partial
  diff_mode:
    description: What is in the catalogue and what has to be, for each object that differs.
    support: full
  idempotent:
    description: A second run changes nothing.
    details: With O(baseline) each run takes a new one.
    support: partial
  platform:
    description: Operating systems that the module works on.
    support: full
    platforms: linux
notes:
  - PostgreSQL 14 or later. On a standby only O(operation=verify) works.
  - A record that cannot be written stops the change that it is about, and so does a full disk. That is meant so.
  - After a restore into another cluster, transaction numbers start again. Raise the default of the column C(epoch)
    before the product starts, or records sort before older ones; O(operation=verify) accepts any whole number there.
  - A database that takes the tables from another one by logical replication would record each change a second time.
  - Do not record a table that is written in SERIALIZABLE transactions on a busy path; make it append-only instead.
seealso:
  - name: Trigger functions
    description: What triggers see, and in which order they run.
    link: https://www.postgresql.org/docs/17/plpgsql-trigger.html
  - name: Writing SECURITY DEFINER functions safely
    description: Why each name in the functions is written with its schema.
    link: https://www.postgresql.org/docs/17/sql-createfunction.html#SQL-CREATEFUNCTION-SECURITY
"""

EXAMPLES = r"""
- name: No change of an order without its record
  bulwark.hardening.postgresql_transition_log:
    database: shop
    tables:
      - name: orders
        key: id
        state: state
        hidden: [card_number]
        ignored: [last_seen_at]
      - name: ledger
        append_only: true
    guards:
      - name: four_eyes
        table: orders
        check: NEW.state <> 'APPROVED' OR coalesce(NEW.approver <> NEW.requester, false)

- name: It is still as it was installed
  bulwark.hardening.postgresql_transition_log:
    operation: verify
    database: shop
    tables:
      - name: orders
        key: id
        state: state
        hidden: [card_number]
        ignored: [last_seen_at]
      - name: ledger
        append_only: true
    guards:
      - name: four_eyes
        table: orders
        check: NEW.state <> 'APPROVED' OR coalesce(NEW.approver <> NEW.requester, false)

- name: Stop recording, and keep what was recorded
  bulwark.hardening.postgresql_transition_log:
    operation: remove
    database: shop
"""

RETURN = r"""
differences:
  description: What differed before the run, one sentence for each object.
  returned: always
  type: list
  elements: str
  sample: ["trigger bulwark_record of public.orders: disabled instead of enabled always"]
foreign:
  description:
    - Triggers and rules on the tables that are not the module's. They may change a row before it is recorded, or keep a
      statement from changing it.
  returned: always
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.server import (
    PLACE_ARGUMENTS,
    Place,
    Refused,
    Server,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.transition_log import change, model
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.transition_log.expected import spelled

ARGUMENT_SPEC: dict[str, t.Any] = {
    **PLACE_ARGUMENTS,
    "operation": {"type": "str", "choices": ["install", "verify", "remove"], "default": "install"},
    "database": {"type": "str", "required": True},
    "tables": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "schema": {"type": "str", "default": "public"},
            "name": {"type": "str", "required": True},
            "key": {"type": "str", "no_log": False},
            "state": {"type": "str"},
            "hidden": {"type": "list", "elements": "str", "default": []},
            "ignored": {"type": "list", "elements": "str", "default": []},
            "append_only": {"type": "bool", "default": False},
        },
    },
    "guards": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "schema": {"type": "str", "default": "public"},
            "table": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "check": {"type": "str"},
            "when": {"type": "str"},
            "set_null": {"type": "list", "elements": "str", "default": []},
            "enabled": {"type": "bool", "default": True},
        },
    },
    "compare_rows": {"type": "bool", "default": False},
    "baseline": {"type": "bool", "default": False},
    "log_schema": {"type": "str", "default": "bulwark_audit"},
    "owner_role": {"type": "str", "default": "bulwark_audit"},
    "writer_role": {"type": "str", "default": "bulwark_audit_writer"},
    "reader_role": {"type": "str", "default": "bulwark_audit_reader"},
    "lock_timeout_seconds": {"type": "float", "default": 10},
}


def operate(parameters: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Return the result, with `msg` when something differs from what is to be verified; raises Refused."""
    policy, patience = model.parse(parameters), parameters["lock_timeout_seconds"]
    with Server(Place.of(parameters), parameters["database"]) as server:
        if parameters["operation"] == "install":
            outcome = change.install(server, policy, patience, check_mode, parameters["baseline"])
        elif parameters["operation"] == "remove":
            outcome = change.remove(server, policy, patience, check_mode)
        else:
            outcome = change.verify(server, policy, parameters["compare_rows"], patience)
    result: dict[str, t.Any] = {
        "changed": outcome.changed,
        "differences": [str(difference) for difference in outcome.differences],
        "foreign": list(outcome.foreign),
        "diff": {
            "before": {spelled(difference.key): difference.observed for difference in outcome.differences},
            "after": {spelled(difference.key): difference.expected for difference in outcome.differences},
        },
    }
    if parameters["operation"] == "verify" and outcome.differences:
        result["msg"] = (
            f"the transition log of the database {parameters['database']!r} is not as it has to be: "
            f"{'; '.join(result['differences'])}; find out who did that before operation: install puts it right"
        )
    return result


def main() -> None:
    """Arguments in, one domain call, result out."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = operate(module.params, module.check_mode)
    except Refused as error:
        module.fail_json(msg=str(error))
        return
    if "msg" in result:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
