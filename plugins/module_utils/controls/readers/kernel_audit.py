# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's audit system, as auditctl tells it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .. import conditions
from ..host import Host
from ..model import Observation, item, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader

LIST = ("auditctl", "-l")
STATUS = ("auditctl", "-s")
NO_RULES = "No rules"
UNSET = frozenset({"unset", "-1", "4294967295"})


@dataclass(frozen=True)
class Rule:
    """A rule in a form in which equal rules are equal, however they are written."""

    where: frozenset[str]
    calls: frozenset[str]
    fields: frozenset[str]
    key: str


def announce_audit(host: Host, _parameters: Parameters) -> None:
    """Ask for the rules and the state."""
    host.start(*LIST)
    host.start(*STATUS)


def parse(line: str) -> Rule | None:
    """Return the rule of a line as files or auditctl write it, None for one that is no rule."""
    words = shlex.split(line, comments=True)
    options = list(_options(words))
    where: set[str] = set()
    calls: set[str] = set()
    fields: set[str] = set()
    key = ""
    watched = False
    for option, value in options:
        if option in ("-a", "-A"):
            where |= set(value.split(","))
        elif option == "-S":
            calls |= set(value.split(","))
        elif option == "-k":
            key = value
        elif option == "-F" and value.startswith("key="):
            key = value[4:]
        elif option == "-F":
            fields.add(_field(value))
        elif option == "-C":
            fields.add(_comparison(value))
        elif option == "-w":
            watched = True
            fields.add(f"watch={_path(value)}")
        elif option == "-p":
            fields.add(f"perm={''.join(sorted(value))}")
    if not watched and not where:
        return None
    if watched:
        where = {"always", "exit"}
        if not any(one.startswith("perm=") for one in fields):
            fields.add("perm=arwx")
    # A watch is a rule on a path or a directory, for all calls.
    fields = {re.sub(r"^(?:path|dir)=", "watch=", one) if _is_watch(fields) else one for one in fields}
    if "all" in {call.lower() for call in calls}:
        calls = set()
    return Rule(frozenset(where), frozenset(calls), frozenset(fields), key)


def _is_watch(fields: Iterable[str]) -> bool:
    names = {re.split(r"[=!<>&]", one, maxsplit=1)[0] for one in fields}
    return names <= {"path", "dir", "watch", "perm", "arch"} and "perm" in names


def _options(words: list[str]) -> Iterable[tuple[str, str]]:
    words = list(words)
    while words:
        option = words.pop(0)
        if option.startswith("-") and words and option not in ("-D", "-c", "-i"):
            yield option, words.pop(0)


def _field(text: str) -> str:
    match = re.fullmatch(r"([\w]+)(!=|>=|<=|&=|=|<|>|&)(.*)", text)
    if not match:
        return text
    name, operator, value = match.groups()
    if name in ("path", "dir"):
        value = _path(value)
    if name == "perm":
        value = "".join(sorted(value))
    if value in UNSET:
        value = "unset"
    if name == "exit":
        value = value.upper().lstrip("-")
        value = {"13": "EACCES", "1": "EPERM"}.get(value, value)
    return f"{name}{operator}{value}"


def _comparison(text: str) -> str:
    """Return a comparison of two fields; which of them comes first does not matter."""
    match = re.fullmatch(r"(\w+)(!?=)(\w+)", text)
    return match[2].join(sorted((match[1], match[3]))) if match else text


def _path(text: str) -> str:
    return text.rstrip("/") or "/"


def audit_rules(host: Host, parameters: Parameters) -> Observation:
    """Check that the kernel has audit rules.

    ``rules``: lines as they stand in a rules file; each must be loaded, however the kernel spells it. With ``exact``
    nothing else may be.
    """
    loaded = {
        rule: line
        for rule, line in ((parse(line), line) for line in host.output(*LIST).splitlines() if line != NO_RULES)
        if rule
    }
    wanted = {rule: line for rule, line in ((parse(line), line) for line in parameters["rules"]) if rule}
    items = [
        item(line, rule in loaded, "loaded", "loaded" if rule in loaded else "not loaded")
        for rule, line in wanted.items()
    ]
    if parameters["exact"]:
        items += [item(line, False, "not loaded", "loaded") for rule, line in loaded.items() if rule not in wanted]
    found = observation(items, "auditctl -l", "no rule is asked for")
    if not any(entry.verdict.value == "fail" for entry in items) and items:
        text = f"{len(items)} rules loaded"
        return Observation(found.verdict, f"{len(items)} rules", text, "", found.source)
    return found


def audit_status(host: Host, parameters: Parameters) -> Observation:
    """Compare what ``auditctl -s`` says. ``values``: such as enabled, lost, backlog_limit, failure, each with a
    condition; ``daemon``: auditd holds the other end.
    """
    known = dict(line.split(None, 1) for line in host.output(*STATUS).splitlines() if len(line.split(None, 1)) == 2)
    items = []
    for name, condition in parameters["values"].items():
        value = known.get(name)
        items.append(
            item(name, conditions.met(condition, value), conditions.describe(condition), conditions.shown(value))
        )
    if parameters["daemon"]:
        process = known.get("pid", "0")
        items.append(item("auditd", process != "0", "connected", "connected" if process != "0" else "not connected"))
    return observation(items, "auditctl -s")


READERS: Mapping[str, Reader] = {
    "audit_rules": Reader(
        audit_rules,
        {"rules": Parameter("texts", required=True), "exact": Parameter("boolean", default=False)},
        announce_audit,
    ),
    "audit_status": Reader(
        audit_status,
        {"values": Parameter("conditions", required=True), "daemon": Parameter("boolean", default=True)},
        announce_audit,
    ),
}
