# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transaction engine on real hosts with a real systemd: timer, boot guard, commit, rehearsal.

Makes its own disposable hosts (root on Linux). The tests that have to wait for a window wait for it together.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
HOSTS = [sys.executable, str(REPOSITORY / "molecule/shared/hosts.py")]
PACKAGE = REPOSITORY / "plugins/module_utils"
RELEASES = ("debian12", "debian13")
ROLES = ("main", "killed", "hung")
# The shortest window, the grace for a hung module, and a slow machine.
PATIENCE_SECONDS = 120

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root")


class Host:
    def __init__(self, name: str, ssh_config: str) -> None:
        self.name = name
        self._ssh = ["ssh", "-F", ssh_config, "-o", "ControlMaster=no", "-o", "ControlPath=none", f"root@{name}"]

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._ssh, *command], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, **options
        )

    def drive(self, operation: str, *arguments: str) -> dict[str, Any]:
        quoted = ["'" + argument.replace("'", "'\\''") + "'" for argument in arguments]
        done = self.run("python3", "/root/bulwark-test/transaction_driver.py", operation, *quoted)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def start(self, operation: str) -> subprocess.Popen[bytes]:
        command = [*self._ssh, "python3", "/root/bulwark-test/transaction_driver.py", operation]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def login(self) -> dict[str, Any]:
        words = self.run("echo $SSH_CONNECTION").stdout.split()
        return {
            "client_address": words[0], "client_port": int(words[1]),
            "server_address": words[2], "server_port": int(words[3]),
        }  # fmt: skip

    def install(self) -> None:
        pack = subprocess.run(
            ["tar", "-C", str(PACKAGE), "--exclude=__pycache__", "-cf", "-", "transaction",
             "-C", str(Path(__file__).parent), "transaction_driver.py"],
            capture_output=True, check=True,
        )  # fmt: skip
        unpack = "mkdir -p /root/bulwark-test && tar -C /root/bulwark-test -xf -"
        subprocess.run([*self._ssh, unpack], input=pack.stdout, check=True, timeout=PATIENCE_SECONDS)

    def wait_for_phase(self, *phases: str) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE_SECONDS
        status: dict[str, Any] = {}
        while time.monotonic() < until:
            status = self.drive("status")
            if status.get("phase") in phases:
                return status
            time.sleep(1)
        raise AssertionError(f"{self.name} is still {status}")


class Fleet:
    def __init__(self, group: str) -> None:
        self.group = group
        self.hosts: dict[str, Host] = {}
        self.prepared: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, subprocess.Popen[bytes]] = {}

    def up(self) -> None:
        names = [f"{role}-{release}={release}" for role in ROLES for release in RELEASES]
        subprocess.run([*HOSTS, "up", "--group", self.group, *names], check=True, timeout=600)
        config = subprocess.run(
            [*HOSTS, "ssh-config", "--group", self.group], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in (name.partition("=")[0] for name in names):
            host = self.hosts[name] = Host(name, config)
            host.install()
            self.prepared[name] = host.drive("prepare")
        # Their windows pass while the other tests run.
        for name, host in self.hosts.items():
            if not name.startswith("main"):
                self.runs[name] = host.start(name.partition("-")[0])

    def down(self) -> None:
        for run in self.runs.values():
            run.kill()
            run.wait()
        subprocess.run([*HOSTS, "down", "--group", self.group], check=True, timeout=300)

    def reboot(self, name: str, *options: str) -> None:
        subprocess.run([*HOSTS, "reboot", *options, f"{self.group}/{name}"], check=True, timeout=300)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    made = Fleet(f"e-{os.getpid()}")
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def back_to_old(fleet: Fleet, name: str, mark: str) -> None:
    seen = fleet.hosts[name].drive("look")
    assert seen["tree"] == fleet.prepared[name]["tree"]
    assert seen[mark] is True
    assert seen["pending"] is False
    assert seen["units"] == []


def test_a_rehearsal_tells_open_from_closed_and_leaves_the_host_alone(fleet: Fleet, release: str) -> None:
    host = fleet.hosts[f"main-{release}"]
    words = host.run("ip -o address show dev host0 scope global").stdout.split()
    addresses = [word.partition("/")[0] for word in words if "/" in word and word[0].isalnum() and "." in word]
    addresses_6 = [word.partition("/")[0] for word in words if "/" in word and ":" in word]
    answer = host.drive("rehearsal", addresses[0], addresses_6[0])
    assert answer["supported"], answer["reason"]
    wrong = [v for v in answer["verdicts"] + answer["verdicts_after_rollback"] if not v["passed"]]
    assert wrong == []
    assert (len(answer["verdicts"]), len(answer["verdicts_after_rollback"])) == (7, 2)
    assert answer["touched"] == []
    assert answer["daemons"] == []
    assert sorted(answer["staged"]) == ["rules.nft", "written"]


def test_new_logins_confirm_and_old_ones_do_not(fleet: Fleet, release: str) -> None:
    name = f"main-{release}"
    host = fleet.hosts[name]
    applied = host.drive("apply")
    assert applied["phase"] == "APPLIED"
    one = host.login()
    refused = host.drive("commit", applied["id"], applied["nonce"], json.dumps([one] * 3))
    assert "1 new logins were seen and 3 are needed" in refused["error"]
    proof = json.dumps([one, host.login(), host.login()])
    refused = host.drive("commit", applied["id"], "wrong", proof)
    assert "the nonce does not belong" in refused["error"]
    assert host.drive("status")["phase"] == "APPLIED"
    assert host.drive("commit", applied["id"], applied["nonce"], proof)["phase"] == "COMMITTED"
    seen = host.drive("look")
    assert (seen["pending"], seen["units"], seen["live"], seen["boot"]) == (False, [], False, False)
    assert seen["tree"] != fleet.prepared[name]["tree"]
    host.run("rm -rf /etc/bulwark-test && printf '' > /etc/motd")
    fleet.prepared[name] = host.drive("prepare")


def test_a_rollback_that_is_asked_for_comes_at_once(fleet: Fleet, release: str) -> None:
    name = f"main-{release}"
    applied = fleet.hosts[name].drive("apply")
    answer = fleet.hosts[name].drive("rollback", applied["id"])
    assert (answer["phase"], answer["reason"]) == ("ROLLED_BACK", "the test asked for it")
    back_to_old(fleet, name, "live")


@pytest.mark.parametrize("options", [(), ("--hard",)], ids=["restart", "reset button"])
def test_a_restart_within_the_window_brings_the_old_state_before_the_network(
    fleet: Fleet, release: str, options: tuple[str, ...]
) -> None:
    name = f"main-{release}"
    host = fleet.hosts[name]
    host.run("rm -f /run/bulwark-test-*")
    applied = host.drive("apply")
    fleet.reboot(name, *options)
    status = host.drive("status", applied["id"])
    assert status["phase"] == "ROLLED_BACK"
    assert status["reason"] == "the host was restarted before the change was confirmed"
    back_to_old(fleet, name, "boot")
    assert host.drive("look")["live"] is False
    times = host.run(
        "systemctl show -p ExecMainExitTimestampMonotonic --value bulwark-transaction-guard.service;"
        "systemctl show -p ActiveEnterTimestampMonotonic --value network-pre.target sysinit.target | grep ."
    ).stdout.split()
    guard, *later = (int(word) for word in times)
    assert 0 < guard <= min(later)


def test_a_restart_without_anything_pending_does_not_start_the_guard(fleet: Fleet, release: str) -> None:
    name = f"main-{release}"
    fleet.reboot(name)
    shown = (
        fleet.hosts[name]
        .run("systemctl show -p ConditionResult -p ExecMainStartTimestampMonotonic bulwark-transaction-guard.service")
        .stdout.split()
    )
    assert sorted(shown) == ["ConditionResult=no", "ExecMainStartTimestampMonotonic=0"]


def test_after_a_kill_the_timer_brings_the_old_state(fleet: Fleet, release: str) -> None:
    name = f"killed-{release}"
    status = fleet.hosts[name].wait_for_phase("ROLLED_BACK", "ROLLBACK_FAILED")
    assert [moment["phase"] for moment in status["history"]] == ["ARMED", "APPLYING", "ROLLING_BACK", "ROLLED_BACK"]
    assert status["reason"] == "the window passed without a confirmation"
    back_to_old(fleet, name, "live")


def test_a_module_that_hangs_is_ended_and_the_timer_brings_the_old_state(fleet: Fleet, release: str) -> None:
    name = f"hung-{release}"
    host = fleet.hosts[name]
    status = host.wait_for_phase("ROLLED_BACK", "ROLLBACK_FAILED")
    assert status["phase"] == "ROLLED_BACK"
    back_to_old(fleet, name, "live")
    assert host.run("pgrep -f '[t]ransaction_driver.py hung'").stdout == ""
    fleet.runs[name].wait(PATIENCE_SECONDS)
