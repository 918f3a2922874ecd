# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the fail2ban module: policy check, groups to addresses, one remote call."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.bulwark.hardening.plugins.module_utils.fail2ban.validate import validate_policy
from ansible_collections.bulwark.hardening.plugins.plugin_utils.inventory_addresses import UnresolvedGroup, resolve

Result = dict[str, t.Any]


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core is not annotated
    """Refuse a wrong policy before the host is touched, then run the module once."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: t.Any = None, task_vars: Result | None = None) -> Result:
        """Check, resolve ``group:NAME``, and run."""
        result: Result = super().run(tmp, task_vars)
        variables: Result = task_vars or {}
        arguments = dict(self._task.args)
        problems = validate_policy(arguments)
        if problems:
            return {**result, "failed": True, "changed": False, "msg": "; ".join(problems)}
        try:
            arguments = resolved(arguments, variables)
        except UnresolvedGroup as problem:
            return {**result, "failed": True, "changed": False, "msg": str(problem)}
        if arguments.pop("operation", "apply") == "validate":
            return {**result, "changed": False, "msg": "the policy is valid"}
        module: Result = self._execute_module(
            module_name="bulwark.hardening.fail2ban", module_args=arguments, task_vars=variables
        )
        return {**result, **module}


def resolved(arguments: Result, variables: Result) -> Result:
    """Return the arguments with every inventory group replaced by its addresses. Raises UnresolvedGroup."""
    groups: t.Mapping[str, t.Sequence[str]] = variables.get("groups") or {}
    hostvars = variables.get("hostvars") or {}

    def addresses(values: t.Any, path: str) -> list[str]:
        return resolve(values or [], path, groups, lambda host: hostvars[host])

    result = dict(arguments)
    for key in ("ignored_addresses", "management_sources"):
        result[key] = addresses(arguments.get(key), f"fail2ban_{key}")
    result["jails"] = [
        {
            **jail,
            "ignored_addresses": addresses(jail["ignored_addresses"], f"fail2ban_jails[{index}].ignored_addresses"),
        }
        if jail.get("ignored_addresses")
        else jail
        for index, jail in enumerate(arguments.get("jails") or [])
    ]
    return result
