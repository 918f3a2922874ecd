# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn the variables of the role postgresql into what its modules take."""

from __future__ import annotations

import typing as t

from ..plugin_utils import postgresql_role

DOCUMENTATION = r"""
name: postgresql_policy
author:
  - bulwark.hardening contributors (@bulwark-hardening)
version_added: 0.1.0
short_description: Turn the variables of the role postgresql into what its modules take
description:
  - The settings, for a server of one major version, have TLS of today only, SCRAM only, named addresses, limits for
    connections and times, a log without secrets, and pgaudit.
  - A value that weakens one of these is refused, wherever it comes from, unless the setting is named in
    C(postgresql_accepted_risks).
  - Times are in seconds. A setting that the version does not have is left out.
options:
  _input:
    description:
      - The variables of the role C(postgresql) by name, as its argument specification describes them. Those that are
        missing have the defaults of the role.
    type: dict
    required: true
  major:
    description: The major version of the server, 13 to 19.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Settings for PostgreSQL 17 that serves a certificate of the role tls
  ansible.builtin.set_fact:
    policy: >-
      {{ {'postgresql_tls_certificate': 'database', 'postgresql_listen_addresses': ['192.0.2.10']}
      | bulwark.hardening.postgresql_policy(17) }}

- name: Bring them to the server
  bulwark.hardening.postgresql_settings:
    settings: "{{ policy.settings }}"
    preload_libraries: "{{ policy.preload_libraries }}"
    restart: true
"""

RETURN = r"""
_value:
  description: >-
    C(settings) and C(preload_libraries) for M(bulwark.hardening.postgresql_settings), C(grants) for
    M(bulwark.hardening.postgresql_grants), C(hba) for M(bulwark.hardening.postgresql_hba), C(transition_logs), a list,
    for M(bulwark.hardening.postgresql_transition_log), C(remote_logins), by host, for
    M(bulwark.hardening.postgresql_login); and C(problems), one sentence for each value that is not accepted.
  type: dict
"""


def postgresql_policy(values: t.Mapping[str, t.Any], major: int) -> dict[str, t.Any]:
    """Return the arguments of the modules, and problems."""
    return postgresql_role.build(values, int(major))


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, t.Callable[..., dict[str, t.Any]]]:
        """Return the filters by name."""
        return {"postgresql_policy": postgresql_policy}
