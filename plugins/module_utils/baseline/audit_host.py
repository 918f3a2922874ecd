# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring audit rules to a host and compare them with what its kernel holds."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..transaction import files
from . import audit

Run = Callable[[Sequence[str]], "tuple[int, str, str]"]
MODE = 0o600
# Programs in there belong to containers; the host's users cannot start them.
PRUNED = ("/proc", "/sys", "/dev", "/run", "/var/lib/docker", "/var/lib/containers", "/var/lib/containerd", "/snap")
# auditctl -s reports 2 when the rules are locked until the next boot.
LOCKED = "2"
OFF = "0"


@dataclass
class Outcome:
    """What was found and done."""

    applicable: bool = True
    reason: str = ""
    changed: bool = False
    reboot_needed: bool = False
    before: str = ""
    after: str = ""
    wished: list[str] = field(default_factory=list)
    missing: list[dict[str, str]] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)


def privileged_programs(root: str = "/") -> list[str]:
    """Return every program below root that runs with its owner's or group's rights, on file systems that allow it."""
    found = []
    for directory, names, entries in os.walk(root):
        names[:] = sorted(name for name in names if not _pruned(os.path.join(directory, name)))
        for name in entries:
            path = os.path.join(directory, name)
            try:
                mode = os.lstat(path).st_mode
            except OSError:
                continue
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID) and mode & 0o111:
                found.append(path)
    return sorted(found)


def _pruned(path: str) -> bool:
    if path in PRUNED or os.path.islink(path):
        return True
    try:
        return os.path.ismount(path) and bool(os.statvfs(path).f_flag & os.ST_NOSUID)
    except OSError:
        return True


def present(lines: Sequence[str]) -> tuple[list[str], list[dict[str, str]]]:
    """Return the rules whose paths the kernel can watch, and those that it would refuse, with the reason."""
    kept, left_out = [], []
    for line in lines:
        path = audit.parse(line).path
        if path and not os.path.exists(path) and not os.path.isdir(os.path.dirname(path)):
            left_out.append({"rule": line, "reason": f"{os.path.dirname(path)} does not exist"})
        else:
            kept.append(line)
    return kept, left_out


def converge(
    path: str,
    rules: Sequence[str],
    privileged: bool,
    backlog: int,
    immutable: bool,
    check_mode: bool,
    run: Run,
) -> Outcome:
    """Load the rules and return what came of it. Raises AuditRuleError for what is no rule, OSError for files."""
    outcome = Outcome()
    code, text, error = run(["auditctl", "-s"])
    if code != 0:
        outcome.applicable = False
        outcome.reason = f"the kernel's audit rules cannot be reached from here: {(error or text).strip() or code}"
        return outcome
    state = audit.status(text)
    lines = list(rules)
    if privileged:
        lines += [audit.privileged_rule(program) for program in privileged_programs()]
    outcome.wished, outcome.left_out = present(audit.without_doubles(lines))
    outcome.after = audit.render(outcome.wished, backlog, immutable)
    try:
        outcome.before = files.read_file(path).decode(errors="replace")
    except FileNotFoundError:
        outcome.before = ""
    locked = state.get("enabled") == LOCKED
    off = state.get("enabled") == OFF
    absent = audit.missing(outcome.wished, run(["auditctl", "-l"])[1])
    written = outcome.before == outcome.after and stat.S_IMODE(os.stat(path).st_mode) == MODE
    if written and not absent and (locked or not (immutable or off)):
        return outcome
    if locked and written:
        outcome.reboot_needed = True
        outcome.reason = "the rules are locked until the next boot, which loads the new ones"
        return outcome
    outcome.changed = True
    if check_mode:
        return outcome
    if not written:
        files.write_file(path, outcome.after.encode(), MODE)
    if locked:
        outcome.reboot_needed = True
        outcome.reason = "the rules are locked until the next boot, which loads the new ones"
        return outcome
    _code, output, errors = run(["augenrules", "--load"])
    refused = audit.refusals(f"{output}\n{errors}", _compiled())
    for line in audit.missing(outcome.wished, run(["auditctl", "-l"])[1]):
        reason = refused.get(line) or "another file of /etc/audit/rules.d ends the load before it"
        outcome.missing.append({"rule": line, "reason": reason})
    if audit.status(run(["auditctl", "-s"])[1]).get("enabled") == OFF:
        reason = "the kernel records nothing; a later file of /etc/audit/rules.d switches it off"
        outcome.missing.append({"rule": audit.SWITCHED_ON, "reason": reason})
    return outcome


def _compiled() -> str:
    """Return what augenrules made of all files; auditctl counts its lines."""
    try:
        return files.read_file("/etc/audit/audit.rules").decode(errors="replace")
    except OSError:
        return ""
