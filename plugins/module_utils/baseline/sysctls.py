# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel parameters as they should be, the one file that keeps them, and what would win at the next boot. Pure.

A key is held as its components below /proc/sys, since the name of an interface may hold a dot. `*` stands for every
interface that exists: `all` and `default` alone never reach those.
"""

from __future__ import annotations

import fnmatch
import re
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .host import Refused

Key = tuple[str, ...]
Names = Callable[[Key], Sequence[str]]

WILDCARD = "*"
HEADER = "# Written by bulwark.hardening; changes are lost at the next run."
UNCHANGED = "unchanged"
CHANGED = "changed"
REFUSED = "refused"
MISSING = "missing"
COMPONENT = re.compile(r"[^\s/=*#;]+")
LINE = re.compile(r"(-?)\s*([^\s=#;-][^=]*?)\s*(?:=\s*(.*?))?\s*")


@dataclass(frozen=True)
class Wish:
    """One entry of the argument `parameters`."""

    key: Key
    value: str


@dataclass(frozen=True)
class Target:
    """One key of this kernel, and the wish that it comes from."""

    key: Key
    value: str
    wish: Key


@dataclass(frozen=True)
class Assignment:
    """One line of a sysctl file. Without a value it keeps wildcards away from the key."""

    key: Key
    value: str | None
    source: str
    may_fail: bool = False


@dataclass(frozen=True)
class Overriding:
    """A file that gives a key another value later than ours."""

    key: str
    wished: str
    value: str
    source: str


def components(text: str) -> Key:
    """Return the components of a key as sysctl(8) splits it: the first of . and / separates, the other is a letter."""
    first = next((sign for sign in text if sign in "./"), ".")
    if first == ".":
        text = text.translate(str.maketrans("./", "/."))
    return tuple(text.split("/"))


def name(key: Key) -> str:
    """Return a key as sysctl(8) shows it."""
    return ".".join(part.replace(".", "/") for part in key)


def normal(value: str) -> str:
    """Return a value in a form in which the kernel's tabs and the user's spaces are equal."""
    return " ".join(value.split())


def parse(parameters: Mapping[str, t.Any]) -> tuple[Wish, ...]:
    """Return the wishes, those first that reset others. Raises Refused with everything that is wrong."""
    problems: list[str] = []
    wishes: dict[Key, Wish] = {}
    for text, value in parameters.items():
        key = components(str(text))
        wildcards = key.count(WILDCARD)
        names = [part for part in key if part != WILDCARD]
        if len(key) < 2 or wildcards > 1 or key[0] == WILDCARD or not all(_plain(part) for part in names):
            problems.append(f"parameters: {text!r} is not a key; one looks like net.ipv4.conf.*.rp_filter")
        elif isinstance(value, bool) or not isinstance(value, (str, int)):
            problems.append(f"parameters.{text} is {value!r}; a value is a number or a text")
        elif not str(value).strip() or re.search(r"[\n\0]", str(value)):
            problems.append(f"parameters.{text} is {value!r}; a value is one line that is not empty")
        elif key in wishes:
            problems.append(f"parameters: {text!r} stands twice, in two spellings; leave one")
        else:
            wishes[key] = Wish(key, normal(str(value)))
    if problems:
        raise Refused("; ".join(problems))
    # Whether packets are forwarded comes first: a change of it makes the kernel reset keys of the interfaces.
    return tuple(sorted(wishes.values(), key=lambda wish: wish.key[-1] not in ("ip_forward", "forwarding")))


def _plain(part: str) -> bool:
    return bool(COMPONENT.fullmatch(part)) and part not in (".", "..")


def expand(wishes: Sequence[Wish], names: Names) -> tuple[Target, ...]:
    """Return every key that the wishes are about; names lists what there is below some components.

    A key that is named wins over a wildcard. `all` and `default` come first, since they change the others.
    """
    explicit = {wish.key for wish in wishes}
    targets: dict[Key, Target] = {}
    for wish in wishes:
        if WILDCARD not in wish.key:
            targets[wish.key] = Target(wish.key, wish.value, wish.key)
            continue
        at = wish.key.index(WILDCARD)
        found = names(wish.key[:at])
        if not found:
            targets[wish.key] = Target(wish.key, wish.value, wish.key)
        for part in sorted(found, key=lambda entry: (entry != "all", entry != "default", entry)):
            key = (*wish.key[:at], part, *wish.key[at + 1 :])
            if key not in explicit:
                targets[key] = Target(key, wish.value, wish.key)
    return tuple(targets.values())


def render(wishes: Sequence[Wish], refused: frozenset[Key] = frozenset()) -> str:
    """Return the text of the file. A line for a key that the kernel refuses may fail at boot without harm."""
    explicit = {wish.key for wish in wishes}
    lines = [HEADER]
    for wish in wishes:
        sign = "-" if wish.key in refused else ""
        if WILDCARD in wish.key:
            at = wish.key.index(WILDCARD)
            # Scanners look for these two lines; the wildcard reaches the interfaces, also those that come later.
            for part in ("all", "default") if wish.key[at - 1] == "conf" else ("default",):
                key = (*wish.key[:at], part, *wish.key[at + 1 :])
                if key not in explicit:
                    lines.append(f"{sign}{name(key)} = {wish.value}")
        lines.append(f"{sign}{name(wish.key)} = {wish.value}")
    return "\n".join(lines) + "\n"


def read_lines(text: str, source: str) -> list[Assignment]:
    """Return what a sysctl file assigns, in its order."""
    found = []
    for line in text.splitlines():
        stripped = line.strip()
        match = LINE.fullmatch(stripped) if stripped and stripped[0] not in "#;" else None
        if match and (match[3] is not None or match[1]):
            value = None if match[3] is None else normal(match[3])
            found.append(Assignment(components(match[2]), value, source, bool(match[1])))
    return found


def marked(text: str, wishes: Sequence[Wish]) -> frozenset[Key]:
    """Return the wishes that the file says the kernel refused, as far as their value is still the same."""
    failing = {(line.key, line.value) for line in read_lines(text, "") if line.may_fail}
    return frozenset(wish.key for wish in wishes if (wish.key, wish.value) in failing)


def overriding(
    targets: Sequence[Target], persistent: Sequence[Assignment], later: Sequence[Assignment] = ()
) -> list[Overriding]:
    """Return which keys would have another value after a boot.

    persistent is every line that systemd-sysctl reads, in its order, ours included; later is what other programs set
    when they start. Of two lines for one key the later counts, and a line that names the key wins over a wildcard.
    """
    exact: dict[Key, Assignment] = {}
    wildcards: dict[Key, Assignment] = {}
    for line in persistent:
        kind = wildcards if any(sign in part for part in line.key for sign in "*?[") else exact
        if line.key in kind and kind[line.key].value == line.value:
            continue
        # The later one takes the later place.
        kind.pop(line.key, None)
        kind[line.key] = line
    found = []
    for target in targets:
        last = _last(target.key, exact, wildcards)
        for line in later:
            if line.key == target.key and line.value is not None:
                last = line
        if last is not None and last.value is not None and last.value != target.value:
            found.append(Overriding(name(target.key), target.value, last.value, last.source))
    return found


def _last(key: Key, exact: Mapping[Key, Assignment], wildcards: Mapping[Key, Assignment]) -> Assignment | None:
    if key in exact:
        return exact[key]
    matching = [
        line
        for pattern, line in wildcards.items()
        if len(pattern) == len(key) and all(fnmatch.fnmatchcase(part, sign) for part, sign in zip(key, pattern))
    ]
    return matching[-1] if matching else None
