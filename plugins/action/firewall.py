# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the firewall module: groups to addresses, policy check, new-login proof."""

from __future__ import annotations

import typing as t

from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.model import RULE_LISTS
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.validate import validate_policy
from ansible_collections.bulwark.hardening.plugins.plugin_utils.commit_confirmed import (
    CommitConfirmedAction,
    Refused,
    Result,
)
from ansible_collections.bulwark.hardening.plugins.plugin_utils.inventory_addresses import UnresolvedGroup, resolve


class ActionModule(CommitConfirmedAction):
    """Run one firewall policy as a transaction."""

    module_name = "bulwark.hardening.firewall"

    def prepare(self, arguments: Result, task_vars: Result) -> Result:
        """Resolve ``group:NAME`` and check the whole policy before the host is touched."""
        problems = validate_policy(arguments)
        if problems:
            raise Refused("; ".join(problems))
        groups: t.Mapping[str, t.Sequence[str]] = task_vars.get("groups") or {}
        hostvars = task_vars.get("hostvars") or {}

        def addresses(values: t.Any, path: str) -> list[str]:
            return resolve(values or [], path, groups, lambda host: hostvars[host])

        prepared = dict(arguments)
        try:
            prepared["management_sources"] = addresses(
                arguments.get("management_sources"), "firewall_management_sources"
            )
            for name in RULE_LISTS:
                prepared[name] = [
                    {
                        **rule,
                        "sources": addresses(rule.get("sources"), f"firewall_{name}[{index}].sources"),
                        "destinations": addresses(rule.get("destinations"), f"firewall_{name}[{index}].destinations"),
                    }
                    for index, rule in enumerate(arguments.get(name) or [])
                ]
        except UnresolvedGroup as problem:
            raise Refused(str(problem)) from problem
        return prepared
