# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Owners and modes as they should be, compared with what is there. Pure."""

from __future__ import annotations

import fnmatch
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .host import Refused, parse_mode

FILE = "file"
DIRECTORY = "directory"
ANY_DEPTH = "**"
LENT_RIGHTS = stat.S_ISUID | stat.S_ISGID

Identify = Callable[[str], int]


@dataclass(frozen=True)
class Rule:
    """One entry of the argument `entries`."""

    pattern: str
    owner: str = ""
    group: str = ""
    mode: int | None = None
    at_most: bool = False
    kind: str = ""
    excepted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What is at a path. shared: somebody but root could have put another file's second name there."""

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    shared: bool = False


@dataclass(frozen=True)
class Change:
    """One path before and after."""

    before: Facts
    after: Facts

    @property
    def path(self) -> str:
        return self.before.path


def parse(entries: Sequence[Mapping[str, Any]], place: str = "entries") -> tuple[Rule, ...]:
    """Return the entries of the argument, defaults filled in. Raises Refused with everything that is wrong."""
    problems: list[str] = []
    rules: list[Rule] = []
    for number, entry in enumerate(entries):
        here = f"{place}[{number}] ({entry.get('path')})"
        try:
            rules.append(_rule(entry, here))
        except Refused as error:
            problems.append(str(error))
    if problems:
        raise Refused("; ".join(problems))
    return tuple(rules)


def _rule(entry: Mapping[str, Any], place: str) -> Rule:
    check_pattern(str(entry.get("path") or ""), f"{place}.path")
    for number, pattern in enumerate(entry.get("except") or ()):
        check_pattern(str(pattern), f"{place}.except[{number}]")
    mode = entry.get("mode")
    if entry.get("at_most") and not mode:
        raise Refused(f"{place}.at_most needs a mode, the most that may be granted")
    kind = str(entry.get("type") or "")
    if kind not in ("", FILE, DIRECTORY):
        raise Refused(f"{place}.type is {kind!r}; accepted are file and directory")
    if not any(entry.get(key) for key in ("owner", "group", "mode")):
        raise Refused(f"{place} has neither owner nor group nor mode")
    return Rule(
        pattern=str(entry["path"]),
        owner=str(entry.get("owner") or ""),
        group=str(entry.get("group") or ""),
        mode=parse_mode(str(mode), f"{place}.mode") if mode else None,
        at_most=bool(entry.get("at_most")),
        kind=kind,
        excepted=tuple(str(pattern) for pattern in entry.get("except") or ()),
    )


def check_pattern(pattern: str, place: str) -> None:
    """Raise Refused unless pattern is an absolute path, maybe with wildcards."""
    parts = pattern.split("/")
    if not pattern.startswith("/") or {"", ".", ".."} & set(parts[1:]) or "\0" in pattern or "\n" in pattern:
        raise Refused(f"{place} is {pattern!r}; a path is absolute, without //, . and ..")


def matches(path: str, pattern: str) -> bool:
    """Return whether a path fits a pattern as the shell reads it; ** stands for any number of directories."""
    return _fit(path.split("/")[1:], pattern.split("/")[1:])


def _fit(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == ANY_DEPTH:
        return any(_fit(parts[depth:], pattern[1:]) for depth in range(len(parts) + 1))
    return bool(parts) and fits(parts[0], pattern[0]) and _fit(parts[1:], pattern[1:])


def fits(name: str, pattern: str) -> bool:
    """Return whether a name fits one component of a pattern; only a dot matches a leading dot."""
    return fnmatch.fnmatchcase(name, pattern) and (not name.startswith(".") or pattern.startswith("."))


def applies(rule: Rule, facts: Facts) -> bool:
    """Return whether a rule is about what is at a path that its pattern has found."""
    return (not rule.kind or rule.kind == facts.kind) and not any(
        matches(facts.path, pattern) for pattern in rule.excepted
    )


def wished(rule: Rule, facts: Facts, user: Identify, group: Identify) -> Facts:
    """Return how the path should be. Raises Refused for an owner or a group that does not exist."""
    uid = user(rule.owner) if rule.owner else facts.uid
    gid = group(rule.group) if rule.group else facts.gid
    mode = facts.mode
    if rule.mode is not None and rule.at_most:
        # Only what is granted to read, write and enter is cut. A set-group-ID or sticky directory stays one: without
        # the sticky bit it would be open to more.
        mode = facts.mode & (rule.mode | 0o7000)
    elif rule.mode is not None:
        mode = rule.mode
    elif facts.kind == FILE and (uid, gid) != (facts.uid, facts.gid):
        # A new owner must not lend rights to a program that the old one wrote.
        mode = facts.mode & ~LENT_RIGHTS
    return replace(facts, uid=uid, gid=gid, mode=mode)


def plan(found: Iterable[tuple[Rule, Facts]], user: Identify, group: Identify) -> tuple[tuple[Change, ...], list[str]]:
    """Return what has to change, each path once, and a sentence for each path that must not be touched.

    Rules are applied in their order; a later one starts from what an earlier one makes of the path.
    """
    before: dict[str, Facts] = {}
    after: dict[str, Facts] = {}
    for rule, facts in found:
        if applies(rule, facts):
            before.setdefault(facts.path, facts)
            after[facts.path] = wished(rule, after.get(facts.path, facts), user, group)
    changes = [Change(before[path], after[path]) for path in before if before[path] != after[path]]
    left_out = [
        f"{change.path} has a second name elsewhere, and others than root can make names there; look at it by hand"
        for change in changes
        if change.before.shared
    ]
    return tuple(change for change in changes if not change.before.shared), left_out
