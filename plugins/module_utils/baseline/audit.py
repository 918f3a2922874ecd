# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Audit rules as the kernel understands them: parsed, rendered without doubles, compared with what is loaded.

``auditctl -R`` stops at the first rule that the kernel refuses, an exact double included, unless ``-c`` comes first;
auditd looks healthy all the same. So the loaded list is the only proof. Pure.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LISTS = ("exit", "user", "task", "exclude", "filesystem", "io_uring")
ACTIONS = ("always", "never")
COMPARISON = re.compile(r"^([a-z0-9_]+)(&=|!=|<=|>=|=|<|>|&)(.+)$")
PERMISSIONS = re.compile(r"^[rwxa]{1,4}$")
KEY = re.compile(r"^[!-~]{1,31}$")
SWITCHED_ON = "-e 1"
# 2^32-1 and -1 are how the kernel writes an audit user that was never set.
UNSET = {"unset": "-1", "4294967295": "-1"}


class AuditRuleError(ValueError):
    """A line is no audit rule; the message says what is wrong with it."""


@dataclass(frozen=True)
class Rule:
    """What a rule means, in a form in which two rules that the kernel takes for the same are equal."""

    list: str
    action: str
    syscalls: frozenset[str]
    conditions: frozenset[str]

    @property
    def path(self) -> str:
        """The file or directory that the rule watches, or "" for none."""
        return next((c.partition("=")[2] for c in self.conditions if c.startswith(("path=", "dir="))), "")


def parse(line: str) -> Rule:
    """Return the rule that a line of a rules file or of ``auditctl -l`` stands for. Raises AuditRuleError."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise AuditRuleError(f"{line!r} is not an audit rule: {error}") from None
    if words[:1] == ["-w"]:
        return _watch(line, words)
    if words[:1] in (["-a"], ["-A"]):
        return _rule(line, words)
    raise AuditRuleError(f"{line!r} is not an audit rule; it begins with -a or -w")


def _pairs(line: str, words: Sequence[str]) -> list[tuple[str, str]]:
    if len(words) % 2:
        raise AuditRuleError(f"{line!r} is not an audit rule: {words[-1]} has no value")
    return list(zip(words[::2], words[1::2]))


def _watch(line: str, words: Sequence[str]) -> Rule:
    conditions = {"perm=" + _permissions(line, "rwxa")}
    for option, value in _pairs(line, words):
        if option == "-w":
            if not value.startswith("/"):
                raise AuditRuleError(f"{line!r} watches {value!r}, which is no absolute path")
            conditions.add("path=" + (value.rstrip("/") or "/"))
        elif option == "-p":
            conditions = {c for c in conditions if not c.startswith("perm=")} | {"perm=" + _permissions(line, value)}
        elif option == "-k":
            conditions.add("key=" + _key(line, value))
        else:
            raise AuditRuleError(f"{line!r} has {option}, which a watch does not take; it takes -w, -p and -k")
    return Rule("exit", "always", frozenset({"all"}), frozenset(conditions))


def _rule(line: str, words: Sequence[str]) -> Rule:
    where, action = "", ""
    syscalls: set[str] = set()
    conditions: set[str] = set()
    for option, value in _pairs(line, words):
        if option in ("-a", "-A"):
            parts = value.split(",")
            where = next((part for part in parts if part in LISTS), "")
            action = next((part for part in parts if part in ACTIONS), "")
        elif option == "-S":
            syscalls.update(value.split(","))
        elif option == "-F":
            conditions.add(_condition(line, value))
        elif option == "-C":
            left, sign, right = _comparison(line, value)
            conditions.add(f"{min(left, right)}{sign}{max(left, right)}")
        elif option == "-k":
            conditions.add("key=" + _key(line, value))
        elif option == "-p":
            conditions.add("perm=" + _permissions(line, value))
        else:
            raise AuditRuleError(f"{line!r} has {option}; accepted are -a, -S, -F, -C, -k and -p")
    if not where or not action:
        raise AuditRuleError(f"{line!r} names no list and action, as in -a always,exit")
    if not conditions and not syscalls:
        raise AuditRuleError(f"{line!r} has no condition; it would record everything")
    return Rule(where, action, frozenset(syscalls or {"all"}), frozenset(conditions))


def _comparison(line: str, value: str) -> tuple[str, str, str]:
    found = COMPARISON.match(value)
    if not found:
        raise AuditRuleError(f"{line!r}: {value!r} is no comparison such as auid>=1000")
    return found[1], found[2], found[3]


def _condition(line: str, value: str) -> str:
    field, sign, right = _comparison(line, value)
    if field in ("auid", "loginuid", "uid", "euid"):
        right = UNSET.get(right, right)
    if field == "loginuid":
        field = "auid"
    if field == "perm":
        right = _permissions(line, right)
    if field in ("path", "dir"):
        # The kernel keeps which of the two it is; whoever watches means the same by both.
        field, right = "path", right.rstrip("/") or "/"
    if field == "key":
        right = _key(line, right)
    return f"{field}{sign}{right}"


def _permissions(line: str, value: str) -> str:
    if not PERMISSIONS.match(value):
        raise AuditRuleError(f"{line!r}: permissions are letters of rwxa, got {value!r}")
    return "".join(letter for letter in "rwxa" if letter in value)


def _key(line: str, value: str) -> str:
    if not KEY.match(value):
        raise AuditRuleError(f"{line!r}: a key has 1 to 31 visible characters, got {value!r}")
    return value


def without_doubles(lines: Iterable[str]) -> list[str]:
    """Return the lines, each meaning once, in their order."""
    seen: dict[Rule, str] = {}
    for line in lines:
        seen.setdefault(parse(line), line.strip())
    return list(seen.values())


def privileged_rule(program: str) -> str:
    """Return the rule that records each run of a program which takes another user's rights."""
    # Quoted, since rules files split at spaces; auditctl has no escape for a quote, so such a name is refused.
    if re.search(r"[\s\"'\\]", program):
        raise AuditRuleError(f"the privileged program {program!r} has a name that no audit rule can hold")
    return f"-a always,exit -F path={program} -F perm=x -F auid>=1000 -F auid!=unset -k privileged"


def render(lines: Sequence[str], backlog: int, immutable: bool) -> str:
    """Return the text of the rules file."""
    head = [
        "# Written by bulwark.hardening; changes are lost at the next run.",
        f"-b {backlog}",
        "# A rule that the kernel refuses must not keep those after it from being loaded.",
        "-c",
    ]
    # Rules record nothing while the switch is off, and auditd runs on all the same. augenrules moves -e to the end.
    return "\n".join([*head, *lines, "-e 2" if immutable else SWITCHED_ON]) + "\n"


def loaded(listing: str) -> set[Rule]:
    """Return the rules of ``auditctl -l``; what this module cannot read is not one of its rules."""
    rules = set()
    for line in listing.splitlines():
        if line.startswith(("-a", "-w")):
            try:
                rules.add(parse(line))
            except AuditRuleError:
                continue
    return rules


def missing(lines: Iterable[str], listing: str) -> list[str]:
    """Return the wished lines that the kernel does not have."""
    present = loaded(listing)
    return [line for line in lines if parse(line) not in present]


def status(text: str) -> dict[str, str]:
    """Return the fields of ``auditctl -s``."""
    return {name: value.strip() for name, _space, value in (line.partition(" ") for line in text.splitlines()) if value}


def refusals(output: str, text: str) -> dict[str, str]:
    """Return why auditctl refused a line of the loaded text, by line.

    auditctl writes the reason first and the number of the line after it.
    """
    reasons: dict[str, str] = {}
    lines = text.splitlines()
    reason = ""
    for line in output.splitlines():
        found = re.match(r"There was an error in line (\d+)", line)
        if found and 0 < int(found[1]) <= len(lines):
            reasons[lines[int(found[1]) - 1].strip()] = reason
        elif not found:
            reason = line.strip()
    return reasons
