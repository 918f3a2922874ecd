# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controls module: what it takes, what it gives, and that it wants root."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.evaluate import Refused
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.host import Host
from ansible_collections.bulwark.hardening.plugins.modules import controls

CHECK = {"reader": "sysctl", "parameters": {"keys": {"kernel.sysrq": 0}}}


def given(**more: Any) -> list[dict[str, Any]]:
    validator = ArgumentSpecValidator(controls.ARGUMENT_SPEC)
    result = validator.validate({"controls": [{"id": "OS-07", "readers": [CHECK], **more}]})
    assert result.error_messages == []
    validated: list[dict[str, Any]] = result.validated_parameters["controls"]
    return validated


def test_a_result_has_all_that_is_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/sysrq").write_text("438\n")
    waiver = {"control": "OS-07", "owner": "ops", "reason": "console", "expires": "2030-01-01"}
    result = controls.operate(given(waiver=waiver, needs=["reboot"]), Host(str(tmp_path)))
    assert result["changed"] is False
    assert set(result) - {"changed"} == set(yaml.safe_load(controls.RETURN))
    assert set(result["counts"]) == set(yaml.safe_load(controls.RETURN)["counts"]["sample"])
    (seen,) = result["controls"]
    assert set(seen) - {"waiver", "verdict_without_waiver"} == set(
        yaml.safe_load(controls.RETURN)["controls"]["sample"][0]
    )
    assert (seen["verdict"], seen["observed"]) == ("waived", "kernel.sysrq 438")


def test_only_root_sees_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Refused, match="root only; set become to true"):
        controls.operate(given(), Host())


def test_documentation_and_argument_specification_agree() -> None:
    def shape(options: dict[str, Any], nested: str) -> dict[str, Any]:
        return {
            name: {
                "type": option["type"],
                "elements": option.get("elements"),
                "default": option.get("default"),
                "required": option.get("required", False),
                "choices": option.get("choices"),
                "options": shape(option.get(nested) or {}, nested),
            }
            for name, option in options.items()
        }

    documented = yaml.safe_load(controls.DOCUMENTATION)["options"]
    assert shape(documented, "suboptions") == shape(controls.ARGUMENT_SPEC, "options")
