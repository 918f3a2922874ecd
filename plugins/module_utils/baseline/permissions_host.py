# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what patterns are about and set owners and modes, without following a link anywhere."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..transaction import files as safe_files
from ..transaction.session import session_owner
from . import accounts, permissions, way_in
from .host import (
    Done,
    Refused,
    foreseen_group_id,
    foreseen_user_id,
    group_id,
    group_name,
    in_words,
    link_in,
    run,
    user_id,
    user_name,
)
from .permissions import ANY_DEPTH, LENT_RIGHTS, Change, Facts

Run = Callable[[Sequence[str]], Done]
STATOVERRIDE = "/usr/bin/dpkg-statoverride"


@dataclass(frozen=True)
class Outcome:
    """What was or would be done; problems are paths that could not be set."""

    changes: tuple[Change, ...]
    overrides: tuple[str, ...]
    left_out: tuple[str, ...]
    problems: tuple[str, ...]


def converge(
    entries: Sequence[Mapping[str, Any]], stripped: Sequence[str], check_mode: bool, runner: Run = run
) -> Outcome:
    """Set owners and modes, and take lent rights off the programs in stripped. Raises Refused before any change."""
    rules = permissions.parse(entries)
    for number, path in enumerate(stripped):
        permissions.check_pattern(path, f"suid_stripped[{number}]")
    notes: list[str] = []
    found = [(rule, facts) for rule in rules for facts in find(rule.pattern, notes)]
    ids = (foreseen_user_id, foreseen_group_id) if check_mode else (user_id, group_id)
    changes, left_out = permissions.plan(found, *ids)
    lending = [facts for path in stripped for facts in find(path, notes) if facts.kind == permissions.FILE]
    strips = tuple(Change(facts, _without(facts)) for facts in lending if facts.mode & LENT_RIGHTS)
    overrides = tuple(_overrides(lending, runner))
    people = who_log_in() if changes or strips else ()
    changes = (*(change for change in changes if change.path not in {strip.path for strip in strips}), *strips)
    harm = [problem for change in changes for problem in [_harm(change, people)] if problem]
    if harm:
        raise Refused("; ".join([*harm, "nothing was changed"]))
    problems: list[str] = []
    if not check_mode:
        problems += [problem for change in changes for problem in _set(change)]
        problems += [problem for facts in lending if facts.path in overrides for problem in _override(facts, runner)]
    return Outcome(changes, overrides, tuple(dict.fromkeys([*notes, *left_out])), tuple(problems))


def who_log_in() -> tuple[way_in.Person, ...]:
    """Return everybody who has keys in their home, and whoever is connected now, though a directory may hide them."""
    entries = {entry.pw_name: entry for entry in pwd.getpwall()}
    with contextlib.suppress(KeyError):
        connected = pwd.getpwuid(session_owner())
        entries.setdefault(connected.pw_name, connected)
    found = []
    for entry in entries.values():
        home = os.path.realpath(entry.pw_dir)
        if entry.pw_shell not in accounts.NO_LOGIN and any(
            name.startswith("authorized_keys") for name in _names_in(f"{home}/.ssh")
        ):
            gids = frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid))
            found.append(way_in.Person(entry.pw_name, entry.pw_uid, gids, home))
    return tuple(found)


def _names_in(folder: str) -> list[str]:
    return [entry.name for entry in _entries(folder)]


def _harm(change: Change, people: Sequence[way_in.Person]) -> str:
    before, after = (way_in.Access(facts.mode, facts.uid, facts.gid) for facts in (change.before, change.after))
    return way_in.permission_problem(change.path, change.before.kind == permissions.DIRECTORY, before, after, people)


def _without(facts: Facts) -> Facts:
    return replace(facts, mode=facts.mode & ~LENT_RIGHTS)


def find(pattern: str, notes: list[str]) -> Iterator[Facts]:
    """Return what a pattern finds, files and directories; a link that is named in full goes to notes."""
    parts = pattern.split("/")[1:]
    literal = 0
    while literal < len(parts) and not any(sign in parts[literal] for sign in "*?["):
        literal += 1
    start = "/" + "/".join(parts[:literal])
    link = link_in(start)
    if link:
        notes.append(f"{start} is left as it is: {link} is a symbolic link; name what it points to")
        return
    seen = set()
    for path in _walk(start if literal else "", parts[literal:]):
        facts = _facts(path)
        if facts and path not in seen:
            seen.add(path)
            yield facts


def _walk(path: str, parts: Sequence[str]) -> Iterator[str]:
    if not parts:
        yield path or "/"
        return
    if parts[0] == ANY_DEPTH:
        yield from _walk(path, parts[1:])
        for entry in _entries(path):
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(f"{path}/{entry.name}", parts)
        return
    for entry in _entries(path):
        if permissions.fits(entry.name, parts[0]) and (len(parts) == 1 or entry.is_dir(follow_symlinks=False)):
            yield from _walk(f"{path}/{entry.name}", parts[1:])


def _entries(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path or "/") as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _facts(path: str) -> Facts | None:
    try:
        found = os.lstat(path)
        above = os.lstat(os.path.dirname(path))
    except OSError:
        return None
    if stat.S_ISREG(found.st_mode):
        kind = permissions.FILE
    elif stat.S_ISDIR(found.st_mode):
        kind = permissions.DIRECTORY
    else:
        return None
    roots = above.st_uid == 0 and not above.st_mode & 0o022
    shared = kind == permissions.FILE and found.st_nlink > 1 and not roots
    return Facts(path, kind, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, shared)


def _set(change: Change) -> list[str]:
    """Make a path what it should be, through a descriptor, and return what went wrong."""
    parent, name = ("/", ".") if change.path == "/" else safe_files.split(change.path)
    flags = safe_files.DIRECTORY if change.before.kind == permissions.DIRECTORY else safe_files.READ
    try:
        with safe_files.directory(parent) as above:
            descriptor = os.open(name, flags, dir_fd=above)
            try:
                found = os.fstat(descriptor)
                now = (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
                if now != (change.before.mode, change.before.uid, change.before.gid):
                    return [f"{change.path} was changed by somebody else meanwhile; run again"]
                if now[1:] != (change.after.uid, change.after.gid):
                    os.fchown(descriptor, change.after.uid, change.after.gid)
                # After the owner, since a new owner clears lent rights.
                os.fchmod(descriptor, change.after.mode)
            finally:
                os.close(descriptor)
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{change.path} cannot be set: {in_words(error)}"]
    return []


def _overrides(lending: Sequence[Facts], runner: Run) -> Iterator[str]:
    """Return the programs for which dpkg does not yet know that their rights were taken."""
    if not lending or not os.access(STATOVERRIDE, os.X_OK):
        return
    listed = runner([STATOVERRIDE, "--list"])
    known = {
        words[3]: words[2] for words in (line.split(None, 3) for line in listed.output.splitlines()) if len(words) == 4
    }
    for facts in lending:
        modes = [known[name] for name in _names(facts.path) if name in known]
        if not modes or any(int(mode, 8) & LENT_RIGHTS for mode in modes):
            yield facts.path


def _names(path: str) -> tuple[str, ...]:
    """Return the names under which dpkg may know a file: /bin and /usr/bin are one where /usr is merged."""
    return (path, path[len("/usr") :] if path.startswith("/usr/") else f"/usr{path}")


def _override(facts: Facts, runner: Run) -> list[str]:
    """Tell dpkg the mode, else the next update of the package gives the rights back."""
    names = [name for name in _names(facts.path) if runner(["dpkg-query", "--search", name]).ok] or [facts.path]
    runner([STATOVERRIDE, "--quiet", "--remove", names[0]])
    mode = f"{_without(facts).mode:04o}"
    added = runner([STATOVERRIDE, "--add", user_name(facts.uid), group_name(facts.gid), mode, names[0]])
    return [] if added.ok else [f"dpkg does not keep the mode of {facts.path}: {added.said}"]


def shown(facts: Facts) -> dict[str, str]:
    """Return facts as a person reads them."""
    return {"owner": user_name(facts.uid), "group": group_name(facts.gid), "mode": f"{facts.mode:04o}"}
