# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bans seen from where the attacker and the neighbour stand, IPv4 and IPv6."""

from __future__ import annotations

from typing import Any

import pytest

FAMILIES = [4, 6]
ATTEMPTS = 5
GROWTH_FACTOR = 3
# A port that has nothing to do with SSH: who is banned finds the whole host closed.
PORT = 7777
RELOADS = {
    "ufw12": ["ufw reload", "ufw disable", "ufw --force enable"],
    "firewalld13": ["firewall-cmd --reload", "firewall-cmd --complete-reload", "systemctl restart firewalld"],
    "nftables13": ["systemctl reload nftables", "systemctl restart nftables"],
}
OWN_RELOADS = ["fail2ban-client reload", "systemctl reload fail2ban", "systemctl restart fail2ban"]
OPTIONS = (
    "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=4 -o PubkeyAuthentication=no "
    "-o NumberOfPasswordPrompts=1"
)
LOG = "/var/log/fail2ban.log"
# What an earlier look at the same hosts left behind: fail2ban reads its journal again when it starts.
FORGET = (
    "systemctl stop fail2ban && journalctl --rotate --vacuum-time=1s && rm -f /var/lib/fail2ban/fail2ban.sqlite3 "
    "&& systemctl start fail2ban"
)


@pytest.fixture(scope="session", params=list(RELOADS))
def target(request: pytest.FixtureRequest, scenario: Any) -> str:
    """Return a target that has forgotten all attempts."""
    name = str(request.param)
    forget(scenario, name)
    return name


def forget(scenario: Any, target: str) -> None:
    """Let a target forget all attempts and all bans, those of long ago as well."""
    scenario.host(target).check_output(FORGET)
    assert scenario.eventually(answers, scenario, target)


def attempt(scenario: Any, source: str, target: str, family: int, *users: str) -> None:
    """Try to log in as each user, all at once: with a guess, or with nothing where no passwords are taken."""
    ssh = f"ssh {OPTIONS} -l %s %s true"
    command = ssh.replace("ssh ", "ssh -o BatchMode=yes ", 1) if target == "nftables13" else f"sshpass -p wrong {ssh}"
    address = scenario.address(target, family)
    words = [word for user in users for word in (user, address)]
    # A login that fails ends with 255, which Testinfra takes for a failure of its own connection.
    scenario.host(source).run(" ".join([f"{command} &" for _user in users]) + " wait; true", *words)


def logged(scenario: Any, target: str, text: str) -> int:
    """Return how many lines of fail2ban's log hold a text."""
    return str(scenario.host(target).file(LOG).content_string).count(text)


def found(scenario: Any, target: str, address: str) -> int:
    """Return how many attempts of an address fail2ban has counted."""
    return logged(scenario, target, f"] Found {address} - ")


def has_found(scenario: Any, target: str, address: str, number: int) -> bool:
    return found(scenario, target, address) >= number


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
    """Make one attempt less than the jail takes, and then the one that brings the ban."""
    address = scenario.address("attacker", family)
    assert is_open(scenario, "attacker", target, family)
    before = found(scenario, target, address)
    attempt(scenario, "attacker", target, family, *["alice"] * (ATTEMPTS - 1))
    assert scenario.eventually(has_found, scenario, target, address, before + ATTEMPTS - 1)
    assert address not in banned(scenario, target)
    assert is_open(scenario, "attacker", target, family)
    assert found(scenario, target, address) == before + ATTEMPTS - 1, "an attempt counts once"
    attempt(scenario, "attacker", target, family, "alice")
    assert scenario.eventually(is_banned, scenario, target, "sshd", address)
    assert found(scenario, target, address) == before + ATTEMPTS
    assert scenario.eventually(is_closed, scenario, "attacker", target, family)


def rules_of_others(scenario: Any, target: str) -> list[str]:
    """Return the whole rule set without the table of the bans, without counters."""
    listing = scenario.host(target).check_output("nft --stateless list ruleset")
    tables = listing.split("\ntable ")
    return [table.removeprefix("table ") for table in tables if "bulwark_fail2ban" not in table]


def log_as_sshd(scenario: Any, target: str, address: str, times: int = 1) -> None:
    """Let root write into the journal what sshd writes about a wrong guess."""
    line = f"logger -i -t sshd 'Failed password for root from {address} port 22 ssh2'"
    scenario.host(target).check_output("; ".join([line] * times))


def test_an_attacker_is_banned_and_stays_so_whatever_is_reloaded(scenario: Any, target: str) -> None:
    host = scenario.host(target)
    for family in FAMILIES:
        attack_until_banned(scenario, target, family)
        assert is_open(scenario, "neighbour", target, family)

    for command in RELOADS[target]:
        host.check_output(command)
        for family in FAMILIES:
            assert scenario.eventually(is_closed, scenario, "attacker", target, family), command
            assert scenario.eventually(is_open, scenario, "neighbour", target, family), command
    assert scenario.eventually(answers, scenario, target)

    others = rules_of_others(scenario, target)
    for command in OWN_RELOADS:
        host.check_output(command)
        assert scenario.eventually(answers, scenario, target)
        for family in FAMILIES:
            assert scenario.eventually(is_closed, scenario, "attacker", target, family), command
            assert is_open(scenario, "neighbour", target, family), command
    assert rules_of_others(scenario, target) == others


def test_a_ban_lifts_by_itself_and_the_next_one_is_longer(scenario: Any, target: str) -> None:
    host = scenario.host(target)
    addresses = {scenario.address("attacker", family): family for family in FAMILIES}
    forget(scenario, target)
    host.check_output("fail2ban-client set sshd bantime 6")
    for seconds in (6, 6 * GROWTH_FACTOR):
        assert all(scenario.eventually(is_open, scenario, "attacker", target, family) for family in FAMILIES)
        assert not set(addresses) & set(banned(scenario, target))
        for address in addresses:
            log_as_sshd(scenario, target, address, ATTEMPTS)
        # The server makes a ban longer a moment after it was made.
        wished = dict.fromkeys(addresses, seconds)
        assert scenario.eventually(lambda now=wished: now.items() <= banned(scenario, target).items()), seconds
        assert all(scenario.eventually(is_closed, scenario, "attacker", target, family) for family in FAMILIES)
    host.check_output("fail2ban-client reload")
    assert all(scenario.eventually(is_open, scenario, "attacker", target, family) for family in FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_attack_from_a_management_source_is_seen_and_bans_nobody(scenario: Any, target: str, family: int) -> None:
    address = scenario.address("office", family)
    ignored = f"] Ignore {address} by ip"
    attempt(scenario, "office", target, family, "alice")
    assert scenario.eventually(lambda: logged(scenario, target, ignored) > 0)
    log_as_sshd(scenario, target, address, ATTEMPTS)
    assert scenario.eventually(lambda: logged(scenario, target, ignored) > ATTEMPTS)
    assert found(scenario, target, address) == 0
    assert address not in banned(scenario, target)
    assert is_open(scenario, "office", target, family)


def test_a_user_name_with_an_address_bans_nobody_else(scenario: Any, target: str) -> None:
    address = scenario.address("neighbour", 6)
    before = found(scenario, target, address)
    names = ["root from 198.51.100.9 port 22 ssh2", "a 198.51.100.9 port 22 [preauth]"]
    attempt(scenario, "neighbour", target, 6, *names)
    assert scenario.eventually(lambda: found(scenario, target, address) == before + len(names))
    assert found(scenario, target, "198.51.100.9") == 0


def test_lines_that_a_user_forges_count_for_nothing(scenario: Any, target: str) -> None:
    host = scenario.host(target)
    line = "Failed password for root from 198.51.100.10 port 22 ssh2"
    tags = ("sshd", "sshd[77]", "sshd-session")
    forged = [f"logger -t {tag} '{line}'; systemd-cat -t {tag} echo '{line}'" for tag in tags] * ATTEMPTS
    # The journal keeps what a person writes apart, which fail2ban does not read, but not what a service writes.
    users = ("alice", "daemon")
    for user in users:
        host.check_output("runuser -u %s -- sh -c %s", user, "; ".join(forged))
    seen = host.check_output("journalctl --output cat --grep %s", f"^{line}$").splitlines()
    assert len(seen) == 2 * len(forged) * len(users), "the journal took every one of them"
    # The same line in root's name does count, and comes later: what came before it has been read.
    log_as_sshd(scenario, target, "198.51.100.11")
    assert scenario.eventually(has_found, scenario, target, "198.51.100.11", 1)
    assert found(scenario, target, "198.51.100.10") == 0


def test_the_server_goes_on_when_its_log_is_rotated(scenario: Any, target: str) -> None:
    host = scenario.host(target)
    host.check_output(f"mv {LOG} {LOG}.1 && install -m 0640 -g adm /dev/null {LOG} && fail2ban-client flushlogs")
    log_as_sshd(scenario, target, "198.51.100.12", ATTEMPTS)
    assert scenario.eventually(is_banned, scenario, target, "sshd", "198.51.100.12")
    assert scenario.eventually(lambda: logged(scenario, target, "] Ban 198.51.100.12") > 0)
    assert host.file(LOG).mode == 0o640


@pytest.mark.parametrize("target", ["nftables13"], indirect=True)
def test_a_jail_for_a_file_closes_its_ports_only(scenario: Any, target: str) -> None:
    host = scenario.host(target)
    # Of the ports that the listener answers on, the jail's is 8000; 7777 stays open.
    wrong = (
        'echo "$(date "+%%F %%T") application: 100%% wrong password for \\"eve\\" from %s" >> /var/log/application.log'
    )
    for family in FAMILIES:
        address = scenario.address("attacker", family)
        host.check_output("fail2ban-client unban %s", address)
        assert scenario.eventually(lambda where=(family,): scenario.tries("attacker", target, 8000, *where) == "open")
        host.check_output("; ".join([wrong] * 3), *[address] * 3)
        assert scenario.eventually(is_banned, scenario, target, "application", address)
        assert scenario.eventually(lambda where=(family,): scenario.tries("attacker", target, 8000, *where) == "closed")
        assert is_open(scenario, "attacker", target, family)
        assert scenario.tries("neighbour", target, 8000, family) == "open"


def test_every_jail_is_alive(scenario: Any, target: str) -> None:
    host = scenario.host(target)
    assert "pong" in host.check_output("fail2ban-client ping")
    status = host.check_output("fail2ban-client status")
    assert "sshd" in status
    assert ("application" in status) == (target == "nftables13")
    assert host.service("fail2ban").is_enabled
    ignored = host.check_output("fail2ban-client get sshd ignoreip")
    assert scenario.address("attacker", 4) not in ignored
    assert scenario.address("office", 4) in ignored
    assert host.run("echo ${SSH_CONNECTION%% *}").stdout.strip() in ignored
