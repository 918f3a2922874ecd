# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's documentation is its argument specification, and what needs no host is refused without one."""

from __future__ import annotations

import typing as t

import pytest
import yaml

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import access_service, host
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.access_options import ARGUMENT_SPEC
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.host import Refused
from ansible_collections.bulwark.hardening.plugins.modules import access_policy as subject

OPTIONS = yaml.safe_load(subject.DOCUMENTATION)["options"]


def compare(documented: t.Mapping[str, t.Any], spec: t.Mapping[str, t.Any], place: str = "") -> None:
    assert set(documented) == set(spec), place
    for name, option in spec.items():
        text = documented[name]
        where = f"{place}{name}"
        for key in ("type", "default", "choices", "elements", "required"):
            assert text.get(key) == option.get(key), f"{where}.{key}"
        compare(text.get("suboptions", {}), option.get("options", {}), f"{where}.")


def test_documentation_and_arguments_agree() -> None:
    compare(OPTIONS, ARGUMENT_SPEC)


@pytest.fixture(name="called")
def operations_called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    called: list[str] = []

    def record(name: str) -> t.Callable[..., dict[str, t.Any]]:
        def operation(*_arguments: t.Any) -> dict[str, t.Any]:
            called.append(name)
            return {"changed": False}

        return operation

    monkeypatch.setattr(host, "require_root", lambda what: None)
    for name in ("stage", "apply", "commit", "rollback", "status"):
        monkeypatch.setattr(access_service, name, record(name))
    return called


@pytest.mark.parametrize("operation", ["stage", "apply", "commit", "rollback", "status"])
def test_each_operation_is_one_call(called: list[str], operation: str) -> None:
    subject.operate({"operation": operation}, check_mode=False)
    assert called == [operation]


def test_a_valid_policy_is_valid_without_root(called: list[str]) -> None:
    assert subject.operate({"operation": "validate"}, check_mode=False)["changed"] is False
    assert called == []


def test_a_wrong_policy_reaches_no_operation(called: list[str]) -> None:
    with pytest.raises(Refused, match="mounts"):
        subject.operate({"operation": "apply", "mounts": [{"path": "/usr"}]}, check_mode=False)
    assert called == []


@pytest.mark.parametrize("operation", ["commit", "rollback"])
def test_check_mode_has_no_transaction(called: list[str], operation: str) -> None:
    with pytest.raises(Refused, match=f"no transaction to {operation}"):
        subject.operate({"operation": operation}, check_mode=True)
    assert called == []


def test_a_login_that_was_not_root_confirms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Transaction:
        class journal:  # noqa: N801 - stands for an attribute
            data: t.ClassVar[dict[str, t.Any]] = {
                "needs_elevation": True,
                "proof": access_service._digest(b"right"),
                "files": {},
            }

        committed = False

        def commit(self, *_arguments: t.Any) -> None:
            Transaction.committed = True

        def to_result(self) -> dict[str, t.Any]:
            return {}

    class Engine:
        def resume(self, _id: str) -> Transaction:
            return Transaction()

    monkeypatch.setattr(access_service, "Engine", Engine)
    monkeypatch.setattr(access_service, "_remove_proof", lambda: None)
    for proofs in (["right", "wrong", "right"], ["right", None, "right"]):
        logins = [{"elevation_proof": proof} for proof in proofs]
        with pytest.raises(Refused, match="did not become root by sudo"):
            access_service.commit({"transaction": {"id": "T1", "nonce": "N1", "logins": logins}})
    assert not Transaction.committed
    access_service.commit({"transaction": {"logins": [{"elevation_proof": "right"}]}})
    assert Transaction.committed
