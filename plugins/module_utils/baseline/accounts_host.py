# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the local accounts and change them with the system's programs; no link in a home is ever followed."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..transaction import files as safe_files
from ..transaction.session import session_owner
from . import accounts, files, files_host
from .accounts import Account, Change, Homes
from .host import Done, Refused, in_words, read_text, run

Run = Callable[[Sequence[str]], Done]
SET_ASIDE = ".set-aside-by-bulwark"


@dataclass(frozen=True)
class HomeChange:
    """A file or a directory of a person: less granted, or renamed when mode is None."""

    account: Account
    name: str
    before: int
    mode: int | None

    @property
    def path(self) -> str:
        return f"{self.account.home}/{self.name}" if self.name else self.account.home


@dataclass(frozen=True)
class Outcome:
    """What was or would be done; problems are changes that did not succeed."""

    changes: tuple[Change, ...]
    file_changes: tuple[files.Change, ...]
    homes: tuple[HomeChange, ...]
    kept: tuple[str, ...]
    problems: tuple[str, ...]


def converge(parameters: Mapping[str, Any], check_mode: bool, runner: Run = run) -> Outcome:
    """Make accounts, ages and homes what the parameters say. Raises Refused before any change."""
    policy = accounts.parse(parameters)
    shell = policy.system.shell
    if shell and not os.access(shell, os.X_OK):
        raise Refused(f"system_accounts.shell is {shell!r}, which is no program on this host; name one that is")
    group_text = read_text("/etc/group")
    first, last = accounts.numbers(read_text("/etc/login.defs"))
    found = accounts.read_accounts(read_text("/etc/passwd"), read_text("/etc/shadow"))
    found = _with_use(found, group_text)
    changes, kept = accounts.system_accounts(policy, found, first)
    ages, late = accounts.existing_ages(policy.aging, found, int(time.time() // 86400))
    changes = [*accounts.missing_groups(policy, group_text), *changes, *ages]
    homes = tuple(
        change for person in accounts.people(found, first, last) for change in home_changes(person, policy.homes)
    )
    # One of the two ways to be refused is a full disk: the files come first.
    outcome = files_host.converge(accounts.aging_settings(policy.aging), [], check_mode)
    problems: list[str] = []
    if not check_mode:
        for change in changes:
            done = runner(change.argv)
            if not done.ok:
                problems.append(f"{change.subject}: {change.attribute} cannot be set to {change.after}: {done.said}")
        for home in homes:
            problems += _set_home(home)
    return Outcome(tuple(changes), outcome.changes, homes, (*kept, *late), tuple(problems))


def _with_use(found: Sequence[Account], group_text: str) -> tuple[Account, ...]:
    """Return the accounts with the reason why somebody may log in to them."""
    members: set[str] = set()
    gids: set[int] = set()
    for fields in (line.split(":") for line in group_text.splitlines()):
        if len(fields) == 4 and fields[0] in accounts.ADMINISTRATORS:
            members.update(filter(None, fields[3].split(",")))
            gids.add(int(fields[2]) if fields[2].isdigit() else -1)
    session = session_owner()
    return tuple(replace(account, used=_use(account, session, members, gids)) for account in found)


def _use(account: Account, session: int, members: Collection[str], gids: Collection[int]) -> str:
    if account.uid == session:
        return "this very session is its"
    if account.name in members or account.gid in gids:
        return "it may use sudo"
    return "it has an SSH key" if _has_key(account) else ""


def _has_key(account: Account) -> bool:
    text = read_text(os.path.realpath(f"{account.home}/.ssh/authorized_keys"))
    return any(line.strip() and not line.strip().startswith("#") for line in text.splitlines())


@contextlib.contextmanager
def _home(account: Account) -> Iterator[int]:
    """Open the home of an account if it is really its own directory. Raises OSError."""
    with safe_files.directory(os.path.realpath(account.home)) as descriptor:
        if os.fstat(descriptor).st_uid != account.uid:
            raise PermissionError(f"{account.home} is not {account.name}'s own")
        yield descriptor


def home_changes(account: Account, wish: Homes) -> Iterator[HomeChange]:
    """Return what a home grants too much, and the files that must not be there."""
    if not account.home.startswith("/") or account.home == "/":
        return
    try:
        with _home(account) as home:
            mode = stat.S_IMODE(os.fstat(home).st_mode)
            if wish.mode is not None and mode & ~(wish.mode | 0o7000):
                yield HomeChange(account, "", mode, mode & (wish.mode | 0o7000))
            for name in sorted(os.listdir(home)):
                if not name.startswith("."):
                    continue
                facts = os.stat(name, dir_fd=home, follow_symlinks=False)
                mode = stat.S_IMODE(facts.st_mode)
                if name in wish.forbidden_files:
                    yield HomeChange(account, name, mode, None)
                elif wish.dotfiles_mode is not None and _own_file(facts, account) and mode & ~wish.dotfiles_mode:
                    yield HomeChange(account, name, mode, mode & wish.dotfiles_mode)
    except OSError:
        return


def _own_file(facts: os.stat_result, account: Account) -> bool:
    # A second name could be another file's.
    return stat.S_ISREG(facts.st_mode) and facts.st_uid in (0, account.uid) and facts.st_nlink == 1


def _set_home(change: HomeChange) -> list[str]:
    try:
        with _home(change.account) as home:
            if change.mode is None:
                _set_aside(home, change.name)
            elif not change.name:
                os.fchmod(home, change.mode)
            else:
                descriptor = os.open(change.name, safe_files.READ, dir_fd=home)
                try:
                    if _own_file(os.fstat(descriptor), change.account):
                        os.fchmod(descriptor, change.mode)
                finally:
                    os.close(descriptor)
    except OSError as error:
        return [f"{change.path} cannot be changed: {in_words(error)}"]
    return []


def _set_aside(home: int, name: str) -> None:
    """Rename a file so that no program finds it; what is in it may be somebody's only copy."""
    target, number = f"{name.lstrip('.')}{SET_ASIDE}", 1
    while _exists(home, target):
        number += 1
        target = f"{name.lstrip('.')}{SET_ASIDE}-{number}"
    os.rename(name, target, src_dir_fd=home, dst_dir_fd=home)
    facts = os.stat(target, dir_fd=home, follow_symlinks=False)
    if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1:
        descriptor = os.open(target, safe_files.READ, dir_fd=home)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)


def _exists(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
