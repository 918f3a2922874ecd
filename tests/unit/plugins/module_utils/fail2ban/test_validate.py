# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every wrong value is refused with the path to it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.fail2ban.validate import validate_policy

from . import policies

SAMPLES = [{"line": "a[1]: bad from 192.0.2.1", "address": "192.0.2.1"}, {"line": "a[1]: good"}]
FILTER = {"name": "a", "fail_patterns": [r"^.* bad from <ADDR>$"], "samples": SAMPLES}
JAIL = {"name": "a", "journal_matches": ["_SYSTEMD_UNIT=a.service"]}


def jail(**values: Any) -> dict[str, Any]:
    return {"jails": [{**JAIL, **values}], "filters": [FILTER]}


def entry(**values: Any) -> dict[str, Any]:
    return {"jails": [JAIL], "filters": [{**FILTER, **values}]}


# What is wrong, the path to it, and a word of what to do.
BAD = [
    ({"maximum_attempts": 0}, "fail2ban_maximum_attempts: 0", "1 to 1000"),
    ({"maximum_attempts": "many"}, "fail2ban_maximum_attempts: 'many'", "1 to 1000"),
    ({"maximum_attempts": True}, "fail2ban_maximum_attempts: True", "1 to 1000"),
    ({"find_seconds": "10m"}, "fail2ban_find_seconds: '10m'", "seconds"),
    ({"ban_seconds": -1}, "fail2ban_ban_seconds: -1", "seconds"),
    ({"ban_growth_factor": 1.5}, "fail2ban_ban_growth_factor: 1.5", "1 to 100"),
    ({"ban_seconds": 7200, "maximum_ban_seconds": 3600}, "fail2ban_maximum_ban_seconds: 3600", "7200 or more"),
    ({"history_seconds": 3600}, "fail2ban_history_seconds:", "604800 or more"),
    ({"sandbox": "yes"}, "fail2ban_sandbox: 'yes'", "true and false"),
    ({"attempts": 3}, "fail2ban_attempts: unknown option", "fail2ban_maximum_attempts"),
    ({"ignored_addresses": ["0.0.0.0/0"]}, "fail2ban_ignored_addresses[0]: 0.0.0.0/0 is everybody", "networks"),
    ({"management_sources": ["::/0"]}, "fail2ban_management_sources[0]: ::/0 is everybody", "networks"),
    ({"ignored_addresses": ["10.0.0.1/8"]}, "fail2ban_ignored_addresses[0]:", "10.0.0.0/8"),
    ({"ignored_addresses": ["bastion"]}, "fail2ban_ignored_addresses[0]: bastion is not an address", "group:NAME"),
    ({"ignored_addresses": "10.0.0.0/8"}, "fail2ban_ignored_addresses: '10.0.0.0/8' is not a list", "[10.0.0.0/8]"),
    ({"ignored_addresses": ["group:"]}, "fail2ban_ignored_addresses[0]: 'group:'", "inventory"),
    ({"jails": ["sshd"]}, "fail2ban_jails[0]: 'sshd' is not a jail", "dictionary"),
    (jail(name="A b"), "fail2ban_jails[0].name: 'A b'", "a-z"),
    (jail(name="DEFAULT"), "fail2ban_jails[0].name: 'DEFAULT'", "a-z"),
    (jail(maxretry=5), "fail2ban_jails[0].maxretry: unknown key", "maximum_attempts"),
    (jail(enabled="no"), "fail2ban_jails[0].enabled: 'no'", "true and false"),
    (jail(filter="b"), 'fail2ban_jails[0].filter: there is no filter "b"', "known are a, sshd"),
    (jail(package_filter="../x"), "fail2ban_jails[0].package_filter: '../x'", "NAME"),
    (jail(filter="a", package_filter="sshd"), "fail2ban_jails[0]: filter and package_filter", "exclude"),
    (jail(backend="polling"), "fail2ban_jails[0].backend: 'polling'", "auto, journal, files"),
    (jail(backend="files"), "fail2ban_jails[0].log_paths: backend files", "needs it"),
    (jail(journal_matches=[]), "fail2ban_jails[0]: say where the log is", "journal_matches"),
    (jail(journal_matches=["SYSLOG_IDENTIFIER=a"]), "fail2ban_jails[0].journal_matches[0]: any user", "_UID=0"),
    (jail(journal_matches=["_UID = 0"]), "fail2ban_jails[0].journal_matches[0]: '_UID'", "fields"),
    (jail(journal_matches=["_UID=0 +"]), "fail2ban_jails[0].journal_matches[0]: '+'", "fields"),
    (jail(log_paths=["log/a"]), "fail2ban_jails[0].log_paths[0]: 'log/a'", "absolute"),
    (jail(log_paths=["/var/log/../x"]), "fail2ban_jails[0].log_paths[0]:", "absolute"),
    (jail(log_paths=["/var/log/a\nb"]), "fail2ban_jails[0].log_paths[0]:", "absolute"),
    (jail(log_paths=["/home/a/log"]), "fail2ban_jails[0].log_paths: /home/a/log", "fail2ban_sandbox"),
    (jail(ports=[0]), "fail2ban_jails[0].ports[0]: 0 is not a port", "1 to 65535"),
    (jail(ports=["9-8"]), "fail2ban_jails[0].ports[0]: 9-8 is not a port", "from-to"),
    (jail(ports=[80, "70-90"]), "fail2ban_jails[0].ports[1]: 70-90 is already in 80", "once"),
    (jail(protocol="icmp"), "fail2ban_jails[0].protocol: 'icmp'", "tcp, udp, any"),
    (jail(maximum_attempts=0), "fail2ban_jails[0].maximum_attempts: 0", "1 to 1000"),
    (jail(ban_seconds=700000), "fail2ban_jails[0].ban_seconds: 700000 is longer", "604800"),
    (jail(ignored_addresses=["x"]), "fail2ban_jails[0].ignored_addresses[0]: x", "not an address"),
    ({"filters": [7]}, "fail2ban_filters[0]: 7 is not a filter", "dictionary"),
    (entry(failregex=[]), "fail2ban_filters[0].failregex: unknown key", "fail_patterns"),
    (entry(name="../a"), "fail2ban_filters[0].name: '../a'", "a-z"),
    (entry(fail_patterns=[r"^.* bad from <HOST>$"]), "fail2ban_filters[0].fail_patterns[0]: <HOST>", "<ADDR>"),
    (entry(fail_patterns=[r"bad from <ADDR>$"]), "fail2ban_filters[0].fail_patterns[0]:", "begin it with ^"),
    (entry(fail_patterns=[r"^bad from <ADDR>"]), "fail2ban_filters[0].fail_patterns[0]:", "end it with $"),
    (entry(fail_patterns=[r"^bad from <adress>$"]), "fail2ban_filters[0].fail_patterns[0]: there is no tag", "<ADDR>"),
    (entry(fail_patterns=[r"^bad( from <ADDR>$"]), "fail2ban_filters[0].fail_patterns[0]:", "regular expression"),
    (entry(fail_patterns=["^[[a] <ADDR>$"]), "fail2ban_filters[0].fail_patterns[0]:", "nested set"),
    (entry(fail_patterns=["^a\n[x]\n<ADDR>$"]), "fail2ban_filters[0].fail_patterns[0]:", "one line"),
    (entry(fail_patterns=["^bad$"]), "fail2ban_filters[0].fail_patterns: no pattern", "<ADDR>"),
    (entry(fail_patterns=[]), "fail2ban_filters[0].fail_patterns: no pattern", "<ADDR>"),
    (entry(ignore_patterns=["#x"]), "fail2ban_filters[0].ignore_patterns[0]: '#x'", "[#]"),
    (entry(ignore_patterns=["; x"]), "fail2ban_filters[0].ignore_patterns[0]: '; x'", "[;]"),
    (entry(fail_patterns=["^a ; b <ADDR>$"]), "fail2ban_filters[0].fail_patterns[0]: '^a ; b", "x20"),
    (entry(prefix="^a$"), "fail2ban_filters[0].prefix:", "<F-CONTENT>"),
    (entry(date_pattern="%Y\n"), "fail2ban_filters[0].date_pattern:", "one line"),
    (entry(date_pattern="%Y ;"), "fail2ban_filters[0].date_pattern: '%Y ;'", "comment"),
    (entry(samples=SAMPLES[:1]), "fail2ban_filters[0].samples: give at least one", "nobody"),
    (entry(samples=[]), "fail2ban_filters[0].samples: give at least one", "engine"),
    (entry(samples=["line"]), "fail2ban_filters[0].samples[0]: 'line' is not a sample", "line"),
    (entry(samples=[*SAMPLES, {"line": ""}]), "fail2ban_filters[0].samples[2].line:", "one line"),
    (entry(samples=[{**SAMPLES[0], "address": "x"}]), "fail2ban_filters[0].samples[0].address: 'x'", "nobody"),
    (entry(samples=[{**SAMPLES[0], "source": "tcp"}]), "fail2ban_filters[0].samples[0].source: 'tcp'", "journal, file"),
]


def test_what_the_role_ships_is_accepted() -> None:
    assert validate_policy(policies.shipped()) == []


def test_a_complete_policy_is_accepted() -> None:
    rich = jail(
        ports=[80, "443", "8000-8010"],
        protocol="any",
        log_paths=["/var/log/a*.log"],
        maximum_attempts=3,
        ignored_addresses=["group:office", "2001:db8::/32"],
    )
    rich["jails"].append({"name": "sshd", "ports": [22]})
    rich["jails"].append(
        {"name": "web", "package_filter": "nginx-http-auth", "log_paths": ["/var/log/nginx/error.log"]}
    )
    assert validate_policy({**policies.shipped(), **rich}) == []


@pytest.mark.parametrize(("options", "path", "help_word"), BAD, ids=[path for _options, path, _word in BAD])
def test_a_wrong_value_is_refused_with_its_path(options: dict[str, Any], path: str, help_word: str) -> None:
    problems = validate_policy({**policies.shipped(), **copy.deepcopy(options)})
    assert [problem for problem in problems if problem.startswith(path) and help_word in problem], problems


def test_a_jail_that_is_switched_off_needs_nothing() -> None:
    assert validate_policy({**policies.shipped(), "jails": [{"name": "later", "enabled": False}]}) == []


def test_all_faults_are_told_at_once() -> None:
    options = {**jail(ports=[0], protocol="x"), "ban_seconds": 0}
    assert len(validate_policy({**policies.shipped(), **options})) == 3
