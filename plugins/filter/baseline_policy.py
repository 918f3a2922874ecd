# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn the catalogue of controls and a host's variables into one policy."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ..plugin_utils import baseline_policy as policy
from ..plugin_utils import catalogue, declared_certificates
from ..plugin_utils.option_problems import option_problems

DOCUMENTATION = r"""
name: baseline_policy
author:
  - bulwark.hardening contributors (@bulwark-hardening)
version_added: 0.1.0
short_description: Turn the catalogue of controls and a host's variables into one policy
description:
  - Reads the rows of all roles from C(controls/), on the controller, and returns what the modules of the role
    C(baseline) take, and what M(bulwark.hardening.controls) observes.
  - What is wrong with the variables is in the key C(problems); the rest of the result is then empty.
options:
  _input:
    description:
      - The variables of the role C(baseline) by name. Those that are missing have their defaults.
      - C(tls_certificates) and C(tls_issuers) beside them, for the controls of the role C(tls).
    type: dict
    required: true
  facts:
    description:
      - Facts of the host, of the subsets C(distribution) and C(virtual).
      - Without them nothing is known of the host, and the variables are tried on every release that has data.
    type: dict
    default: {}
  units:
    description: Units that are active, as C(systemctl list-units --plain) shows them, one a line.
    type: list
    elements: str
    default: []
  routes:
    description: IPv6 default routes by router advertisements, as C(ip -6 route) shows them.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Make the policy of this host
  ansible.builtin.set_fact:
    baseline_policy: "{{ {'baseline_containers': true} | bulwark.hardening.baseline_policy(ansible_facts) }}"
"""

RETURN = r"""
_value:
  description: >-
    A key for each section of `enforce` in the catalogue, such as C(sysctls), C(files), C(units); C(controls), what has
    to be observed; and C(problems), one sentence for each value that is not accepted.
  type: dict
"""

Result = dict[str, t.Any]


def typed(values: t.Mapping[str, t.Any]) -> tuple[dict[str, t.Any], list[str]]:
    """Return the variables with the types and defaults of the role's argument specification, and what is wrong."""
    specification = catalogue.specification()
    found = option_problems(values, specification)
    if found:
        return {}, found
    result = ArgumentSpecValidator(specification).validate(unpacked(values))
    return result.validated_parameters, list(result.error_messages)


def unpacked(value: t.Any) -> t.Any:
    """Return plain containers: the validator copies what it is given, and each of Ansible's own has a templar in it."""
    if isinstance(value, t.Mapping):
        return {key: unpacked(entry) for key, entry in value.items()}
    return [unpacked(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def baseline_policy(
    values: t.Mapping[str, t.Any],
    facts: t.Mapping[str, t.Any] | None = None,
    units: t.Sequence[str] = (),
    routes: t.Sequence[str] = (),
) -> Result:
    """Return the policy of one host, with `problems`."""
    try:
        rows = catalogue.load()
        others = {name: value for name, value in values.items() if name in declared_certificates.VARIABLES}
        variables, found = typed({name: value for name, value in values.items() if name not in others})
        waivers = [] if found else variables.get("baseline_waivers") or []
        found = found or policy.problems(variables, rows, waivers)
        if not facts:
            # All that can go wrong with these variables shows now, before any host is touched.
            for release in () if found else policy.RELEASES:
                policy.build(rows, variables, policy.Platform(*release), waivers)
            return {"problems": found}
        platform = policy.platform_of(facts)
        # Without facts it is the role tls itself that refuses what is wrong with these.
        found = found or policy.host_problems(platform, variables, routes) or declared_certificates.problems(others)
        if found:
            return {"problems": found}
        running = {line.split()[0] for line in units if line.strip()}
        return {**policy.build(rows, {**variables, **others}, platform, waivers, running), "problems": []}
    except (catalogue.CatalogueError, policy.PolicyError) as error:
        raise AnsibleFilterError(f"the catalogue of controls is wrong: {error}") from None


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, t.Callable[..., Result]]:
        """Return the filters by name."""
        return {"baseline_policy": baseline_policy}
