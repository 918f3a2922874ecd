# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's audit system."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.host import Answer
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import Unreadable
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.readers.kernel_audit import parse

from ..conftest import MakeHost


@pytest.mark.parametrize(
    ("written", "loaded"),
    [
        ("-w /etc/sudoers -p wa -k scope", "-w /etc/sudoers -p wa -k scope"),
        ("-w /etc/sudoers.d/ -p aw -k scope", "-w /etc/sudoers.d -p wa -k scope"),
        ("-w /etc/group", "-w /etc/group -p rwxa"),
        ("-w /etc/sudoers -p wa -k scope", "-a always,exit -S all -F path=/etc/sudoers -F perm=wa -F key=scope"),
        ("-w /etc/sudoers.d -p wa -k scope", "-a always,exit -F dir=/etc/sudoers.d -F perm=wa -F key=scope"),
        (
            "-a always,exit -F arch=b64 -S adjtimex,settimeofday -k time-change",
            "-a always,exit -F arch=b64 -S settimeofday,adjtimex -F key=time-change",
        ),
        (
            "-a exit,always -F arch=b64 -S chmod -S fchmod -F auid>=1000 -F auid!=unset -k perm_mod",
            "-a always,exit -F arch=b64 -S chmod,fchmod -F auid>=1000 -F auid!=-1 -F key=perm_mod",
        ),
        (
            "-a always,exit -F arch=b64 -S openat -F exit=-EACCES -F auid!=4294967295 -k access",
            "-a always,exit -F arch=b64 -S openat -F exit=-EACCES -F auid!=-1 -F key=access",
        ),
        (
            "-a always,exit -F arch=b64 -C euid!=uid -F auid!=unset -S execve -k user_emulation",
            "-a always,exit -F arch=b64 -S execve -C uid!=euid -F auid!=-1 -F key=user_emulation",
        ),
    ],
)
def test_rules_are_the_same_however_they_are_spelled(make_host: MakeHost, written: str, loaded: str) -> None:
    assert parse(written) == parse(loaded)
    seen = make_host({}, {"auditctl -l": f"{loaded}\n", "auditctl -s": ""}).observe(
        "audit_rules", rules=[written], exact=True
    )
    assert seen.verdict == "pass"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-w /etc/sudoers -p wa -k a", "-w /etc/sudoers -p w -k a"),
        ("-w /etc/sudoers -p wa -k a", "-w /etc/sudoers -p wa -k b"),
        ("-a always,exit -F arch=b64 -S chmod -k a", "-a always,exit -F arch=b32 -S chmod -k a"),
        ("-a always,exit -F arch=b64 -S chmod -k a", "-a always,exit -F arch=b64 -S chown -k a"),
        ("-a always,exit -F auid>=1000 -S chmod", "-a always,exit -F auid>=500 -S chmod"),
        ("-a never,exit -S chmod", "-a always,exit -S chmod"),
    ],
)
def test_rules_that_differ_are_not_taken_for_one(one: str, other: str) -> None:
    assert parse(one) != parse(other)


RULES = ["-w /etc/passwd -p wa -k identity", "-w /etc/group -p wa -k identity", "# a comment", "-D", "-b 8192", "-e 2"]


@pytest.mark.parametrize(
    ("loaded", "exact", "verdict", "observed"),
    [
        (RULES[:2], True, "pass", "2 rules loaded"),
        # auditd runs, but the load stopped after the first rule.
        (RULES[:1], False, "fail", "-w /etc/group -p wa -k identity not loaded"),
        (["No rules"], False, "fail", "not loaded"),
        ([*RULES[:2], "-w /tmp -p x"], False, "pass", ""),
        ([*RULES[:2], "-w /tmp -p x"], True, "fail", "-w /tmp -p x loaded"),
    ],
)
def test_what_the_kernel_has(make_host: MakeHost, loaded: list[str], exact: bool, verdict: str, observed: str) -> None:
    host = make_host({"/etc/passwd": ""}, {"auditctl -l": "\n".join(loaded), "auditctl -s": ""})
    seen = host.observe("audit_rules", rules=RULES, exact=exact)
    assert seen.verdict == verdict
    assert observed in seen.observed


STATUS = "enabled 1\nfailure 1\npid 412\nrate_limit 0\nbacklog_limit 8192\nlost 0\n"


@pytest.mark.parametrize(
    ("status", "values", "verdict", "observed"),
    [
        (STATUS, {"enabled": {"one_of": [1, 2]}, "lost": 0, "backlog_limit": {"at_least": 8192}}, "pass", ""),
        (STATUS.replace("lost 0", "lost 7"), {"lost": 0}, "fail", "lost 7"),
        (STATUS, {"enabled": 2}, "fail", "enabled 1"),
        (STATUS.replace("412", "0"), {"enabled": 1}, "fail", "auditd not connected"),
        (STATUS, {"nosuch": 1}, "fail", "nosuch not set"),
    ],
)
def test_the_state_of_audit(
    make_host: MakeHost, status: str, values: dict[str, Any], verdict: str, observed: str
) -> None:
    seen = make_host({}, {"auditctl -s": status, "auditctl -l": ""}).observe("audit_status", values=values)
    assert seen.verdict == verdict
    assert observed in seen.observed


def test_a_kernel_that_refuses_is_unknown(make_host: MakeHost) -> None:
    refused = Answer(4, "", "Error - You must be root to run this program.\n")
    with pytest.raises(Unreadable, match="You must be root"):
        make_host({}, {"auditctl": refused}).observe("audit_rules", rules=RULES)


def test_a_watch_in_a_directory_that_is_not_there_is_no_failure(make_host: MakeHost) -> None:
    host = make_host({"/etc/passwd": "", "/etc/netplan": None}, {"auditctl -l": f"{RULES[0]}\n", "auditctl -s": STATUS})
    seen = host.observe("audit_rules", rules=[RULES[0], "-w /nowhere/file -p wa -k x"])
    assert seen.verdict == "pass"
    assert "there is no /nowhere" in seen.reason
    seen = host.observe("audit_rules", rules=[RULES[0], "-w /etc/later -p wa -k x"])
    assert seen.verdict == "fail"


@pytest.mark.parametrize(("enabled", "verdict"), [("2", "pending"), ("1", "fail")])
def test_a_rule_that_waits_behind_the_lock_is_pending(make_host: MakeHost, enabled: str, verdict: str) -> None:
    files = {"/etc/group": "", "/etc/audit/rules.d/50-bulwark.rules": "\n".join(RULES)}
    status = STATUS.replace("enabled 1", f"enabled {enabled}")
    seen = make_host(files, {"auditctl -l": f"{RULES[0]}\n", "auditctl -s": status}).observe("audit_rules", rules=RULES)
    assert seen.verdict == verdict


def test_behind_the_lock_only_what_is_written_is_pending(make_host: MakeHost) -> None:
    status = STATUS.replace("enabled 1", "enabled 2")
    host = make_host({"/etc/group": ""}, {"auditctl -l": f"{RULES[0]}\n", "auditctl -s": status})
    assert host.observe("audit_rules", rules=RULES).verdict == "fail"


def privileged(path: str, rest: str = "-F perm=x -F auid>=1000 -F auid!=-1 -F key=privileged") -> str:
    return f"-a always,exit -S all -F path={path} {rest}"


FOUND = "f\t4755\t0\t0\t/usr/bin/su\0f\t2755\t0\t42\t/usr/bin/chage\0"
BOTH = [privileged("/usr/bin/su"), privileged("/usr/bin/chage")]


@pytest.mark.parametrize(
    ("found", "loaded", "verdict", "observed"),
    [
        (FOUND, BOTH, "pass", "2 programs recorded"),
        (FOUND, [*BOTH, privileged("/usr/bin/gone")], "pass", "2 programs recorded"),
        (FOUND, BOTH[:1], "fail", "/usr/bin/chage not recorded"),
        (FOUND, ["No rules"], "fail", "/usr/bin/su not recorded"),
        # A rule that sees only some runs is none.
        (FOUND, [BOTH[0], privileged("/usr/bin/chage", "-F perm=wa -F key=k")], "fail", "/usr/bin/chage not recorded"),
        (FOUND, [BOTH[0], privileged("/usr/bin/chage", "-F perm=x -F auid=1001")], "fail", "/usr/bin/chage"),
        (FOUND, [BOTH[0], BOTH[1].replace("always", "never")], "fail", "/usr/bin/chage not recorded"),
        (FOUND, [BOTH[0], "-w /usr/bin/chage -p x -k any"], "pass", "2 programs recorded"),
        # Neither a directory, a file that nobody runs, nor one on a file system without such bits lends rights.
        (
            FOUND + "d\t2755\t0\t0\t/srv\0f\t4644\t0\t0\t/opt/data\0f\t4755\t0\t0\t/home/x/su\0",
            BOTH,
            "pass",
            "2 programs",
        ),
        ("f\t0666\t0\t0\t/srv/open\0", BOTH, "not_applicable", ""),
    ],
)
def test_programs_that_lend_rights_are_recorded(
    make_host: MakeHost, found: str, loaded: list[str], verdict: str, observed: str
) -> None:
    mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /home rw,nosuid - ext4 /dev/b rw\n"
    programs = {"find": found, "auditctl -l": "\n".join(loaded), "auditctl -s": STATUS}
    seen = make_host({"/proc/self/mountinfo": mounts}, programs).observe("audit_privileged")
    assert seen.verdict == verdict
    assert observed in seen.observed


def test_a_program_that_waits_behind_the_lock_is_pending(make_host: MakeHost) -> None:
    files = {"/etc/audit/rules.d/50-bulwark.rules": "\n".join(BOTH)}
    programs = {"find": FOUND, "auditctl -l": BOTH[0], "auditctl -s": STATUS.replace("enabled 1", "enabled 2")}
    seen = make_host(files, programs).observe("audit_privileged")
    assert (seen.verdict, seen.observed) == ("pending", "/usr/bin/chage not recorded")


def test_a_search_that_fails_is_unknown(make_host: MakeHost) -> None:
    programs = {"find": Answer(1, "", "find: no\n"), "auditctl -l": "", "auditctl -s": STATUS}
    with pytest.raises(Unreadable, match="find: no"):
        make_host({}, programs).observe("audit_privileged")
