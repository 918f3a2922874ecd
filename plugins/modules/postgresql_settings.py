#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set the server settings of a PostgreSQL cluster as one set, and see that they hold."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgresql_settings
short_description: Set the server settings of a PostgreSQL cluster as one set, and see that they hold
version_added: 0.1.0
author:
  - bulwark.hardening contributors (@bulwark-hardening)
extends_documentation_fragment:
  - bulwark.hardening.postgresql_server
description:
  - Writes all settings into C(conf.d/zz-bulwark.conf) beside the configuration file of the running server, which is
    rewritten whole. What is no longer given goes back to what the other files or the server itself say.
  - Before anything changes, the server's own program reads the candidate in a copy of the configuration, loads its
    libraries and certificates, and adds up its memory, as the user that it runs as.
  - The server reads the file by a reload, which ends no session. What needs a restart is in RV(restart_required), and
    is done once, in the same call, if O(restart) is set.
  - A new session then has to show every value. If one is missing, or the server does not come up, the old file is put
    back, the server is started with it, and the task fails.
  - A run that is killed leaves the way back in C(/var/lib/bulwark/postgresql); the next one goes on from there.
options:
  settings:
    description:
      - Values by name. Units are written as in the configuration file, such as V(5min) or V(64MB); a list is joined by
        commas.
      - A name that the server does not know and a value that it does not take are refused, and so is one that
        C(postgresql.auto.conf), a later file or the command line of the server overrides.
      - What says where the cluster is, such as C(port), C(data_directory) or C(unix_socket_directories), is refused.
      - No place for secrets, since the values are in the result; a password belongs into a C(passfile).
    type: dict
    default: {}
  preload_libraries:
    description:
      - Libraries that C(shared_preload_libraries) has to name, besides those that other files of the host name there.
      - Not together with C(shared_preload_libraries) in O(settings).
    type: list
    elements: str
    default: []
  restart:
    description:
      - Restart the server if a setting waits for that, whoever changed it. All sessions end then.
      - The server has to be run by a systemd unit, which is found by its process.
    type: bool
    default: false
  restart_timeout_seconds:
    description: How long the server may take to come up, before the old file is put back.
    type: int
    default: 120
notes:
  - Works on a standby too, since it changes nothing in the databases.
  - With PostgreSQL 13 and 14 only names and values are tried beforehand, neither libraries nor certificates nor memory.
  - A value that C(ALTER ROLE) or C(ALTER DATABASE) sets holds instead of that of the file; RV(overridden_for) has them.
attributes:
  check_mode:
    description: Tries everything as a real run does, and reports what would change, the need for a restart included.
    details: Whether the server comes up shows only when it is restarted.
    support: partial
  diff_mode:
    description: The file, before and after.
    support: full
  idempotent:
    description: A second run changes nothing, and restarts nothing.
    support: full
  platform:
    description: Operating systems that the module works on.
    support: full
    platforms: linux
"""

EXAMPLES = r"""
- name: Current TLS only, SCRAM only, an audit log, and one restart for what needs it
  bulwark.hardening.postgresql_settings:
    settings:
      ssl: true
      ssl_min_protocol_version: TLSv1.2
      password_encryption: scram-sha-256
      listen_addresses: [localhost]
      log_connections: true
      lock_timeout: 10s
      pgaudit.log: ddl, role
    preload_libraries: [pgaudit]
    restart: true

- name: See what waits for a restart
  bulwark.hardening.postgresql_settings:
    settings:
      max_connections: 200
  register: postgresql_settings_result
"""

RETURN = r"""
file:
  description: The file that holds the settings.
  returned: success
  type: str
  sample: /etc/postgresql/17/main/conf.d/zz-bulwark.conf
settings:
  description: Every setting that is wished.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The setting.
      type: str
    wished:
      description: The value as it is in the file.
      type: str
    observed:
      description: The value that a new session shows, in the server's own unit; in check mode, the one of now.
      type: str
    source:
      description: Where the observed value comes from, a file if it is one.
      type: str
    context:
      description: When a new value holds; C(postmaster) is after a restart.
      type: str
restart_required:
  description: The settings that wait for a restart, whoever changed them.
  returned: success
  type: list
  elements: str
restarted:
  description: Whether the server was restarted.
  returned: success
  type: bool
overridden_for:
  description: The settings that C(ALTER ROLE) or C(ALTER DATABASE) gives another value.
  returned: success
  type: list
  elements: dict
  sample: [{name: lock_timeout, role: batch, database: ""}]
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql import settings_host
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.server import PLACE_ARGUMENTS, Place, Refused

ARGUMENT_SPEC: dict[str, t.Any] = {
    **PLACE_ARGUMENTS,
    "settings": {"type": "dict", "default": {}},
    "preload_libraries": {"type": "list", "elements": "str", "default": []},
    "restart": {"type": "bool", "default": False},
    "restart_timeout_seconds": {"type": "int", "default": 120},
}


def operate(parameters: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Return the result; raises Refused."""
    if os.geteuid() != 0:
        raise Refused("settings of a server can be changed by root only; set become to true")
    outcome = settings_host.converge(
        Place.of(parameters),
        parameters["settings"],
        parameters["preload_libraries"],
        parameters["restart"],
        parameters["restart_timeout_seconds"],
        check_mode,
    )
    return {
        "changed": outcome.changed,
        "file": outcome.path,
        "settings": [
            {name: getattr(state, name) for name in ("name", "wished", "observed", "source", "context")}
            for state in outcome.states
        ],
        "restart_required": list(outcome.restart_required),
        "restarted": outcome.restarted,
        "overridden_for": [dict(entry) for entry in outcome.roles],
        "warnings": _warnings(outcome),
        "diff": {
            "before": outcome.before,
            "after": outcome.after,
            "before_header": outcome.path,
            "after_header": outcome.path,
        },
    }


def _warnings(outcome: settings_host.Outcome) -> list[str]:
    found = []
    if outcome.restart_required:
        found.append(
            f"{', '.join(outcome.restart_required)} wait for a restart of the server; set restart to true, or restart "
            "it at a better time"
        )
    for entry in outcome.roles:
        whom = " in ".join(part for part in (entry["role"], entry["database"]) if part)
        found.append(f"{entry['name']} has another value for {whom} by ALTER ROLE or ALTER DATABASE")
    return found


def main() -> None:
    """Arguments in, one domain call, result out."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    os.umask(0o022)
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
