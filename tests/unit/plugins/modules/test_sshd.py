# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sshd module: which operation runs, and that what a user can cause is a sentence."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.hardening.plugins.module_utils.sshd import service
from ansible_collections.bulwark.hardening.plugins.module_utils.sshd.options import ARGUMENT_SPEC
from ansible_collections.bulwark.hardening.plugins.module_utils.sshd.planner import Refused
from ansible_collections.bulwark.hardening.plugins.modules import sshd


def parameters(**given: Any) -> dict[str, Any]:
    return {name: given.get(name, spec.get("default")) for name, spec in ARGUMENT_SPEC.items()}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Record which operation of the service runs, as root."""
    calls: list[tuple[Any, ...]] = []

    def record(name: str) -> Any:
        def called(*arguments: Any) -> dict[str, Any]:
            calls.append((name, *arguments[1:]))
            return {"changed": False}

        return called

    for name in ("stage", "unstage", "apply", "commit", "rollback", "status"):
        monkeypatch.setattr(service, name, record(name))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return calls


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("operation", ["stage", "apply"])
def test_planning_operations_know_check_mode(called: list[Any], operation: str, check_mode: bool) -> None:
    sshd.operate(parameters(operation=operation), check_mode)
    assert called == [(operation, check_mode)]


@pytest.mark.parametrize("operation", ["unstage", "commit", "rollback", "status"])
def test_later_operations_run(called: list[Any], operation: str) -> None:
    sshd.operate(parameters(operation=operation), False)
    assert called == [(operation,)]


@pytest.mark.parametrize("operation", ["commit", "rollback"])
def test_check_mode_has_no_transaction_to_end(called: list[Any], operation: str) -> None:
    with pytest.raises(Refused, match=f"no transaction to {operation} in check mode"):
        sshd.operate(parameters(operation=operation), True)
    assert called == []


def test_validate_touches_nothing(called: list[Any]) -> None:
    assert sshd.operate(parameters(operation="validate"), False)["msg"] == "the policy is valid"
    assert called == []


def test_a_bad_policy_stops_before_any_operation(called: list[Any]) -> None:
    with pytest.raises(Refused, match="ssh_ports"):
        sshd.operate(parameters(ports=[0]), False)
    assert called == []


def test_only_root_may_change_sshd(called: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(Refused, match="set become to true"):
        sshd.operate(parameters(), False)
    assert called == []


def compared(spec: dict[str, Any]) -> dict[str, Any]:
    """Return what documentation and argument spec must agree on."""
    kept: dict[str, Any] = {key: spec[key] for key in ("type", "elements", "choices", "default") if key in spec}
    kept["required"] = spec.get("required", False)
    nested = spec.get("suboptions") or spec.get("options") or {}
    kept["options"] = {name: compared(option) for name, option in nested.items()}
    return kept


def test_the_documentation_tells_types_defaults_and_choices_as_they_are() -> None:
    documented = yaml.safe_load(sshd.DOCUMENTATION)["options"]
    assert {name: compared(option) for name, option in documented.items()} == {
        name: compared(option) for name, option in ARGUMENT_SPEC.items()
    }
