# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controls say of the hosts before and after: weak where a stock host is weak, then proven."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent.parent
STOCK = HERE.parents[1] / ".cache" / "baseline" / "stock"
TARGETS = ["plain12", "stack13"]
# At least one control of each kind that a container shows, weak on every stock host.
WEAK = {
    "sysctl": "OS-14",
    "unit": "OS-07.keys",
    "package": "OS-77",
    "file": "OS-81",
    "permission": "OS-56",
    "mount": "OS-35",
    "pam": "OS-40",
    "account": "OS-44",
    "sudo": "OS-53",
    "update": "OS-83",
}


def by_id(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {control["id"]: control for control in answer["controls"]}


@pytest.mark.parametrize("target", TARGETS)
def test_a_stock_host_is_weak_and_a_hardened_one_is_not(observed: dict[str, Any], target: str) -> None:
    stock, hardened = by_id(json.loads((STOCK / f"{target}.json").read_text())), by_id(observed[target])
    assert {kind: stock[name]["verdict"] for kind, name in WEAK.items()} == dict.fromkeys(WEAK, "fail")
    expected = {"OS-77": "pending"}
    found = {name: hardened[name]["verdict"] for name in WEAK.values()}
    assert {name: verdict for name, verdict in found.items() if verdict not in ("pass", expected.get(name))} == {}


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_fails_but_what_is_left_to_a_person(observed: dict[str, Any], target: str) -> None:
    controls = observed[target]["controls"]
    bad = [control for control in controls if control["verdict"] in ("fail", "unknown") and not control["reported"]]
    assert bad == []
    assert sum(control["verdict"] == "pass" for control in controls) >= 65


def test_a_waiver_shows_with_what_is_observed(observed: dict[str, Any]) -> None:
    waived = [control for control in observed["plain12"]["controls"] if control["verdict"] == "waived"]
    assert [control["id"] for control in waived] == ["OS-46"]
    assert waived[0]["waiver"]["owner"] == "the tests"
    assert waived[0]["verdict_without_waiver"] == "fail"
    assert by_id(observed["stack13"])["OS-46"]["verdict"] == "pass"


def test_a_switch_shows_as_the_reason(observed: dict[str, Any]) -> None:
    forwarding = by_id(observed["stack13"])["OS-13"]
    assert forwarding["verdict"] == "not_applicable"
    assert "containers" in forwarding["reason"]
    assert by_id(observed["plain12"])["OS-13"]["verdict"] == "pass"
