# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn variables into the settings of a hardened PostgreSQL server."""

from __future__ import annotations

import typing as t

from ..plugin_utils import postgresql_policy as policy

DOCUMENTATION = r"""
name: postgresql_policy
author:
  - bulwark.hardening contributors (@bulwark-hardening)
version_added: 0.1.0
short_description: Turn variables into the settings of a hardened PostgreSQL server
description:
  - Returns what M(bulwark.hardening.postgresql_settings) takes, for a server of one major version. It has TLS of today
    only, SCRAM only, named addresses, limits for connections and times, a log without secrets, and pgaudit.
  - A value that weakens one of these is refused, wherever it comes from, unless the setting is named in
    C(postgresql_accepted_risks).
  - Times are in seconds. A setting that the version does not have is left out.
options:
  _input:
    description:
      - The variables by name. Those that are missing have the defaults in parentheses.
      - C(postgresql_tls_certificate), the name of a certificate of the role C(tls), whose C(full_chain.pem) and
        C(key.pem) are served (none, so that the files that the server names already stay);
        C(postgresql_tls_client_ca_file), against which certificates of clients are checked (none);
        C(postgresql_tls_minimum_version) (V(TLSv1.2)).
      - C(postgresql_listen_addresses) (V([localhost])).
      - C(postgresql_max_connections) (V(100)); of these C(postgresql_superuser_reserved_connections) (V(3)) are kept
        for superusers, and from PostgreSQL 16 on C(postgresql_reserved_connections) (V(3)) for members of
        C(pg_use_reserved_connections).
      - C(postgresql_statement_timeout_seconds) (V(300)), C(postgresql_lock_timeout_seconds) (V(30)),
        C(postgresql_idle_in_transaction_session_timeout_seconds) (V(60)), C(postgresql_authentication_timeout_seconds)
        (V(30)), and from PostgreSQL 14 on C(postgresql_idle_session_timeout_seconds) (V(3600)).
      - C(postgresql_tcp_keepalives_idle_seconds) (V(60)), C(postgresql_tcp_keepalives_interval_seconds) (V(10)),
        C(postgresql_tcp_keepalives_count) (V(6)).
      - C(postgresql_log_statement), V(none) or V(ddl) (V(none)); C(postgresql_log_min_messages) (V(warning));
        C(postgresql_log_line_prefix); C(postgresql_log_error_verbosity) (V(default)).
      - C(postgresql_pgaudit) (V(true)), with the classes C(postgresql_pgaudit_log) (V([ddl, role]));
        C(postgresql_preload_libraries), further libraries (V([])).
      - C(postgresql_extra_settings), any settings by name, which win over all of these (V({})).
      - C(postgresql_accepted_risks), the settings that may be weaker, and V(pgaudit) to do without it (V([])).
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
    C(settings) and C(preload_libraries), as the module takes them; and C(problems), one sentence for each value that is
    not accepted. The others are empty then.
  type: dict
"""


def postgresql_policy(values: t.Mapping[str, t.Any], major: int) -> dict[str, t.Any]:
    """Return settings, preload_libraries and problems."""
    return policy.build(values, int(major))


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, t.Callable[..., dict[str, t.Any]]]:
        """Return the filters by name."""
        return {"postgresql_policy": postgresql_policy}
