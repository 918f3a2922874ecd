# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn profiles of services into what the module postgresql_grants takes."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ..plugin_utils import postgresql_profiles

DOCUMENTATION = r"""
name: postgresql_wish
author:
  - bulwark.hardening contributors (@bulwark-hardening)
version_added: 0.1.0
short_description: Turn profiles of services into what the module postgresql_grants takes
description:
  - Reads profiles from C(profiles/) of the role C(postgresql), on the controller, puts names in place, and returns the
    roles and databases of all services, for one call of M(bulwark.hardening.postgresql_grants).
  - What several services say about one database or schema is joined, so that an auditor or a backup can be added to the
    database of a service. What they say about one role has to be the same.
  - Fails if a value is not accepted, with its path, such as C([0].roles.runtime.name).
options:
  _input:
    description:
      - Services, each a dictionary. C(profile) is V(jitsudo_compatible), V(jitsudo_strict), V(zitadel),
        V(zitadel_single_role), V(service), V(auditor), V(backup) or V(responder).
      - C(database) and C(schema) name where it is, where the profile has them. C(audit_tables) of V(service) are tables
        that it only adds to; C(tables) of V(auditor) are those that it reads, V(['*']) by default.
      - C(roles) has a key for each role of the profile, which are C(owner), C(runtime), C(auditor), C(backup), with
        C(name), C(password) or C(verifier), C(connection_limit) and C(adopt) as the module has them. An empty C(name)
        leaves a role out.
      - C(logins) of a role are others that log in and have what the role has, which itself then cannot log in. So one
        can be replaced by another without an interruption.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Bring two services, an auditor and the backup to one cluster
  bulwark.hardening.postgresql_grants:
    roles: "{{ wish.roles }}"
    databases: "{{ wish.databases }}"
  vars:
    wish: "{{ services | bulwark.hardening.postgresql_wish }}"
    services:
      - profile: jitsudo_strict
        roles:
          runtime:
            logins:
              - {name: jitsudo_app_a, password: "{{ jitsudo_password_a }}"}
              - {name: jitsudo_app_b, password: "{{ jitsudo_password_b }}"}
      - profile: zitadel
        roles:
          runtime: {password: "{{ zitadel_password }}", connection_limit: 40}
      - profile: backup
        database: jitsudo
      - profile: backup
        database: zitadel
"""

RETURN = r"""
_value:
  description: C(roles) and C(databases), as M(bulwark.hardening.postgresql_grants) takes them.
  type: dict
"""


def postgresql_wish(services: t.Any) -> dict[str, t.Any]:
    """Return the wish of all services."""
    try:
        return postgresql_profiles.wish(services)
    except postgresql_profiles.ProfileError as error:
        raise AnsibleFilterError(f"postgresql_wish: {error}") from error


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, t.Callable[..., dict[str, t.Any]]]:
        """Return the filters by name."""
        return {"postgresql_wish": postgresql_wish}
