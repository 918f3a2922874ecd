# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side: groups become addresses, and a wrong policy never reaches the host."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.action.fail2ban import ActionModule, resolved
from ansible_collections.bulwark.hardening.plugins.plugin_utils.inventory_addresses import UnresolvedGroup

VARIABLES = {
    "groups": {"office": ["desk1", "desk2"], "empty": []},
    "hostvars": {"desk1": {"ansible_host": "192.0.2.1"}, "desk2": {"bulwark_addresses": ["192.0.2.2", "2001:db8::2"]}},
}
SAMPLES = [{"line": "a[1]: bad from 192.0.2.1", "address": "192.0.2.1"}, {"line": "a[1]: good"}]
POLICY: dict[str, Any] = {
    "management_sources": ["group:office", "10.0.0.0/8"],
    "filters": [{"name": "a", "fail_patterns": ["^.* bad from <ADDR>$"], "samples": SAMPLES}],
    "jails": [{"name": "a", "journal_matches": ["_UID=0"], "ignored_addresses": ["group:office"]}],
}


class Action(ActionModule):
    """The plugin without Ansible around it."""

    def __init__(self, **arguments: Any) -> None:
        self._task = SimpleNamespace(args=arguments, async_val=False, check_mode=False, diff=False, environment=None)
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def _execute_module(
        self, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        self.calls.append((module_name, module_args))
        return {"changed": True}


@pytest.fixture(autouse=True)
def _no_ansible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda self, tmp=None, task_vars=None: {})


def test_groups_become_addresses_everywhere() -> None:
    result = resolved(POLICY, VARIABLES)
    addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::2"]
    assert result["management_sources"] == [*addresses, "10.0.0.0/8"]
    assert result["jails"][0]["ignored_addresses"] == addresses
    assert result["ignored_addresses"] == []
    assert POLICY["jails"][0]["ignored_addresses"] == ["group:office"], "the task's own arguments stay as they are"


@pytest.mark.parametrize("group", ["unknown", "empty"])
def test_a_group_without_addresses_is_refused_with_its_path(group: str) -> None:
    policy = {**POLICY, "jails": [{**POLICY["jails"][0], "ignored_addresses": [f"group:{group}"]}]}
    with pytest.raises(UnresolvedGroup, match=r"fail2ban_jails\[0\]\.ignored_addresses"):
        resolved(policy, VARIABLES)


def test_the_module_is_called_once() -> None:
    action = Action(**POLICY, operation="apply")
    assert action.run(task_vars=VARIABLES) == {"changed": True}
    assert [name for name, _arguments in action.calls] == ["bulwark.hardening.fail2ban"]
    assert "operation" not in action.calls[0][1]


@pytest.mark.parametrize("wrong", [{"ban_seconds": 0}, {"management_sources": ["group:unknown"]}])
def test_a_wrong_policy_never_reaches_the_host(wrong: dict[str, Any]) -> None:
    action = Action(**{**POLICY, **wrong})
    result = action.run(task_vars=VARIABLES)
    assert (result["failed"], result["changed"], action.calls) == (True, False, [])
    assert next(iter(wrong)) in result["msg"]


def test_a_check_on_the_controller_ends_there() -> None:
    action = Action(**POLICY, operation="validate")
    assert action.run(task_vars=VARIABLES)["changed"] is False
    assert action.calls == []
