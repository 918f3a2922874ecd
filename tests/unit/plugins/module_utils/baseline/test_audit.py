# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Audit rules: what two lines have in common, what is refused, what the kernel does not hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import audit, audit_host

# The right side is what auditctl -l printed for the left side on Linux 6.1 and 6.12.
LISTED = [
    ("-w /etc/network/ -p wa -k net", "-w /etc/network -p wa -k net"),
    (
        "-a always,exit -F arch=b32 -S adjtimex,settimeofday,clock_settime,stime -k time-change",
        "-a always,exit -F arch=b32 -S stime,settimeofday,adjtimex,clock_settime -F key=time-change",
    ),
    (
        "-a always,exit -F arch=b64 -S chmod -S fchmod -F auid>=1000 -F auid!=unset -F key=perm_mod",
        "-a always,exit -F arch=b64 -S chmod,fchmod -F auid>=1000 -F auid!=-1 -F key=perm_mod",
    ),
    (
        "-a exit,always -F path=/usr/bin/su -F perm=x -F auid>=1000 -F auid!=4294967295 -k privileged",
        "-a always,exit -S all -F path=/usr/bin/su -F perm=x -F auid>=1000 -F auid!=-1 -F key=privileged",
    ),
    (
        "-a always,exit -F arch=b64 -C euid!=uid -F auid!=unset -S execve -k user_emulation",
        "-a always,exit -F arch=b64 -S execve -C uid!=euid -F auid!=-1 -F key=user_emulation",
    ),
    ("-w /etc/hosts -p aw", "-a always,exit -F path=/etc/hosts -F perm=wa"),
]


@pytest.mark.parametrize(("written", "listed"), LISTED)
def test_a_rule_is_the_same_in_the_words_of_the_kernel(written: str, listed: str) -> None:
    assert audit.parse(written) == audit.parse(listed)
    assert audit.missing([written], listed) == []


def test_rules_that_record_other_things_differ() -> None:
    rules = {audit.parse(listed) for _written, listed in LISTED}
    assert len(rules) == len(LISTED)
    assert audit.parse("-w /etc/hosts -p w") != audit.parse("-w /etc/hosts -p wa")
    assert audit.parse("-a never,exit -S stime") != audit.parse("-a always,exit -S stime")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("hello", "begins with -a or -w"),
        ("-w etc/hosts -p wa", "no absolute path"),
        ("-w /etc/hosts -p", "-p has no value"),
        ("-w /etc/hosts -p wy", "letters of rwxa"),
        ("-w /etc/hosts -S open", "takes -w, -p and -k"),
        ("-a exit -S open", "names no list and action"),
        ("-a always,exit", "would record everything"),
        ("-a always,exit -F auid", "no comparison"),
        ("-a always,exit -D x", "accepted are -a"),
        (f"-w /etc/hosts -k {'k' * 32}", "1 to 31 visible characters"),
        ("-w '/etc/hosts", "No closing quotation"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_reason(line: str, message: str) -> None:
    with pytest.raises(audit.AuditRuleError, match=re.escape(message)) as caught:
        audit.parse(line)
    assert "\n" not in str(caught.value)


def test_a_double_is_left_out_since_it_would_end_the_load() -> None:
    lines = ["-w /etc/sudoers.d -p wa -k scope", "-w /etc/sudoers -p wa -k scope", "-w /etc/sudoers.d/ -p wa -k scope"]
    assert audit.without_doubles(lines) == lines[:2]


def test_the_text_goes_on_after_a_refusal_and_locks_last() -> None:
    text = audit.render(["-w /etc/hosts -p wa"], 64, True).splitlines()
    assert text.index("-c") < text.index("-w /etc/hosts -p wa") < text.index("-e 2") == len(text) - 1
    assert audit.render([], 64, False).splitlines()[-1] == "-e 1"


def test_a_refused_line_gets_the_reason_that_auditctl_gave() -> None:
    text = "-D\n-w /a/b -p wa\n-w /etc/hosts -p wa\n"
    output = "Error sending add rule data request (Rule exists)\nThere was an error in line 2 of /etc/audit/audit.rules"
    assert audit.refusals(output, text) == {
        "-w /a/b -p wa": "Error sending add rule data request (Rule exists)",
    }


class Kernel:
    """Answers as auditctl and augenrules do."""

    def __init__(self, enabled: str = "1", refuses: str = "", switch: str = "") -> None:
        self.enabled = enabled
        self.switch = switch
        self.refuses = refuses
        self.listing = "No rules\n"
        self.reachable = True
        self.path = Path()

    def __call__(self, command: Sequence[str]) -> tuple[int, str, str]:
        if command[0] == "augenrules":
            self.enabled = self.switch or self.path.read_text().splitlines()[-1].removeprefix("-e ")
            lines = [line for line in self.path.read_text().splitlines() if line.startswith(("-w", "-a"))]
            self.listing = "\n".join(line for line in lines if line != self.refuses)
            return 0, "", ""
        if command[1] == "-s":
            return (
                (0, f"enabled {self.enabled}\nlost 0\n", "") if self.reachable else (4, "", "Operation not permitted")
            )
        return 0, self.listing, ""


@pytest.fixture(name="kernel")
def _kernel(tmp_path: Path) -> Kernel:
    kernel = Kernel()
    kernel.path = tmp_path / "50-bulwark.rules"
    return kernel


RULES = ["-w /etc/hosts -p wa -k hosts", "-w /etc/passwd -p wa -k identity"]


def converge(kernel: Kernel, check_mode: bool = False, immutable: bool = False) -> audit_host.Outcome:
    return audit_host.converge(str(kernel.path), RULES, False, 8192, immutable, check_mode, kernel)


def test_rules_are_loaded_once(kernel: Kernel) -> None:
    assert converge(kernel, check_mode=True).changed
    assert not kernel.path.exists()
    assert converge(kernel).changed
    assert kernel.path.stat().st_mode & 0o7777 == 0o600
    again = converge(kernel)
    assert not again.changed
    assert again.missing == []


def test_rules_that_somebody_unloaded_are_loaded_again(kernel: Kernel) -> None:
    converge(kernel)
    kernel.listing = "No rules\n"
    assert converge(kernel).changed
    assert not converge(kernel).changed


def test_records_that_somebody_switched_off_are_switched_on_again(kernel: Kernel) -> None:
    converge(kernel)
    kernel.enabled = "0"
    assert converge(kernel, check_mode=True).changed
    again = converge(kernel)
    assert (again.changed, again.missing, kernel.enabled) == (True, [], "1")
    assert not converge(kernel).changed


def test_records_that_another_file_switches_off_are_a_failure(kernel: Kernel) -> None:
    kernel.switch = "0"
    assert [entry["rule"] for entry in converge(kernel).missing] == ["-e 1"]


def test_a_rule_that_the_kernel_refuses_is_named(kernel: Kernel) -> None:
    kernel.refuses = RULES[1]
    assert [entry["rule"] for entry in converge(kernel).missing] == [RULES[1]]


def test_locked_rules_wait_for_the_boot(kernel: Kernel) -> None:
    kernel.enabled = "2"
    first = converge(kernel, immutable=True)
    assert (first.changed, first.reboot_needed) == (True, True)
    second = converge(kernel, immutable=True)
    assert (second.changed, second.reboot_needed) == (False, True)


def test_a_container_is_told_from_a_failure(kernel: Kernel) -> None:
    kernel.reachable = False
    outcome = converge(kernel)
    assert not outcome.applicable
    assert "Operation not permitted" in outcome.reason
    assert not kernel.path.exists()


def test_a_path_without_a_directory_is_left_out_with_the_reason() -> None:
    kept, left_out = audit_host.present(["-w /nonexistent/file -p wa", RULES[0]])
    assert kept == [RULES[0]]
    assert left_out == [{"rule": "-w /nonexistent/file -p wa", "reason": "/nonexistent does not exist"}]


def test_privileged_programs_are_found_without_following_links(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "program"
    program.parent.mkdir()
    program.write_text("")
    program.chmod(0o4755)
    (tmp_path / "plain").write_text("")
    (tmp_path / "link").symlink_to(program.parent)
    assert audit_host.privileged_programs(str(tmp_path)) == [str(program)]
    assert audit.parse(audit.privileged_rule(str(program))).path == str(program)
    with pytest.raises(audit.AuditRuleError, match="has a name that no audit rule can hold"):
        audit.privileged_rule("/usr/bin/a b")
