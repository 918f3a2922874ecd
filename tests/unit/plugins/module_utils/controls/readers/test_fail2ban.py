# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jails as the server answers about them, and what the kernel does with who is banned."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.host import Answer
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import Verdict

from ..conftest import MakeHost

FILES = {"/usr/bin/fail2ban-client": "#!/usr/bin/python3\n"}
PARAMETERS = {
    "jails": ["sshd"],
    "maximum_attempts": {"at_most": 5},
    "find_seconds": {"at_least": 600},
    "ban_seconds": {"at_least": 3600},
    "growing": True,
}
TABLE = """table inet bulwark_fail2ban {
\tset jail-sshd-inet4 {
\t\ttype ipv4_addr
\t\telements = { 192.0.2.1 }
\t}

\tchain jail-sshd {
\t\ttype filter hook prerouting priority raw - 10; policy accept;
\t\tip saddr @jail-sshd-inet4 counter packets 0 bytes 0 drop
\t\tip6 saddr @jail-sshd-inet6 counter packets 0 bytes 0 drop
\t}
}
"""


def programs(**answers: str | Answer) -> dict[str, str | Answer]:
    said = {
        "ping": "Server replied: pong\n",
        "maxretry": "5\n",
        "findtime": "600\n",
        "bantime": "3600\n",
        "bantime.increment": "True\n",
        "actions": "The jail sshd has the following actions:\nbulwark-nftables\n",
        "table": TABLE,
        **answers,
    }
    told = {
        f"fail2ban-client get sshd {name}": said[name]
        # The longer name first: a fake program answers to how its line begins.
        for name in ("bantime.increment", "bantime", "findtime", "maxretry", "actions")
    }
    return {**told, "fail2ban-client ping": said["ping"], "nft list table inet bulwark_fail2ban": said["table"]}


def test_a_jail_that_bans_as_wished_passes(make_host: MakeHost) -> None:
    seen = make_host(FILES, programs()).observe("fail2ban_jails", **PARAMETERS)
    assert seen.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("answers", "observed"),
    [
        ({"maxretry": "6\n"}, "jail sshd maximum_attempts 6"),
        ({"findtime": "60\n"}, "jail sshd find_seconds 60"),
        ({"bantime": "60\n"}, "jail sshd ban_seconds 60"),
        ({"bantime.increment": "None\n"}, "each time alike"),
        ({"maxretry": Answer(255, "", "Sorry but the jail 'sshd' does not exist")}, "jail sshd does not run"),
        ({"ping": Answer(255, "", "Failed to access socket path")}, "fail2ban does not answer"),
        ({"actions": "No actions for jail sshd\n"}, "has none"),
        ({"table": Answer(1, "", "No such file or directory")}, "no effect in the kernel"),
        ({"table": TABLE.replace("ip6 saddr", "ip saddr")}, "no effect in the kernel"),
        ({"table": TABLE.replace(" drop", "")}, "no effect in the kernel"),
        ({"table": TABLE.replace("hook prerouting", "hook postrouting")}, "no effect in the kernel"),
        ({"table": TABLE.replace("chain jail-sshd ", "chain jail-other ")}, "no effect in the kernel"),
    ],
)
def test_a_jail_that_does_not_fails_and_says_what_was_seen(
    make_host: MakeHost, answers: dict[str, str | Answer], observed: str
) -> None:
    seen = make_host(FILES, programs(**answers)).observe("fail2ban_jails", **PARAMETERS)
    assert seen.verdict is Verdict.FAIL
    assert observed in seen.observed


def test_a_host_without_fail2ban_fails(make_host: MakeHost) -> None:
    seen = make_host().observe("fail2ban_jails", **PARAMETERS)
    assert (seen.verdict, seen.observed) == (Verdict.FAIL, "fail2ban is not installed")


def test_an_action_of_somebody_else_is_enough_to_be_one(make_host: MakeHost) -> None:
    answers = {"actions": "The jail sshd has the following actions:\niptables-multiport, sendmail\n", "table": ""}
    assert make_host(FILES, programs(**answers)).observe("fail2ban_jails", **PARAMETERS).verdict is Verdict.PASS


def test_only_what_is_asked_for_is_judged(make_host: MakeHost) -> None:
    answers = {"maxretry": "50\n", "bantime.increment": "None\n"}
    assert make_host(FILES, programs(**answers)).observe("fail2ban_jails", jails=["sshd"]).verdict is Verdict.PASS
