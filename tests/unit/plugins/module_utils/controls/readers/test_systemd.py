# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units and limits."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.host import Answer
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import Unreadable

from ..conftest import MakeHost


def block(load: str, active: str, state: str, **more: str) -> str:
    lines = {"LoadState": load, "ActiveState": active, "UnitFileState": state, **more}
    return "".join(f"{name}={value}\n" for name, value in lines.items())


LOADED = {"systemctl list-units": "x.service loaded active running X\nrsyslog.service loaded active running R\n"}
GONE = block("not-found", "inactive", "")
RUNS = block("loaded", "active", "enabled")
STATIC = block("loaded", "active", "static")
OFF = block("loaded", "inactive", "disabled")
MASKED = block("masked", "inactive", "masked")
MASKED_RUNS = block("masked", "active", "masked")


@pytest.mark.parametrize(
    ("shown", "wanted", "verdict"),
    [
        (RUNS, {"active": True, "enabled": True}, "pass"),
        (STATIC, {"active": True, "enabled": True}, "pass"),
        (OFF, {"active": True}, "fail"),
        (OFF, {"enabled": True}, "fail"),
        (OFF, {"active": False, "enabled": False}, "pass"),
        (RUNS, {"enabled": False}, "fail"),
        (STATIC, {"enabled": False}, "pass"),
        (GONE, {"active": True}, "fail"),
        (GONE, {"active": False, "enabled": False}, "pass"),
        (GONE, {"active": True, "only_if_exists": True}, "not_applicable"),
        (GONE, {"absent": True}, "pass"),
        (GONE, {"masked": True}, "pass"),
        (OFF, {"absent": True}, "fail"),
        (MASKED, {"absent": True}, "pass"),
        (MASKED, {"masked": True}, "pass"),
        (MASKED_RUNS, {"absent": True}, "fail"),
        (OFF, {"masked": True}, "fail"),
        (MASKED, {"masked": False}, "fail"),
        (block("loaded", "failed", "enabled"), {"active": True}, "fail"),
        (block("loaded", "activating", "enabled"), {"active": False}, "fail"),
    ],
)
def test_a_unit_is_as_it_must_be(make_host: MakeHost, shown: str, wanted: dict[str, bool], verdict: str) -> None:
    host = make_host({}, {**LOADED, "systemctl show": shown})
    seen = host.observe("unit", units=[{"name": "x", **wanted}])
    assert seen.verdict == verdict
    assert host.started[1:] == ["systemctl show --property=LoadState,ActiveState,UnitFileState -- x.service"]


@pytest.mark.parametrize(
    ("active", "result", "checked", "verdict"),
    [
        ("inactive", "no", "1234", "not_applicable"),
        ("inactive", "no", "0", "fail"),
        ("inactive", "yes", "1234", "fail"),
        ("active", "no", "1234", "pass"),
    ],
)
def test_a_unit_for_hardware_that_is_not_there(
    make_host: MakeHost, active: str, result: str, checked: str, verdict: str
) -> None:
    shown = block("loaded", active, "enabled", ConditionResult=result, ConditionTimestampMonotonic=checked)
    host = make_host({}, {**LOADED, "systemctl show": shown})
    wanted = {"name": "x", "active": True, "enabled": True, "only_if_conditions_met": True}
    assert host.observe("unit", units=[wanted]).verdict == verdict


@pytest.mark.parametrize(
    ("name", "files", "loaded", "asked"),
    [
        ("x.service", {"/usr/lib/systemd/system/x.service": ""}, "", True),
        ("x@1.service", {"/etc/systemd/system/x@.service": ""}, "", True),
        ("x.socket", {"/run/systemd/generator/x.socket": ""}, "", True),
        ("x.service", {}, "x.service loaded active running X\n", True),
        ("x.service", {"/etc/systemd/system/xy.service": ""}, "y.service loaded active running Y\n", False),
    ],
)
def test_only_units_that_exist_are_asked_for(
    make_host: MakeHost, name: str, files: dict[str, str], loaded: str, asked: bool
) -> None:
    host = make_host(files, {"systemctl list-units": loaded, "systemctl show": RUNS})
    seen = host.observe("unit", units=[{"name": name, "active": True}])
    assert seen.observed == (f"{name} active, enabled" if asked else f"{name} not there")
    assert len(host.started) == (2 if asked else 1)


def test_a_host_without_systemd_says_so(make_host: MakeHost) -> None:
    failed = Answer(1, "", "System has not been booted with systemd as init system\n")
    with pytest.raises(Unreadable, match="has not been booted with systemd"):
        make_host({}, {"systemctl": failed}).observe("unit", units=[{"name": "x", "active": True}])


@pytest.mark.parametrize(
    ("shown", "only_if_active", "verdict"),
    [
        (block("loaded", "active", "enabled", ProtectSystem="strict"), False, "pass"),
        (block("loaded", "active", "enabled", ProtectSystem="no"), False, "fail"),
        (block("loaded", "inactive", "disabled", ProtectSystem="no"), True, "not_applicable"),
        (GONE, False, "not_applicable"),
    ],
)
def test_properties_of_a_unit(make_host: MakeHost, shown: str, only_if_active: bool, verdict: str) -> None:
    host = make_host({}, {**LOADED, "systemctl show": shown})
    units = {"rsyslog.service": {"ProtectSystem": "strict"}}
    assert host.observe("systemd_show", units=units, only_if_active=only_if_active).verdict == verdict


@pytest.mark.parametrize(("value", "verdict"), [("0", "pass"), ("infinity", "fail")])
def test_properties_of_systemd_itself(make_host: MakeHost, value: str, verdict: str) -> None:
    host = make_host({}, {"systemctl show --property=DefaultLimitCORE": f"DefaultLimitCORE={value}\n"})
    assert host.observe("systemd_show", manager={"DefaultLimitCORE": 0}).verdict == verdict


LIMITS = "Limit                     Soft Limit           Hard Limit           Units     \n"


def limits(soft: str, hard: str) -> str:
    return f"{LIMITS}Max core file size        {soft:20} {hard:20} bytes     \n"


def service(process: int, name: str, soft: str, hard: str) -> dict[str, str]:
    return {
        f"/proc/{process}/limits": limits(soft, hard),
        f"/proc/{process}/cgroup": f"1:name=systemd:/\n0::/system.slice/{name}\n",
    }


def manager(hard: str) -> dict[str, str]:
    return {"systemctl show": f"DefaultLimitCORE={hard}\nDefaultLimitCORESoft=0\n"}


@pytest.mark.parametrize(
    ("files", "default", "parameters", "verdict", "observed"),
    [
        ({"/proc/self/limits": limits("0", "0")}, "0", {"of": ["login"]}, "pass", ""),
        ({"/proc/self/limits": limits("0", "unlimited")}, "0", {"of": ["login"]}, "fail", "login hard unlimited"),
        (service(9, "cron.service", "0", "0"), "0", {"of": ["services"]}, "pass", ""),
        (service(9, "cron.service", "0", "unlimited"), "0", {"of": ["services"]}, "pending", "cron.service hard"),
        (service(9, "cron.service", "0", "unlimited"), "infinity", {"of": ["services"]}, "fail", "cron.service hard"),
        (
            service(9, "postgresql@15-main.service", "0", "unlimited"),
            "0",
            {"of": ["services"], "except": ["postgresql@15-main.service"]},
            "not_applicable",
            "",
        ),
        (service(9, "docker-0a1b.scope", "0", "unlimited"), "0", {"of": ["services"]}, "not_applicable", ""),
        (
            service(9, "system-getty.slice/getty@tty1.service", "0", "9"),
            "infinity",
            {"of": ["services"]},
            "fail",
            "getty",
        ),
    ],
)
def test_limits_of_what_runs(
    make_host: MakeHost,
    files: dict[str, str],
    default: str,
    parameters: dict[str, list[str]],
    verdict: str,
    observed: str,
) -> None:
    seen = make_host(files, manager(default)).observe("process_limit", limit="core", hard=0, **parameters)
    assert seen.verdict == verdict
    assert observed in seen.observed
