#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let a host look at its PostgreSQL cluster again and again, and tell what is no longer as it was made."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgresql_proof
short_description: Let a host tell by itself when roles, privileges or audit tables of PostgreSQL are no longer as made
version_added: 0.1.0
author:
  - bulwark.hardening contributors (@bulwark-hardening)
description:
  - Leaves on the host what M(bulwark.hardening.postgresql_grants) and M(bulwark.hardening.postgresql_transition_log)
    have made, without passwords and verifiers, a program that compares, and a timer that runs it.
  - The program is C(/usr/local/sbin/bulwark-postgresql-proof). A deployment calls it after its migrations. It changes
    nothing, needs no controller, reads the catalogue only, prints a sentence for each difference, and ends with 0 if
    there is none, with 1 if there is one, and with 2 if it could not look.
  - Run by the timer, each sentence is an error in the journal, and the service C(bulwark-postgresql-proof.service) has
    failed, which monitoring of units sees.
options:
  state:
    description: Whether the program and its timer are there.
    type: str
    choices: [present, absent]
    default: present
  transition_logs:
    description: The arguments of M(bulwark.hardening.postgresql_transition_log), one entry for each database.
    type: list
    elements: dict
    default: []
  missing_objects:
    description:
      - What to make of something that is named and does not exist. V(fail) tells it; V(report) says nothing about it,
        nor about the transition log of that database, for the time before the first migration.
    type: str
    choices: [fail, report]
    default: fail
  interval_minutes:
    description: How often the timer looks, in minutes, from 1 to 1440.
    type: int
    default: 15
  alarm_units:
    description: Units that systemd starts when something differs or the look fails.
    type: list
    elements: str
    default: []
  metrics_directory:
    description:
      - Directory of the node exporter's textfile collector, for C(bulwark_postgresql.prom). Nothing is written if it
        does not exist, or if this is empty.
    type: str
    default: /var/lib/prometheus/node-exporter
extends_documentation_fragment:
  - bulwark.hardening.postgresql_server
  - bulwark.hardening.postgresql_privileges
attributes:
  check_mode:
    description: Looks at the cluster and compares the files, and writes nothing.
    support: full
  diff_mode:
    description: Units as text, and digests of the other files.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
  platform:
    description: Operating systems that the module works on.
    support: full
    platforms: linux
notes:
  - Whoever is root on the host can stop the timer. The control PG-04 observes that it waits.
seealso:
  - module: bulwark.hardening.postgresql_grants
  - module: bulwark.hardening.postgresql_transition_log
"""

EXAMPLES = r"""
- name: Look every five minutes, and tell the administrators
  bulwark.hardening.postgresql_proof:
    roles: "{{ wish.roles }}"
    databases: "{{ wish.databases }}"
    interval_minutes: 5
    alarm_units: [tell-administrators.service]

- name: Look no more
  bulwark.hardening.postgresql_proof:
    state: absent
"""

RETURN = r"""
findings:
  description: What is not as it was made now, one sentence each. It does not fail the task.
  returned: success
  type: list
  elements: str
  sample: ["drift: 'REVOKE DELETE ON TABLE \"public\".\"audit\" FROM \"shop_app\"' would be needed"]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.grants import model as grants_model
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.proof import findings, installation, policy
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.proof.program import pack
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.server import PLACE_ARGUMENTS, Refused
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.transition_log import model as log_model

PRESENT = "present"
ABSENT = "absent"
LONGEST_MINUTES = 1440
ARGUMENT_SPEC: dict[str, t.Any] = {
    **PLACE_ARGUMENTS,
    "state": {"type": "str", "choices": [PRESENT, ABSENT], "default": PRESENT},
    **grants_model.ARGUMENTS,
    "transition_logs": {"type": "list", "elements": "dict", "default": []},
    "missing_objects": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
    "interval_minutes": {"type": "int", "default": 15},
    "alarm_units": {"type": "list", "elements": "str", "default": []},
    "metrics_directory": {"type": "str", "default": "/var/lib/prometheus/node-exporter"},
}


def operate(parameters: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Return the result; raises Refused."""
    if parameters["state"] == ABSENT:
        found = installation.difference({})
        if found and not check_mode:
            installation.remove(found)
        return result(found, [])
    minutes = parameters["interval_minutes"]
    if not 1 <= minutes <= LONGEST_MINUTES:
        raise Refused(f"interval_minutes: {minutes} is not accepted; accepted are 1 to {LONGEST_MINUTES}")
    kept = policy.policy_of(parameters)
    grants_model.parse({"roles": kept["roles"], "databases": kept["databases"]})
    for log in kept["transition_logs"]:
        log_model.parse(log)
    wish = installation.wished(kept, pack(), minutes, parameters["alarm_units"])
    found = installation.difference(wish)
    if found and not check_mode:
        installation.apply(wish, found)
    return result(found, findings.findings(kept))


def result(found: installation.Difference, sentences: list[str]) -> dict[str, t.Any]:
    """Return what the task shows."""
    return {
        "changed": bool(found),
        "findings": sentences,
        "diff": {"before": found.before, "after": found.after},
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
