# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units of a host: systemd accepts them, and they may do little more than they must."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import timers

PROGRAM, STORE, METRICS = "/usr/local/lib/bulwark/certificates.pyz", "/etc/bulwark/tls", "/srv/metrics"
# What `systemd-analyze security` calls at least "OK" ends at 4.4; lower is better.
EXPOSURES = {
    "bulwark-certificates-report.service": 2.5,
    "bulwark-certificates-renew.service": 3.5,
    "bulwark-certificates-alarm@.service": 2.0,
}


def units(metrics: str = METRICS, alarm_units: tuple[str, ...] = ("mail@%n.service",)) -> dict[str, str]:
    return timers.render(sys.executable, PROGRAM, STORE, metrics, alarm_units)


def lines(unit: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{key}=")]


def test_each_timer_has_a_service_that_runs_the_program_and_raises_the_alarm() -> None:
    found = units()
    assert len(found) == 5
    for command in ("report", "renew"):
        service, timer = (found[f"bulwark-certificates-{command}.{kind}"] for kind in ("service", "timer"))
        assert lines(service, "ExecStart") == [f"{sys.executable} -I {PROGRAM} {command}"]
        assert lines(service, "OnFailure") == [f"bulwark-certificates-alarm@{command}.service mail@%n.service"]
        # What it said the last time must not be taken for what is wrong now.
        assert lines(service, "ExecStartPre") == [f"-/bin/rm -f /run/bulwark-certificates/{command}"]
        assert lines(timer, "Persistent") == ["yes"]
        assert lines(timer, "RandomizedDelaySec") == ["1h"]


def test_a_report_writes_metrics_only() -> None:
    report = "bulwark-certificates-report.service"
    assert lines(units()[report], "ReadWritePaths") == [f"-{STORE} -{METRICS}"]
    assert lines(units(metrics="")[report], "ReadWritePaths") == [f"-{STORE}"]
    assert lines(units()[report], "ProtectSystem") == ["strict"]


def test_the_alarm_needs_nothing_that_may_be_broken() -> None:
    assert "python" not in units()[timers.ALARM]
    assert PROGRAM not in units()[timers.ALARM]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed here")
def test_systemd_accepts_the_units_and_calls_them_protected(tmp_path: Path) -> None:
    plain = units(alarm_units=())
    for name, content in plain.items():
        # Where the program is not installed, systemd would have nothing to run.
        (tmp_path / name).write_text(content)
    for name in (*EXPOSURES, *timers.TIMERS):
        path = tmp_path / name.replace("@.", "@report.")
        done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
        assert "bulwark" not in done.stderr, done.stderr
    for name, most in EXPOSURES.items():
        words = ["systemd-analyze", "security", "--offline=true", str(tmp_path / name)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if "offline" in done.stderr:
            pytest.skip("this systemd looks at running units only")
        match = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
        assert match, done.stdout + done.stderr
        assert float(match[1]) <= most, name
