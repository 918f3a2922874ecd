# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The readers on real hosts: each control fails alone when exactly that is broken, nothing is written, PAM is walked
as libpam walks it.

Makes its own disposable hosts (root on Linux).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.host import Host as Observed
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.readers import pam
from tests.integration_hosts import controls_program

REPOSITORY = Path(__file__).resolve().parents[2]
HOSTS = [sys.executable, str(REPOSITORY / "molecule/shared/hosts.py")]
RELEASES = ("debian12", "debian13")
PATIENCE_SECONDS = 180
STACKS = 300

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root")


@dataclass(frozen=True)
class Case:
    """A control, what makes it pass on a stock host, and what breaks it and nothing else."""

    name: str
    reader: str
    parameters: dict[str, Any]
    make: str
    spoil: str

    def control(self) -> dict[str, Any]:
        check = {"reader": self.reader, "parameters": self.parameters}
        return {"id": self.name, "title": self.name, "readers": [check]}


FAILLOCK = {"module": "pam_faillock", "arguments": {"preauth": True}, "before": ["pam_unix"]}
TABLE = (
    Case(
        "redirects of an interface that exists",
        "sysctl",
        {"keys": {"net.ipv4.conf.*.send_redirects": 0}},
        "for each in /proc/sys/net/ipv4/conf/*/send_redirects; do echo 0 > $each; done",
        "echo 1 > /proc/sys/net/ipv4/conf/host0/send_redirects",
    ),
    Case(
        "a unit",
        "unit",
        {"units": [{"name": "debug-shell.service", "masked": True}, {"name": "cups.service", "absent": True}]},
        "systemctl --quiet mask debug-shell.service",
        "systemctl --quiet unmask debug-shell.service",
    ),
    Case(
        "a service without its sandbox",
        "systemd_show",
        {"units": {"ssh.service": {"OOMScoreAdjust": -900}}},
        "mkdir -p /etc/systemd/system/ssh.service.d;"
        " printf '[Service]\nOOMScoreAdjust=-900\n' > /etc/systemd/system/ssh.service.d/x.conf;"
        " systemctl daemon-reload",
        "rm /etc/systemd/system/ssh.service.d/x.conf; systemctl daemon-reload",
    ),
    Case(
        "a package",
        "package_absent",
        {"names": ["bulwark-*"]},
        "dpkg --purge bulwark-empty >/dev/null 2>&1",
        "mkdir -p /root/e/DEBIAN;"
        " printf '%s: %s\n' Package bulwark-empty Version 1 Architecture all Maintainer x Description x"
        " > /root/e/DEBIAN/control; dpkg-deb --build /root/e >/dev/null; dpkg --install /root/e.deb >/dev/null",
    ),
    Case(
        "a mode",
        "file_mode",
        {"entries": [{"path": "/etc/shadow", "owner": "root", "group": ["root", "shadow"], "mode": "0640"}]},
        "chmod 0640 /etc/shadow; chown root:shadow /etc/shadow",
        "chmod 0644 /etc/shadow",
    ),
    Case(
        "a setting",
        "file_setting",
        {"path": "/etc/systemd/journald.conf", "format": "systemd", "values": {"Storage": "persistent"}},
        "sed -i 's/^#*Storage=.*/Storage=persistent/' /etc/systemd/journald.conf; rm -rf /run/systemd/journald.conf.d",
        "mkdir -p /run/systemd/journald.conf.d;"
        " printf '[Journal]\nStorage=volatile\n' > /run/systemd/journald.conf.d/x.conf",
    ),
    Case(
        "a mount",
        "mount",
        {"path": "/tmp", "type": ["tmpfs"], "options": ["nodev", "nosuid", "noexec"]},
        "mount -o remount,nodev,nosuid,noexec /tmp",
        "mount -o remount,nodev,nosuid,exec /tmp",
    ),
    Case(
        "a PAM stack",
        "pam_stack",
        {"services": ["sshd", "su", "sudo"], "stack": "auth", "modules": [FAILLOCK]},
        "sed -i -e /faillock/d -e '0,/^auth/s//auth required pam_faillock.so preauth\\nauth/' /etc/pam.d/common-auth",
        "sed -i /faillock/d /etc/pam.d/common-auth;"
        " echo 'auth required pam_faillock.so preauth' >> /etc/pam.d/common-auth",
    ),
    Case(
        "a default of sudo",
        "sudo_defaults",
        {"values": {"timestamp_timeout": {"at_most": 5}, "use_pty": True}},
        "echo 'Defaults timestamp_timeout=5, use_pty' > /etc/sudoers.d/x; chmod 0440 /etc/sudoers.d/x",
        "echo 'Defaults:admin timestamp_timeout=60' >> /etc/sudoers.d/x",
    ),
    Case(
        "a rule of sudo",
        "sudo_rules",
        {"forbid": ["nopasswd"], "except": ["admin"]},
        "rm -f /etc/sudoers.d/y",
        "echo '%games ALL = NOPASSWD: /bin/true' > /etc/sudoers.d/y; chmod 0440 /etc/sudoers.d/y",
    ),
    Case(
        "ages of passwords",
        "account_aging",
        {"maximum_days": {"at_most": 365}},
        "sed -i 's/^PASS_MAX_DAYS.*/PASS_MAX_DAYS 365/' /etc/login.defs",
        "sed -i 's/^PASS_MAX_DAYS.*/PASS_MAX_DAYS 99999/' /etc/login.defs",
    ),
    Case(
        "an account of the system",
        "system_accounts",
        {},
        "usermod --shell /usr/sbin/nologin games",
        "usermod --shell /bin/sh games",
    ),
    Case(
        "an account without a password",
        "account_database",
        {"checks": ["passwords", "uid_zero"]},
        "sed -i 's/^admin:[^:]*:/admin:!:/' /etc/shadow",
        "sed -i 's/^admin:[^:]*:/admin::/' /etc/shadow",
    ),
    Case(
        "a home",
        "home_directories",
        {"mode": "0750", "skeleton": False},
        "chmod 0750 /home/admin",
        "chmod 0755 /home/admin",
    ),
    Case(
        "members of a group",
        "group_members",
        {"group": "dialout"},
        "gpasswd -d games dialout >/dev/null 2>&1 || true",
        "gpasswd -a games dialout >/dev/null",
    ),
    Case(
        "the umask of a shell",
        "shell_umask",
        {"umask": "027", "of": ["login_shell"]},
        "echo 'umask 027' > /etc/profile.d/y.sh",
        "rm /etc/profile.d/y.sh",
    ),
    Case(
        "a timeout that can be undone",
        "shell_variable",
        {"values": {"TMOUT": 900}, "read_only": ["TMOUT"]},
        "echo '[ -z \"$BASH_VERSION\" ] || declare -xr TMOUT=900' > /etc/profile.d/x.sh",
        "echo 'export TMOUT=900' > /etc/profile.d/x.sh",
    ),
    Case(
        "a banner",
        "banner",
        {"files": ["/etc/issue"]},
        "echo 'Authorised access only.' > /etc/issue",
        "echo 'Debian GNU/Linux' >> /etc/issue",
    ),
    Case(
        "a file that everybody writes",
        "walk",
        {"forbid": ["world_writable", "not_sticky", "orphan"]},
        "rm -f /srv/x",
        "touch /srv/x; chmod 0666 /srv/x",
    ),
    Case(
        "a listener",
        "listeners",
        {"allowed": [{"port": 22, "process": "sshd"}]},
        "systemctl --quiet stop b4-listener.service 2>/dev/null || true",
        "systemd-run --quiet --unit b4-listener nc -l -k -p 4242; sleep 1",
    ),
    Case(
        "a source without a key",
        "apt_policy",
        {"signed_by": True, "settings": {"APT::Get::AllowUnauthenticated": {"not": True}}},
        "rm -f /etc/apt/sources.list.d/x.list",
        "echo 'deb [trusted=yes] http://192.0.2.1 x main' > /etc/apt/sources.list.d/x.list",
    ),
)


class Host:
    """A disposable host by SSH."""

    def __init__(self, name: str, ssh_config: str) -> None:
        self.name = name
        self._ssh = ["ssh", "-F", ssh_config, "-o", "ControlMaster=no", "-o", "ControlPath=none", f"root@{name}"]

    def run(self, command: str, text: str = "") -> str:
        done = subprocess.run(
            [*self._ssh, command], input=text, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def drive(self, operation: str, data: Any) -> Any:
        return json.loads(self.run(f"{controls_program.DRIVER} {operation}", json.dumps(data)))

    def install(self) -> None:
        program = controls_program.packed()
        subprocess.run([*self._ssh, controls_program.UNPACK], input=program, check=True, timeout=PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, Host]]:
    group = "it-controls"
    subprocess.run([*HOSTS, "up", "--group", group, *(f"{release}={release}" for release in RELEASES)], check=True)
    try:
        config = subprocess.run(
            [*HOSTS, "ssh-config", "--group", group], capture_output=True, text=True, check=True
        ).stdout.strip()
        made = {release: Host(release, config) for release in RELEASES}
        for host in made.values():
            host.install()
        yield made
    finally:
        subprocess.run([*HOSTS, "down", "--group", group], check=True)


@pytest.fixture(params=RELEASES)
def host(request: pytest.FixtureRequest, hosts: dict[str, Host]) -> Host:
    return hosts[request.param]


def verdicts(host: Host, cases: tuple[Case, ...] = TABLE) -> dict[str, str]:
    answer = host.drive("evaluate", [case.control() for case in cases])
    return {
        result["id"]: f"{result['verdict']} {result['observed']} {result['reason']}" for result in answer["controls"]
    }


def failing(found: dict[str, str]) -> dict[str, str]:
    return {name: said for name, said in found.items() if not said.startswith("pass")}


def test_a_control_fails_alone_when_exactly_that_is_broken(host: Host) -> None:
    for case in TABLE:
        host.run(case.make)
    assert failing(verdicts(host)) == {}
    for case in TABLE:
        host.run(case.spoil)
        assert set(failing(verdicts(host))) == {case.name}
        host.run(case.make)
    assert failing(verdicts(host)) == {}


def test_observing_writes_nothing(host: Host) -> None:
    listing = (
        "find / -xdev -not -path '/proc/*' -not -path '/var/log/*' -newer /root/mark -type f | grep -v __pycache__"
    )
    host.run("touch /root/mark; sleep 1; touch /etc/written")
    verdicts(host)
    assert host.run(f"{listing} || true").split() == ["/etc/written"]
    host.run("rm /etc/written")


class Stacks:
    """Random stacks of modules that note that they were called, with includes, substacks, jumps and every action."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.files: dict[str, str] = {}
        self.number = 0
        self.services = [self._file(0) for _each in range(STACKS)]

    def _file(self, depth: int) -> str:
        self.number += 1
        name = f"bulwark-test-{self.number}"
        self.files[name] = "".join(f"{self._line(depth)}\n" for _each in range(self.random.randint(1, 5)))
        return name

    def _line(self, depth: int) -> str:
        if depth < 2 and self.random.random() < 0.3:
            return f"{self.random.choice(('@include', 'auth include', 'auth substack'))} {self._file(depth + 1)}"
        self.number += 1
        result = self.random.choice(("success", "success", "failure"))
        return f"auth {self._control()} pam_exec.so quiet WITNESS {self.number} {result}"

    def _control(self) -> str:
        if self.random.random() < 0.6:
            return self.random.choice(("required", "requisite", "sufficient", "optional"))
        actions = ("ok", "done", "bad", "die", "ignore", "reset", "1", "2", "3")
        return f"[success={self.random.choice(actions)} default={self.random.choice(actions)}]"

    def expected(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
        """Return what the reader thinks: which modules are called, and whether the user is let in."""
        monkeypatch.setattr(
            pam, "results", lambda entry, _scenario: ("success" if entry.arguments[-1] == "success" else "system_err",)
        )
        (folder / "etc/pam.d").mkdir(parents=True)
        for name, text in self.files.items():
            (folder / "etc/pam.d" / name).write_text(text)
        observed = Observed(str(folder))
        found = []
        for service in self.services:
            entries = pam.stack(observed, service, "auth")
            ways = pam.ways(entries, pam.Scenario())
            called = sorted(int(entries[at].arguments[2]) for at in ways.every if entries[at].module)
            found.append([called, ways.may_succeed])
        return found


@pytest.mark.parametrize("seed", [1, 2])
def test_stacks_are_walked_as_libpam_walks_them(
    host: Host, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks = Stacks(seed)
    expected = stacks.expected(tmp_path, monkeypatch)
    assert {succeeds for _called, succeeds in expected} == {True, False}
    assert host.drive("walk", {"files": stacks.files, "services": stacks.services}) == expected
