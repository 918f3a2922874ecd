# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hardened host: what ran before still runs, what was weak is not, and nothing undoes it later."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parents[1]
TARGETS = ["plain12", "stack13"]
PASSWORD = "Correct-Horse-7-battery"
FETCH = "python3 -c 'import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())' %s"
QUERY = "PGPASSWORD=application psql --no-psqlrc -h %s -U application postgres -tAc %s"
INTERFACES = "for each in /proc/sys/net/ipv%s/conf/*/%s; do echo $each $(cat $each); done"
READABLE = "find /var/log -type f -perm /0137 ! -path /var/log/apt/eipp.log.xz"


def is_newer(host: Any, path: str, since: int) -> bool:
    return int(host.check_output("stat -c %%Y %s", path)) >= since


def login(scenario: Any, name: str, command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Log in anew as the administrator, without a shared connection, and run a command."""
    options = ["-F", str(scenario.ssh_config), "-o", "ControlPath=none"]
    return subprocess.run(
        ["ssh", *options, name, command], input=text, capture_output=True, text=True, timeout=60, check=False
    )


def change(host: Any, current: str, wished: str) -> str:
    """Let the user changer change the password, as everybody does; returns what was said."""
    done = host.run(f"printf '%s\\n' {current} {wished} {wished} | runuser -u changer -- passwd")
    return str(done.stdout + done.stderr)


def test_what_served_before_serves_other_hosts(scenario: Any) -> None:
    client, address = scenario.host("client"), scenario.address("stack13")
    assert client.check_output(FETCH, f"http://{address}/page.txt").strip() == "page"
    assert client.check_output(FETCH, f"http://{address}:8080/page.txt").strip() == "container"
    before = int(client.check_output(QUERY, address, "SELECT count(*) FROM kept"))
    client.check_output(QUERY, address, "INSERT INTO kept VALUES (1)")
    assert int(client.check_output(QUERY, address, "SELECT count(*) FROM kept")) == before + 1
    # After a restart of one end the other one takes a quarter of a minute to begin the tunnel anew.
    assert scenario.eventually(lambda: client.run("ping -c 1 -W 3 10.99.0.1").rc == 0)
    assert scenario.host("stack13").run("ping -c 2 -W 3 10.99.0.2").rc == 0


def test_jobs_of_root_and_of_a_named_user_run_and_make_closed_files(scenario: Any) -> None:
    host = scenario.host("stack13")
    started = int(host.check_output("date +%s"))
    for user in ("root", "worker"):
        mark = f"/var/tmp/mark-{user}"
        assert scenario.eventually(is_newer, host, mark, started - 60), user
        assert host.check_output("tail -n 1 %s", mark) == "0027"
    refused = host.run("echo '* * * * * true' | runuser -u tester -- crontab -")
    assert "not allowed" in refused.stdout + refused.stderr
    assert host.run("runuser -u tester -- crontab -l").rc != 0


@pytest.mark.parametrize("target", TARGETS)
def test_the_administrator_gets_in_and_up_and_others_do_not(scenario: Any, target: str) -> None:
    assert login(scenario, target, "sudo -n id -un").stdout == "root\n"
    assert login(scenario, target, "umask; sudo -n sh -c umask").stdout == "0027\n0027\n"
    host = scenario.host(target)
    # Jobs and the scripts of packages use su as root does here.
    assert host.check_output("su visitor -c 'id -un'") == "visitor"
    assert "Permission denied" in login(scenario, target, "su visitor -c true", f"{PASSWORD}\n").stderr


@pytest.mark.once
@pytest.mark.parametrize("target", TARGETS)
def test_users_change_their_passwords_to_strong_and_new_ones(scenario: Any, target: str) -> None:
    host = scenario.host(target)
    first, second, third = "Zebra-tunic-9-lamp", "Kettle+moss+4+flint", "Gravel.hinge.6.Otter"
    host.check_output(f"useradd --create-home changer; echo 'changer:{first}' | chpasswd --crypt-method YESCRYPT")
    try:
        assert "wait longer" in change(host, first, second), "a day, so that nobody runs through the history at once"
        host.check_output("chage --mindays 0 changer")
        assert "BAD PASSWORD" in change(host, first, "short")
        assert "BAD PASSWORD" in change(host, first, "onlylowercaseletters")
        assert "updated successfully" in change(host, first, second)
        assert "updated successfully" in change(host, second, third)
        assert "already used" in change(host, third, first)
        asked = host.check_output("python3 /root/pam_attempts.py sudo changer %s %s", first, third).splitlines()
        assert [line.startswith("0 ") for line in asked] == [False, True]
    finally:
        host.check_output("userdel --remove changer 2>&1; sed -i '/^changer:/d' /etc/security/opasswd")


@pytest.mark.once
@pytest.mark.parametrize("target", TARGETS)
def test_wrong_passwords_lock_an_account_until_it_is_opened(scenario: Any, target: str) -> None:
    host = scenario.host(target)
    attempts = "python3 /root/pam_attempts.py sudo tester"
    host.check_output("faillock --user tester --reset")
    assert host.check_output(f"{attempts} a b c {PASSWORD}").splitlines()[-1].startswith("0 ")
    assert "locked" in host.check_output(f"{attempts} a b c d {PASSWORD}").splitlines()[-1]
    host.check_output("faillock --user tester --reset")
    assert host.check_output(f"{attempts} {PASSWORD}").splitlines()[-1].startswith("0 ")


@pytest.mark.parametrize("pipelining", ["true", "false"])
def test_ansible_works_with_and_without_pipelining(scenario: Any, pipelining: str) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible")), "target", "--become", "-m", "ansible.builtin.ping",
         f"--inventory={ROOT / 'molecule/shared/inventory.py'}", f"--inventory={HERE / 'inventory'}",
         "-e", json.dumps({"ansible_pipelining": pipelining == "true"})],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.count("SUCCESS") == len(TARGETS), done.stdout + done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_programs_in_tmp_do_not_run(scenario: Any, target: str) -> None:
    for folder in ("/tmp", "/dev/shm"):
        assert login(scenario, target, f"cp /bin/true {folder}/true && {folder}/true").returncode == 126


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("family", "key"),
    [("4", "send_redirects"), ("4", "accept_redirects"), ("4", "secure_redirects"), ("6", "accept_ra")],
)
def test_no_interface_is_left_out(scenario: Any, target: str, family: str, key: str) -> None:
    """Interfaces that were there before keep what they have, whatever all and default say."""
    values = dict(line.split() for line in scenario.host(target).check_output(INTERFACES % (family, key)).splitlines())
    assert len(values) >= 4
    assert {path: value for path, value in values.items() if value != "0"} == {}


def test_a_restart_of_the_firewall_sets_no_kernel_parameter_back(scenario: Any) -> None:
    host = scenario.host("plain12")
    read = "sysctl -n net.ipv4.conf.all.log_martians net.ipv4.conf.default.log_martians"
    assert host.check_output(read).split() == ["1", "1"]
    host.check_output("ufw disable && ufw --force enable")
    assert host.check_output(read).split() == ["1", "1"]


@pytest.mark.parametrize("target", TARGETS)
def test_logs_stay_closed_when_they_are_rotated_and_when_apt_writes(scenario: Any, target: str) -> None:
    host = scenario.host(target)
    assert host.check_output(READABLE) == ""
    host.check_output("logrotate --force /etc/logrotate.conf")
    host.check_output("logger --id=1 marker; test -s /var/log/wtmp || login -f nobody </dev/null >/dev/null 2>&1; true")
    host.check_output("systemd-tmpfiles --create --prefix=/var/log")
    assert host.check_output(READABLE) == ""
    host.check_output("DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --reinstall hostname")
    assert host.check_output(READABLE) == ""


def test_what_is_waived_is_left_as_it_is(scenario: Any) -> None:
    assert login(scenario, "plain12", "bash -lc 'echo $TMOUT'").stdout == "\n"
    assert login(scenario, "stack13", "bash -lc 'echo $TMOUT'").stdout == "900\n"
