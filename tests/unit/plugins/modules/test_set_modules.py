# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that bring sets to a host: what they return, and that what a user can cause is a sentence."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import (
    accounts_host,
    files,
    files_host,
    host,
    permissions,
    permissions_host,
    sysctls,
    sysctls_host,
    units,
    units_host,
)
from ansible_collections.bulwark.hardening.plugins.modules import (
    account_set,
    file_set,
    permission_set,
    sysctl_policy,
    unit_set,
)

MODULES: list[ModuleType] = [account_set, file_set, permission_set, sysctl_policy, unit_set]
# Ansible gives these a meaning of its own.
RESERVED = {"skipped", "failed", "unreachable", "warnings", "deprecations", "invocation", "results"}


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_nobody_but_root(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    parameters = {name: option.get("default") for name, option in module.ARGUMENT_SPEC.items()}
    with pytest.raises(host.Refused, match="can be changed by root only; set become to true"):
        module.operate(parameters, True)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_no_result_takes_a_name_of_ansible(module: ModuleType) -> None:
    assert not RESERVED & set(yaml.safe_load(module.RETURN))


def test_a_refused_key_of_the_network_fails_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    states = (
        sysctls_host.State("kernel.a", "1", "0", "0", "refused", "why not"),
        sysctls_host.State("net.b", "1", "0", "0", "refused", "read-only"),
        sysctls_host.State("vm.c", "1", "", "", "missing", "none"),
        sysctls_host.State("vm.d", "1", "0", "1", "changed"),
    )
    overridden = (sysctls.Overriding("vm.d", "1", "0", "/etc/sysctl.d/z.conf"),)
    outcome = sysctls_host.Outcome(states, "x", "x", overridden)
    monkeypatch.setattr(sysctls_host, "converge", lambda *_arguments: outcome)
    result = sysctl_policy.operate({"path": "/p", "parameters": {}}, False)
    assert result["changed"] is True
    assert (result["refused"], result["missing"]) == (["kernel.a", "net.b"], ["vm.c"])
    assert result["msg"].endswith("own network: net.b = 1 (read-only)")
    assert result["warnings"] == [
        "/etc/sysctl.d/z.conf sets vm.d = 0 later than this policy; change it there, or these go back"
    ]
    assert result["diff"][1]["after"] == {"vm.d": "1"}
    quiet = sysctls_host.Outcome(states[:1], "x", "x", ())
    monkeypatch.setattr(sysctls_host, "converge", lambda *_arguments: quiet)
    result = sysctl_policy.operate({"path": "/p", "parameters": {}}, False)
    assert result["changed"] is False
    assert "msg" not in result


def test_files_are_counted_and_an_owed_command_is_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    change = files.Change("/f", files.Found(b"a", 0o644, 0, 0), files.Found(b"b", 0o600, 0, 0))
    outcomes = [
        (files_host.Outcome((change,), ()), True),
        (files_host.Outcome((), (("reload",),)), True),
        (files_host.Outcome((), ()), False),
    ]
    for outcome, changed in outcomes:
        monkeypatch.setattr(files_host, "converge", lambda *_arguments, outcome=outcome: outcome)
        result = file_set.operate({"files": [], "commands_after": []}, False)
        assert result["changed"] is changed
    monkeypatch.setattr(files_host, "converge", lambda *_arguments: outcomes[0][0])
    result = file_set.operate({"files": [], "commands_after": []}, False)
    assert result["files"] == [{"path": "/f", "action": "changed", "what": ["content", "mode"]}]


def test_paths_and_units_and_accounts_that_fail_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = permissions.Facts("/f", "file", 0o644, 0, 0)
    outcome = permissions_host.Outcome((permissions.Change(facts, facts),), (), ("left",), ("/f cannot be set: no",))
    monkeypatch.setattr(permissions_host, "converge", lambda *_arguments: outcome)
    result = permission_set.operate({"entries": [], "suid_stripped": []}, False)
    assert (result["msg"], result["left_out"]) == ("/f cannot be set: no", ["left"])
    assert result["changes"][0]["before"] == {"owner": "root", "group": "root", "mode": "0644"}

    unit = units.Unit("loaded", "enabled", "active")
    step = units.Step("stop", "a.service")
    before = {"a.service": unit}
    monkeypatch.setattr(units_host, "converge", lambda *_a: units_host.Outcome((step,), before, before, (), ("bad",)))
    assert unit_set.operate({"units": []}, False)["msg"] == "bad"
    assert unit_set.operate({"units": []}, True)["diff"]["after"] == {"a.service": {"systemctl": ["stop"]}}

    parameters: dict[str, Any] = {}
    failing = accounts_host.Outcome((), (), (), ("kept",), ("worse",))
    monkeypatch.setattr(accounts_host, "converge", lambda *_arguments: failing)
    result = account_set.operate(parameters, False)
    assert (result["changed"], result["msg"], result["kept"]) == (False, "worse", ["kept"])
