# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bans seen from where the attacker and the neighbour stand, IPv4 and IPv6."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

TARGETS = ["ufw12", "firewalld13", "nftables13"]
FAMILIES = [4, 6]
ATTEMPTS = 5
# A port that has nothing to do with SSH: who is banned finds the whole host closed.
PORT = 7777
RELOADS = {
    "ufw12": ["ufw reload", "ufw disable", "ufw --force enable"],
    "firewalld13": ["firewall-cmd --reload", "firewall-cmd --complete-reload", "systemctl restart firewalld"],
    "nftables13": ["systemctl reload nftables", "systemctl restart nftables"],
}
OPTIONS = (
    "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=4 -o PubkeyAuthentication=no "
    "-o NumberOfPasswordPrompts=1"
)
# Bounds for waiting, never for what is asserted.
PATIENCE_SECONDS = 60


# What an earlier look at the same hosts left behind: fail2ban reads its journal again when it starts.
FORGET = (
    "systemctl stop fail2ban && journalctl --rotate --vacuum-time=1s && rm -f /var/lib/fail2ban/fail2ban.sqlite3 "
    "&& systemctl start fail2ban"
)


@pytest.fixture(scope="session", autouse=True)
def _nobody_is_known(scenario: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let all targets forget all attempts, once for all workers."""
    shared = tmp_path_factory.getbasetemp().parent
    with (shared / f"forget-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}").open("a+") as once:
        fcntl.flock(once, fcntl.LOCK_EX)
        # Where the file ends now, not where it ended before the lock was free.
        if once.seek(0, os.SEEK_END) == 0:
            for target in TARGETS:
                scenario.host(target).check_output(FORGET)
                assert eventually(answers, scenario, target)
            once.write("done")


def eventually(condition: Callable[..., bool], *arguments: Any) -> bool:
    """Wait until a condition on these arguments holds; returns whether it did."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition(*arguments):
        if time.monotonic() > until:
            return False
        time.sleep(0.5)
    return True


def attempt(scenario: Any, source: str, target: str, family: int, user: str = "alice") -> None:
    """Try to log in once: with a guess where passwords are taken, with nothing where they are not."""
    ssh = f"ssh {OPTIONS} -l %s %s true"
    command = f"sshpass -p wrong {ssh}" if target != "nftables13" else ssh.replace("ssh ", "ssh -o BatchMode=yes ", 1)
    # A login that fails ends with 255, which Testinfra takes for a failure of its own connection.
    scenario.host(source).run(f"{command} || true", user, scenario.address(target, family))


def found(scenario: Any, target: str, address: str) -> int:
    """Return how many attempts of an address fail2ban has counted."""
    log = scenario.host(target).file("/var/log/fail2ban.log").content_string
    return sum(f"] Found {address} - " in line and "fail2ban.filter" in line for line in log.splitlines())


def banned(scenario: Any, target: str, jail: str = "sshd") -> dict[str, int]:
    """Return who is banned, with the seconds of the ban."""
    listing = scenario.host(target).check_output("fail2ban-client get %s banip --with-time", jail)
    return {line.split()[0]: int(line.split()[4]) for line in listing.splitlines() if line.strip()}


def answers(scenario: Any, target: str) -> bool:
    """Return whether the server does; its client ends with 255 if not, which Testinfra takes for its own failure."""
    return "pong" in scenario.host(target).run("fail2ban-client ping || true").stdout


def is_banned(scenario: Any, target: str, jail: str, address: str) -> bool:
    return address in banned(scenario, target, jail)


def is_open(scenario: Any, source: str, target: str, family: int) -> bool:
    return bool(scenario.tries(source, target, PORT, family) == "open")


def is_closed(scenario: Any, source: str, target: str, family: int) -> bool:
    return not is_open(scenario, source, target, family)


def attack_until_banned(scenario: Any, target: str, family: int) -> None:
    """Make exactly as many attempts as the jail takes; the last one brings the ban."""
    address = scenario.address("attacker", family)
    before = found(scenario, target, address)
    for number in range(1, ATTEMPTS):
        attempt(scenario, "attacker", target, family)
        assert eventually(lambda wanted: found(scenario, target, address) >= wanted, before + number)
    assert found(scenario, target, address) == before + ATTEMPTS - 1, "an attempt counts once"
    assert address not in banned(scenario, target)
    assert is_open(scenario, "attacker", target, family)
    attempt(scenario, "attacker", target, family)
    assert eventually(is_banned, scenario, target, "sshd", address)
    assert eventually(is_closed, scenario, "attacker", target, family)


def rules_of_others(scenario: Any, target: str) -> list[str]:
    """Return the whole rule set without the table of the bans, without counters."""
    listing = scenario.host(target).check_output("nft --stateless list ruleset")
    tables = listing.split("\ntable ")
    return [table.removeprefix("table ") for table in tables if "bulwark_fail2ban" not in table]


@pytest.mark.parametrize("target", TARGETS)
def test_an_attacker_is_banned_and_stays_so_until_the_ban_lifts(scenario: Any, target: str) -> None:
    host = scenario.host(target)
    host.check_output("fail2ban-client unban --all")
    for family in FAMILIES:
        assert is_open(scenario, "attacker", target, family)
        attack_until_banned(scenario, target, family)
        assert is_open(scenario, "neighbour", target, family)

    for command in RELOADS[target]:
        host.check_output(command)
        for family in FAMILIES:
            assert eventually(is_closed, scenario, "attacker", target, family), command
            assert eventually(is_open, scenario, "neighbour", target, family), command

    others = rules_of_others(scenario, target)
    for command in ["fail2ban-client reload", "systemctl reload fail2ban", "systemctl restart fail2ban"]:
        host.check_output(command)
        assert eventually(answers, scenario, target)
        for family in FAMILIES:
            assert eventually(is_closed, scenario, "attacker", target, family), command
            assert is_open(scenario, "neighbour", target, family), command
    assert rules_of_others(scenario, target) == others

    host.check_output("fail2ban-client unban --all")
    host.check_output("fail2ban-client set sshd bantime 8")
    lasted: list[int] = []
    address = scenario.address("attacker", 4)
    for _time in range(2):
        attack_until_banned(scenario, target, 4)
        # The server makes the ban longer a moment after it was made.
        eventually(lambda: banned(scenario, target).get(address, 0) > max(lasted, default=0))
        lasted.append(banned(scenario, target)[address])
        assert eventually(is_open, scenario, "attacker", target, 4)
    assert lasted[1] == lasted[0] * 3
    host.check_output("fail2ban-client reload")


@pytest.mark.parametrize("target", TARGETS)
def test_a_user_name_with_an_address_bans_nobody_else(scenario: Any, target: str) -> None:
    address = scenario.address("neighbour", 6)
    before = found(scenario, target, address)
    names = ["root from 198.51.100.9 port 22 ssh2", "a 198.51.100.9 port 22 [preauth]"]
    for name in names:
        attempt(scenario, "neighbour", target, 6, name)
    assert eventually(lambda: found(scenario, target, address) == before + len(names))
    assert found(scenario, target, "198.51.100.9") == 0


@pytest.mark.parametrize("target", TARGETS)
def test_lines_that_a_user_forges_count_for_nothing(scenario: Any, target: str) -> None:
    host = scenario.host(target)
    line = "Failed password for root from %s port 22 ssh2"
    for tag in ("sshd", "sshd[77]", "sshd-session"):
        for _time in range(ATTEMPTS):
            host.check_output(f"runuser -u alice -- logger -t %s '{line}'", tag, "198.51.100.10")
            host.check_output(f"runuser -u alice -- systemd-cat -t %s echo '{line}'", tag, "198.51.100.10")
    # The same line in root's name does count, and comes later: what came before it has been read.
    host.check_output(f"logger --id=78 -t sshd '{line}'", "198.51.100.11")
    assert eventually(lambda: found(scenario, target, "198.51.100.11") > 0)
    assert found(scenario, target, "198.51.100.10") == 0


def test_a_jail_for_a_file_closes_its_ports_only(scenario: Any) -> None:
    host = scenario.host("nftables13")
    for address in ("198.51.100.20", "2001:db8::20"):
        for _time in range(3):
            host.check_output(
                'echo "$(date "+%%F %%T") application: 100%% wrong password for \\"eve\\" from %s" >> '
                "/var/log/application.log",
                address,
            )
        assert eventually(is_banned, scenario, "nftables13", "application", address)
    table = host.check_output("nft list table inet bulwark_fail2ban")
    assert table.count("th dport { 443, 8000-8010 }") == 2
    assert "198.51.100.20" in table
    assert "2001:db8::20" in table


@pytest.mark.parametrize("target", TARGETS)
def test_every_jail_is_alive(scenario: Any, target: str) -> None:
    host = scenario.host(target)
    assert "pong" in host.check_output("fail2ban-client ping")
    status = host.check_output("fail2ban-client status")
    assert "sshd" in status
    assert ("application" in status) == (target == "nftables13")
    assert host.service("fail2ban").is_enabled
    ignored = host.check_output("fail2ban-client get sshd ignoreip")
    assert scenario.address("attacker", 4) not in ignored
    assert host.run("echo ${SSH_CONNECTION%% *}").stdout.strip() in ignored
