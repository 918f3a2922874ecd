# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's audit system, as auditctl tells it."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .. import conditions
from ..host import Host
from ..model import Item, Observation, Unreadable, Verdict, item, missing, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader
from .files import announce_walk, find_arguments

LIST = ("auditctl", "-l")
STATUS = ("auditctl", "-s")
NO_RULES = "No rules"
UNSET = frozenset({"unset", "-1", "4294967295"})
# What `auditctl -s` calls rules that are locked until the next boot, and what is compiled at that boot.
LOCKED = "2"
RULES_FILES = "/etc/audit/rules.d/*.rules"
# All that a rule for a program may ask for: runs by people, as opposed to services.
BY_PEOPLE = frozenset({"auid>=1000", "auid!=unset"})


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

    ``rules``: lines as they stand in a rules file; each must be loaded, however the kernel spells it. A watch in a
    directory that this host does not have is not applicable. Where rules are locked, one that comes with the next boot
    is pending. With ``exact`` nothing else may be.
    """
    loaded = _loaded(host)
    wanted = {rule: line for rule, line in ((parse(line), line) for line in parameters["rules"]) if rule}
    items = [_wanted(host, rule, line, rule in loaded) for rule, line in wanted.items()]
    if parameters["exact"]:
        items += [item(line, False, "not loaded", "loaded") for rule, line in loaded.items() if rule not in wanted]
    found = observation(items, "auditctl -l", "no rule is asked for")
    if found.verdict is Verdict.PASS:
        passed = sum(entry.verdict is Verdict.PASS for entry in items)
        return Observation(found.verdict, f"{passed} rules", f"{passed} rules loaded", found.reason, found.source)
    return found


def _loaded(host: Host) -> dict[Rule, str]:
    lines = [line for line in host.output(*LIST).splitlines() if line != NO_RULES]
    return {rule: line for rule, line in ((parse(line), line) for line in lines) if rule}


def _wanted(host: Host, rule: Rule, line: str, loaded: bool) -> Item:
    if loaded:
        return item(line, True, "loaded", "loaded")
    directory = _watched_directory(rule)
    if directory and not host.exists(directory):
        return missing(line, f"there is no {directory}")
    if _comes_with_next_boot(host, rule):
        reason = "the rules are locked; it is loaded at the next boot"
        return Item(line, Verdict.PENDING, "loaded", "not loaded", reason)
    return item(line, False, "loaded", "not loaded")


def _watched_directory(rule: Rule) -> str:
    """Return the directory in which a watched path lies, empty if the rule watches none."""
    path = next((one.partition("=")[2] for one in rule.fields if one.startswith(("watch=", "path="))), "")
    return posixpath.dirname(path)


def _comes_with_next_boot(host: Host, rule: Rule) -> bool:
    return _status(host).get("enabled") == LOCKED and rule in _written(host)


def _written(host: Host) -> set[Rule]:
    """Return the rules that the next boot loads."""

    def make() -> set[Rule]:
        lines = [line for path in host.glob(RULES_FILES) for line in host.lines(path)]
        return {rule for rule in map(parse, lines) if rule}

    found: set[Rule] = host.once("written audit rules", make)
    return found


def _status(host: Host) -> dict[str, str]:
    return dict(line.split(None, 1) for line in host.output(*STATUS).splitlines() if len(line.split(None, 1)) == 2)


# Programs that lend rights


def announce_privileged(host: Host, parameters: Parameters) -> None:
    """Ask for the rules, the state and the programs."""
    announce_audit(host, parameters)
    announce_walk(host, parameters)


def audit_privileged(host: Host, parameters: Parameters) -> Observation:
    """Check that the kernel records each run, by a person, of every program with a SUID or SGID bit.

    What counts are the programs that the host has now, on file systems where the bits have effect; ``skip``:
    directories left out, container storage always is. A program that came after the rules fails.
    """
    answer = host.run(*find_arguments(host, parameters["skip"]))
    if not answer.output and not answer.ok:
        raise Unreadable(f"find failed: {answer.complaint()}")
    without_rights = _mounts_without_set_id(host)
    records = [record.split("\t", 4) for record in answer.output.split("\0") if record]
    programs = sorted(
        path
        for kind, mode, _uid, _gid, path in records
        if kind == "f" and int(mode, 8) & 0o6000 and int(mode, 8) & 0o111
        if not without_rights.get(_mount_of(path, without_rights), False)
    )
    loaded = _recorded(_loaded(host))
    locked = _status(host).get("enabled") == LOCKED
    later = _recorded(_written(host)) if locked else set()
    items = []
    for path in programs:
        if path not in loaded and path in later:
            reason = "the rules are locked; its rule is loaded at the next boot"
            items.append(Item(path, Verdict.PENDING, "recorded", "not recorded", reason))
        else:
            items.append(item(path, path in loaded, "recorded", "recorded" if path in loaded else "not recorded"))
    found = observation(items, "find, auditctl -l", "no program has a SUID or SGID bit")
    if found.verdict is Verdict.PASS:
        return Observation(found.verdict, "all recorded", f"{len(items)} programs recorded", "", found.source)
    return found


def _recorded(rules: Iterable[Rule]) -> set[str]:
    """Return the programs of which every run by a person is recorded."""
    found = set()
    for rule in rules:
        paths = [one.partition("=")[2] for one in rule.fields if one.startswith(("path=", "watch="))]
        permissions = {letter for one in rule.fields if one.startswith("perm=") for letter in one[5:]}
        limits = {one for one in rule.fields if not one.startswith(("path=", "watch=", "perm="))}
        always = rule.where == {"always", "exit"} and not rule.calls
        if always and len(paths) == 1 and limits <= BY_PEOPLE and ("x" in permissions or not permissions):
            found.add(paths[0])
    return found


def _mounts_without_set_id(host: Host) -> dict[str, bool]:
    """Return for each mount point whether the bits have no effect below it; of mounts on one place the last counts."""
    found = {"/": False}
    for line in host.lines("/proc/self/mountinfo"):
        fields = line.split()
        if len(fields) > 5:
            found[fields[4].replace("\\040", " ")] = "nosuid" in fields[5].split(",")
    return found


def _mount_of(path: str, mounts: Iterable[str]) -> str:
    return max((point for point in mounts if path.startswith(f"{point.rstrip('/')}/")), key=len)


def audit_status(host: Host, parameters: Parameters) -> Observation:
    """Compare what ``auditctl -s`` says. ``values``: such as enabled, lost, backlog_limit, failure, each with a
    condition; ``daemon``: auditd holds the other end.
    """
    known = _status(host)
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
    "audit_privileged": Reader(audit_privileged, {"skip": Parameter("texts", default=())}, announce_privileged),
    "audit_status": Reader(
        audit_status,
        {"values": Parameter("conditions", required=True), "daemon": Parameter("boolean", default=True)},
        announce_audit,
    ),
}
