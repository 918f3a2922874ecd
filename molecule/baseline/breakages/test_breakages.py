# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On a hardened host each control fails when exactly that is broken, and no other does."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration_hosts import controls_program

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parents[1]
TARGETS = ["plain12", "stack13"]
EMPTY_PACKAGE = (
    "mkdir -p /root/e/DEBIAN; chmod 0755 /root/e/DEBIAN;"
    " printf '%s: %s\\n' Package talk Version 1 Architecture all Maintainer x Description x"
    " > /root/e/DEBIAN/control; dpkg-deb --build /root/e > /dev/null; dpkg --install /root/e.deb > /dev/null"
)
JOURNAL = "/run/systemd/journald.conf.d/x.conf"
SANDBOX = "/run/systemd/system/rsyslog.service.d/zz.conf"
# Control, what breaks it, what mends it.
TABLE = (
    (
        "OS-14",
        "sysctl -qw net.ipv4.conf.host0.send_redirects=1",
        "sysctl -qw net.ipv4.conf.host0.send_redirects=0",
    ),
    (
        "OS-16",
        "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.host0.rp_filter=0",
        "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.host0.rp_filter=1",
    ),
    (
        "OS-07.keys",
        "systemctl -q unmask ctrl-alt-del.target",
        "systemctl -q mask ctrl-alt-del.target",
    ),
    (
        "OS-64",
        f"mkdir -p $(dirname {SANDBOX}); printf '[Service]\\nProtectSystem=no\\n' > {SANDBOX}; systemctl daemon-reload",
        f"rm {SANDBOX}; systemctl daemon-reload",
    ),
    (
        "BAN-01",
        "fail2ban-client set sshd maxretry 100",
        "fail2ban-client set sshd maxretry 5",
    ),
    (
        "OS-59",
        EMPTY_PACKAGE,
        "dpkg --purge talk > /dev/null",
    ),
    (
        "OS-81",
        "echo Debian >> /etc/issue",
        "sed -i '$d' /etc/issue",
    ),
    (
        "OS-67",
        f"mkdir -p $(dirname {JOURNAL}); printf '[Journal]\\nStorage=volatile\\n' > {JOURNAL}",
        f"rm {JOURNAL}",
    ),
    (
        "OS-82",
        "echo 'APT::Get::AllowUnauthenticated \"1\";' > /etc/apt/apt.conf.d/zz-test",
        "rm /etc/apt/apt.conf.d/zz-test",
    ),
    (
        "OS-83",
        "echo 'APT::Periodic::Unattended-Upgrade \"0\";' > /etc/apt/apt.conf.d/zz-test",
        "rm /etc/apt/apt.conf.d/zz-test",
    ),
    (
        "OS-56",
        "chmod 0644 /etc/cron.allow",
        "chmod 0640 /etc/cron.allow",
    ),
    (
        "OS-69",
        "chmod 0644 /var/log/dpkg.log",
        "chmod 0640 /var/log/dpkg.log",
    ),
    (
        "OS-78",
        "chmod 0644 /etc/shadow",
        "chmod 0640 /etc/shadow",
    ),
    (
        "OS-34",
        "mount -o remount,nodev,nosuid,exec /tmp",
        "mount -o remount,nodev,nosuid,noexec /tmp",
    ),
    (
        "OS-35",
        "mount -o remount,nodev,nosuid,exec /dev/shm",
        "mount -o remount,nodev,nosuid,noexec /dev/shm",
    ),
    (
        "OS-77",
        "systemctl -q disable dailyaidecheck.timer",
        "systemctl -q enable dailyaidecheck.timer",
    ),
    (
        "OS-40",
        "sed -i 's/^deny.*/deny = 40/' /etc/security/faillock.conf",
        "sed -i 's/^deny.*/deny = 4/' /etc/security/faillock.conf",
    ),
    (
        "OS-41",
        "sed -i 's/^minlen.*/minlen = 6/' /etc/security/pwquality.conf",
        "sed -i 's/^minlen.*/minlen = 14/' /etc/security/pwquality.conf",
    ),
    (
        "OS-42",
        "sed -i s/remember=24/remember=2/ /etc/pam.d/common-password",
        "sed -i s/remember=2/remember=24/ /etc/pam.d/common-password",
    ),
    (
        "OS-43",
        "sed -i 's/pam_unix.so/pam_unix.so nullok/' /etc/pam.d/common-auth",
        "sed -i 's/ nullok//' /etc/pam.d/common-auth",
    ),
    (
        "OS-45",
        "sed -i s/umask=027/umask=022/ /etc/pam.d/common-session",
        "sed -i s/umask=022/umask=027/ /etc/pam.d/common-session",
    ),
    (
        "OS-47",
        "gpasswd -a tester sugroup > /dev/null",
        "gpasswd -d tester sugroup > /dev/null",
    ),
    (
        "OS-44",
        "sed -i 's/^PASS_MAX_DAYS.*/PASS_MAX_DAYS 99999/' /etc/login.defs",
        "sed -i 's/^PASS_MAX_DAYS.*/PASS_MAX_DAYS 365/' /etc/login.defs",
    ),
    (
        "OS-48",
        "chmod 0755 /root",
        "chmod 0700 /root",
    ),
    (
        "OS-50",
        "usermod --shell /bin/sh games",
        "usermod --shell /usr/sbin/nologin games",
    ),
    (
        "OS-51",
        "chmod 0755 /home/tester",
        "chmod 0750 /home/tester",
    ),
    (
        "OS-53",
        "echo 'Defaults timestamp_timeout=60' > /etc/sudoers.d/zzz; chmod 0440 /etc/sudoers.d/zzz",
        "rm /etc/sudoers.d/zzz",
    ),
)


# What was seen of every target before and after it was hardened.
STOCK = ROOT / ".cache" / "baseline" / "stock"
HARDENED = ROOT / ".cache" / "baseline" / "hardened"
CATALOGUES = "roles/*/controls/*.yml"
# Kinds that need a kernel of the host's own, and what is only ever told.
NOT_SHOWN = {"module", "command_line", "audit", "observation"}


def broken_on(target: str) -> tuple[tuple[str, str, str], ...]:
    """Return one half of the table for each host: what observes is the same program on both."""
    return TABLE[TARGETS.index(target) :: len(TARGETS)]


def as_root(scenario: Any, target: str, command: str, data: bytes) -> str:
    """Let the administrator run a command of root; returns what it printed."""
    line = ["ssh", "-F", str(scenario.ssh_config), target, f"sudo -n sh -c {shlex.quote(command)}"]
    return subprocess.run(line, input=data, capture_output=True, check=True).stdout.decode()


def verdicts(scenario: Any, target: str) -> dict[str, str]:
    """Observe every control; returns the verdict of each that is not left to a person."""
    rows = json.loads((HARDENED / f"{target}.json").read_text(encoding="utf-8"))["rows"]
    said = as_root(scenario, target, f"{controls_program.DRIVER} evaluate", json.dumps(rows).encode())
    return {control["id"]: control["verdict"] for control in json.loads(said)["controls"] if not control["reported"]}


def worse(scenario: Any, target: str, sound: dict[str, str]) -> dict[str, str]:
    """Return what is not as well as it was. AIDE's first database may come at any moment, which is for the better."""
    return {
        name: verdict for name, verdict in verdicts(scenario, target).items() if verdict not in (sound[name], "pass")
    }


@pytest.mark.parametrize("target", TARGETS)
def test_a_control_fails_alone_when_exactly_that_is_broken(scenario: Any, target: str) -> None:
    host = scenario.host(target)
    as_root(scenario, target, controls_program.UNPACK, controls_program.packed())
    sound = verdicts(scenario, target)
    # The first database of AIDE is made later.
    assert {name for name, verdict in sound.items() if verdict in ("fail", "pending", "unknown")} <= {"OS-77"}
    found = {}
    for control, spoil, mend in broken_on(target):
        host.check_output(spoil)
        found[control] = worse(scenario, target, sound)
        host.check_output(mend)
    # A mount that was changed by hand is pending: it is configured well, and will be right after the next start.
    assert {
        name: changed for name, changed in found.items() if changed not in ({name: "fail"}, {name: "pending"})
    } == {}
    assert worse(scenario, target, sound) == {}


def test_each_kind_has_a_control_that_was_weak_on_the_stock_host_and_is_broken_here() -> None:
    rows = [row for path in ROOT.glob(CATALOGUES) for row in yaml.safe_load(path.read_text(encoding="utf-8"))]
    kinds = {row["id"]: row["kind"] for row in rows}
    shown = set()
    for target in TARGETS:
        stock = json.loads((STOCK / f"{target}.json").read_text(encoding="utf-8"))["controls"]
        weak = {control["id"] for control in stock if control["verdict"] == "fail"}
        shown |= {kinds[control] for control, _spoil, _mend in broken_on(target) if control in weak}
    assert shown == set(kinds.values()) - NOT_SHOWN
