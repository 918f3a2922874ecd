# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All controls of a host in one go."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls import evaluate as module
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.evaluate import Refused, counts, evaluate
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.host import Host
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import Observation, Verdict
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.parameters import Parameters
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.reader import Reader
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.registry import READERS

from .conftest import MakeHost

KEY = {"/proc/sys/kernel/sysrq": "0\n"}
WAIVER = {"owner": "ops", "reason": "needed", "expires": "2030-01-01"}


def control(identifier: str = "OS-07", value: int = 0, **more: Any) -> dict[str, Any]:
    check = {"reader": "sysctl", "parameters": {"keys": {"kernel.sysrq": value}}}
    return {"id": identifier, "title": "No magic keys", "readers": [check], **more}


def test_a_control_passes_or_fails(make_host: MakeHost) -> None:
    results = evaluate(make_host(KEY), [control("OS-01"), control("OS-02", 1)])
    assert [result["verdict"] for result in results] == ["pass", "fail"]
    assert results[1] == {
        "id": "OS-02",
        "title": "No magic keys",
        "verdict": "fail",
        "expected": "kernel.sysrq 1",
        "observed": "kernel.sysrq 0",
        "reason": "",
        "source": "/proc/sys",
        "reported": False,
    }
    assert counts(results) == {"pass": 1, "fail": 1, "waived": 0, "not_applicable": 0, "pending": 0, "unknown": 0}


def test_a_waived_control_is_observed_all_the_same(make_host: MakeHost) -> None:
    (result,) = evaluate(make_host(KEY), [control(value=1, waiver=WAIVER)])
    assert (result["verdict"], result["verdict_without_waiver"]) == ("waived", "fail")
    assert (result["observed"], result["waiver"]) == ("kernel.sysrq 0", WAIVER)


@pytest.mark.parametrize(
    ("files", "shares"),
    [
        ({"/run/systemd/container": "systemd-nspawn\n"}, True),
        ({"/proc/1/environ": "A=b\0container=lxc\0"}, True),
        ({"/.dockerenv": ""}, True),
        ({"/proc/1/environ": "HOME=/\0"}, False),
        ({}, False),
    ],
)
def test_a_container_has_no_kernel_of_its_own(make_host: MakeHost, files: dict[str, str], shares: bool) -> None:
    (result,) = evaluate(make_host({**KEY, **files}), [control(needs=["own_kernel"])])
    assert result["verdict"] == ("not_applicable" if shares else "pass")
    assert ("shares the kernel" in result["reason"]) is shares


def test_what_the_policy_calls_not_applicable_is_not_looked_at(make_host: MakeHost) -> None:
    host = make_host({})
    check = {"reader": "kernel_module_denied", "parameters": {"names": ["cramfs"]}}
    (result,) = evaluate(host, [{"id": "OS-21", "readers": [check], "not_applicable": "relaxed"}])
    assert (result["verdict"], result["reason"], host.started) == ("not_applicable", "relaxed", [])


def test_all_readers_of_a_control_must_pass(make_host: MakeHost) -> None:
    readers = [*control()["readers"], *control(value=1)["readers"]]
    (result,) = evaluate(make_host(KEY), [control() | {"readers": readers}])
    assert (result["verdict"], result["expected"]) == ("fail", "kernel.sysrq 1")


def test_what_cannot_be_seen_is_unknown_with_the_reason(make_host: MakeHost) -> None:
    check = {"reader": "audit_status", "parameters": {"values": {"lost": 0}}}
    results = evaluate(make_host(KEY), [{"id": "OS-70", "readers": [check]}, control()])
    assert [result["verdict"] for result in results] == ["unknown", "pass"]
    assert results[0]["reason"] == "there is no program auditctl on this host"


def test_a_reader_that_stumbles_hides_none_of_the_others(make_host: MakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(_host: Host, _parameters: Parameters) -> NoReturn:
        raise IndexError("list index out of range")

    monkeypatch.setitem(READERS, "selinux", Reader(stumble))
    monkeypatch.setattr(module, "prepared", lambda check, path="": (check["reader"], check.get("parameters"), []))
    results = evaluate(make_host(KEY), [{"id": "A", "readers": [{"reader": "selinux"}]}, control()])
    assert [result["verdict"] for result in results] == ["unknown", "pass"]
    assert "the reader selinux failed" in results[0]["reason"]


def test_wrong_checks_are_refused_together_before_anything_is_read(make_host: MakeHost) -> None:
    host = make_host({})
    broken = {"id": "OS-99", "readers": [{"reader": "sysctl"}, {"reader": "nosuch"}]}
    with pytest.raises(Refused) as refused:
        evaluate(host, [control(), broken, {"id": "OS-98", "readers": []}])
    assert "controls[1] (OS-99).readers[0].parameters.keys: is required" in str(refused.value)
    assert "controls[1] (OS-99).readers[1].reader: there is no reader 'nosuch'" in str(refused.value)
    assert "controls[2] (OS-98).readers: at least one is needed" in str(refused.value)


def test_programs_are_started_once_for_all_controls(make_host: MakeHost) -> None:
    programs = {
        "systemctl list-units": "ssh.service loaded active running S\n",
        "systemctl show": "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n",
        "dpkg-query": "a\tinstalled\t1\n",
    }
    host = make_host({"/var/lib/dpkg/status": ""}, programs)
    checks = [
        {"reader": "unit", "parameters": {"units": [{"name": "ssh", "active": True}]}},
        {"reader": "unit", "parameters": {"units": [{"name": "cups.service", "absent": True}]}},
        {"reader": "package_present", "parameters": {"names": ["a"]}},
        {"reader": "package_absent", "parameters": {"names": ["b"]}},
    ]
    results = evaluate(host, [{"id": f"X-{number}", "readers": [check]} for number, check in enumerate(checks)])
    assert {result["verdict"] for result in results} == {"pass"}
    assert len(host.started) == 3


def test_a_pending_observation_stays_pending(make_host: MakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Observation(Verdict.PENDING, "a", "b", "at the next boot")
    monkeypatch.setitem(READERS, "selinux", Reader(lambda _host, _parameters: seen))
    (result,) = evaluate(
        make_host({}), [{"id": "A", "readers": [{"reader": "selinux"}], "needs": ["reboot"], "reported": True}]
    )
    assert (result["verdict"], result["reason"], result["reported"]) == ("pending", "at the next boot", True)
