# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator may get wrong in the variables of the role baseline: refused, each with the path to the value."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.hardening.plugins.filter.baseline_policy import baseline_policy

HASH = "grub.pbkdf2.sha512.10000." + "0A" * 64 + "." + "1B" * 64
WINDOW = {"days": ["Sun"], "start": "03:30", "minutes": 60}
WAIVER = {"control": "OS-17", "owner": "somebody", "reason": "noise", "expires": "2999-01-01"}

# Variable, value, where the refusal points to, and what else it says.
CASES = [
    ("baseline_container", True, "baseline_container", "no such key"),
    ("baseline_containers", "maybe", "baseline_containers", "'maybe' is not accepted; accepted are true and false"),
    ("baseline_router", ["wg0"], "baseline_router", "true and false"),
    ("baseline_multihomed", {"yes": 1}, "baseline_multihomed", "true and false"),
    ("baseline_time_daemon", "ntpd", "baseline_time_daemon", "timesyncd, chrony"),
    ("baseline_log_shipper", "fluentd", "baseline_log_shipper", "rsyslog, journal_upload, none"),
    ("baseline_opt_in", ["OS-99"], "baseline_opt_in[0]", "no control 'OS-99'"),
    ("baseline_opt_in", ["OS-20", "os-12"], "baseline_opt_in[1]", "no control 'os-12'"),
    ("baseline_opt_in", ["OS-14"], "baseline_opt_in[0]", "OS-14 is no choice: it is enforced"),
    ("baseline_opt_in", ["OS-31"], "baseline_opt_in[0]", "OS-31 needs baseline_grub_superuser, which is not set"),
    ("baseline_opt_in", ["OS-20", "OS-66"], "baseline_opt_in[1]", "OS-66 needs baseline_name_servers"),
    ("baseline_opt_in", ["OS-80"], "baseline_opt_in[0]", "it is reported"),
    ("baseline_opt_in", ["OS-20", "OS-20"], "baseline_opt_in[1]", "stands twice"),
    ("baseline_opt_in", {"OS-20": True}, "baseline_opt_in", "is not a list"),
    ("baseline_serves", ["ngnix"], "baseline_serves[0]", "apache, autofs"),
    ("baseline_serves", ["nginx", "nginx"], "baseline_serves[1]", "stands twice"),
    ("baseline_serves", [{"name": "nginx"}], "baseline_serves[0]", "accepted is a text"),
    ("baseline_faillock_attempts", 0, "baseline_faillock_attempts", "accepted are 1 to 10"),
    ("baseline_faillock_attempts", 11, "baseline_faillock_attempts", "accepted are 1 to 10"),
    (
        "baseline_faillock_attempts",
        "four",
        "baseline_faillock_attempts",
        "'four' is not accepted; accepted is a whole number",
    ),
    ("baseline_faillock_unlock_seconds", 5, "baseline_faillock_unlock_seconds", "accepted are 60 to 86400"),
    ("baseline_faillock_unlock_seconds", -1, "baseline_faillock_unlock_seconds", "accepted are 60 to 86400"),
    ("baseline_password_minimum_length", 4, "baseline_password_minimum_length", "accepted are 8 to 128"),
    ("baseline_password_minimum_length", 900, "baseline_password_minimum_length", "accepted are 8 to 128"),
    ("baseline_shell_timeout_seconds", 0, "baseline_shell_timeout_seconds", "accepted are 60 to 86400"),
    ("baseline_shell_timeout_seconds", 15.5, "baseline_shell_timeout_seconds", "a whole number"),
    ("baseline_window_seconds", 5, "baseline_window_seconds", "accepted are 30 to 600"),
    ("baseline_confirm_seconds", 80, "baseline_confirm_seconds", "set baseline_window_seconds to 160 or more"),
    ("baseline_banner", "", "baseline_banner", "is empty"),
    ("baseline_banner", " \n", "baseline_banner", "is empty"),
    ("baseline_banner", "Welcome to \\n", "baseline_banner", "replace words with a backslash"),
    ("baseline_banner", "Zugriff überwacht", "baseline_banner", "printable ASCII"),
    ("baseline_tmp_size", "lots", "baseline_tmp_size", "a size such as 2g"),
    ("baseline_tmp_size", "0m", "baseline_tmp_size", "a size such as 2g"),
    ("baseline_tmp_size", "100%", "baseline_tmp_size", "a share of the memory"),
    ("baseline_tmp_size", "1g,exec", "baseline_tmp_size", "'1g,exec' is not accepted"),
    ("baseline_time_servers", ["ntp.example.com iburst"], "baseline_time_servers[0]", "host names and addresses"),
    ("baseline_time_servers", ["a.example", "b\nserver evil"], "baseline_time_servers[1]", "is not accepted"),
    ("baseline_time_servers", ["a.example", "a.example"], "baseline_time_servers[1]", "stands twice"),
    ("baseline_name_servers", ["dns.example.com"], "baseline_name_servers[0]", "accepted are addresses"),
    ("baseline_passwordless_sudo", ["deploy ALL"], "baseline_passwordless_sudo[0]", "users, and groups as %group"),
    ("baseline_passwordless_sudo", ["%%wheel"], "baseline_passwordless_sudo[0]", "is not accepted"),
    ("baseline_accounts_with_shell", ["Post Gres"], "baseline_accounts_with_shell[0]", "names of users"),
    ("baseline_crontab_users", ["backup", "backup"], "baseline_crontab_users[1]", "stands twice"),
    ("baseline_crontab_users", ["root\nnobody"], "baseline_crontab_users[0]", "is not accepted"),
    ("baseline_updates_held", ['"; Automatic-Reboot "true'], "baseline_updates_held[0]", "names of packages"),
    ("baseline_updates_held", ["^docker"], "baseline_updates_held[0]", "with * for any characters"),
    ("baseline_reboot_window", {**WINDOW, "start": "3 am"}, "baseline_reboot_window.start", '"03:30"'),
    ("baseline_reboot_window", {**WINDOW, "start": 12600}, "baseline_reboot_window.start", "'12600' is not accepted"),
    ("baseline_reboot_window", {**WINDOW, "start": "24:00"}, "baseline_reboot_window.start", "is not accepted"),
    ("baseline_reboot_window", {**WINDOW, "minutes": 0}, "baseline_reboot_window.minutes", "accepted are 1 to 1440"),
    (
        "baseline_reboot_window",
        {**WINDOW, "days": ["Sunday"]},
        "baseline_reboot_window.days[0]",
        "'Sunday' is not accepted; accepted are Mon, Tue, Wed",
    ),
    ("baseline_reboot_window", {**WINDOW, "days": []}, "baseline_reboot_window.days", "at least one day"),
    (
        "baseline_reboot_window",
        {**WINDOW, "hours": 2},
        "baseline_reboot_window.hours",
        "accepted are days, minutes, start",
    ),
    ("baseline_reboot_window", {"days": ["Sun"]}, "baseline_reboot_window.start", "is not accepted"),
    (
        "baseline_reboot_window",
        "Sun 03:30",
        "baseline_reboot_window",
        "no dictionary; accepted is one with the keys days, minutes, start",
    ),
    ("baseline_grub_superuser", "root", "baseline_grub_superuser", "needs baseline_grub_password_hash"),
    ("baseline_grub_superuser", "Boot Admin", "baseline_grub_superuser", "small letters"),
    ("baseline_grub_password_hash", "secret", "baseline_grub_password_hash", "grub-mkpasswd-pbkdf2"),
    ("baseline_grub_password_hash", HASH, "baseline_grub_superuser", "set both or none"),
    ("baseline_waivers", [{**WAIVER, "control": "OS-00"}], "baseline_waivers[0].control", "no control 'OS-00'"),
    ("baseline_waivers", [{"control": "OS-17"}], "baseline_waivers[0].owner", "is missing"),
    (
        "baseline_waivers",
        [{**WAIVER, "until": "2999-01-01"}],
        "baseline_waivers[0].until",
        "accepted are control, expires, owner, reason",
    ),
    ("baseline_waivers", ["OS-17"], "baseline_waivers[0]", "'OS-17' is no dictionary"),
]


@pytest.mark.parametrize(
    ("name", "value", "path", "words"), CASES, ids=[f"{case[2]}-{n}" for n, case in enumerate(CASES)]
)
def test_refused_with_the_path(name: str, value: object, path: str, words: str) -> None:
    problems = baseline_policy({name: value})["problems"]
    assert len(problems) >= 1
    told = [problem for problem in problems if problem.startswith(f"{path}: ") and words in problem]
    assert told, problems


def test_a_refused_hash_is_not_shown() -> None:
    problems = baseline_policy({"baseline_grub_password_hash": "secret"})["problems"]
    assert problems
    assert "secret" not in " ".join(problems)


def test_all_that_is_wrong_is_said_at_once() -> None:
    wrong = {"baseline_tmp_size": "lots", "baseline_serves": ["ngnix"], "baseline_faillock_attempts": 0}
    assert len(baseline_policy(wrong)["problems"]) == 3


def test_nothing_is_wrong_with_the_defaults() -> None:
    assert baseline_policy({})["problems"] == []


def test_nothing_is_wrong_with_every_variable_set() -> None:
    values = {
        "baseline_containers": "yes",
        "baseline_passwordless_sudo": ["deploy", "%operators"],
        "baseline_serves": ["nginx", "mail"],
        "baseline_opt_in": ["OS-20", "OS-83.reboot"][:1],
        "baseline_time_servers": ["ntp1.example.com", "192.0.2.1", "2001:db8::1"],
        "baseline_name_servers": ["192.0.2.53", "2001:db8::53"],
        "baseline_tmp_size": "512m",
        "baseline_reboot_window": WINDOW,
        "baseline_grub_superuser": "boot",
        "baseline_grub_password_hash": HASH,
        "baseline_accounts_with_shell": ["postgres"],
        "baseline_crontab_users": ["backup"],
        "baseline_updates_held": ["postgresql-1*", "libc6"],
        "baseline_waivers": [WAIVER],
    }
    assert baseline_policy(values)["problems"] == []
