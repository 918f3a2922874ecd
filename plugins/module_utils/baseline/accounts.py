# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts, their passwords' age and their homes as they should be, compared with what is there. Pure.

Nothing here can lock a person out: an account that somebody logs in to keeps its shell, and a password whose age would
be too high at once keeps its limit. Both are told, never done silently.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .host import Refused, parse_mode

NO_LOGIN = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/nologin", "/bin/false", "/usr/bin/false")
ADMINISTRATORS = ("sudo", "wheel", "admin")
NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
HOME_FILE = re.compile(r"\.[^/\s]+")
ALL_DAYS = 99999
# So long a password stays good after its limit was set, if the policy has no time of warning.
NOTICE_DAYS = 7


@dataclass(frozen=True)
class SystemAccounts:
    """What accounts of programs should be."""

    lock: bool = False
    shell: str = ""
    excepted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Aging:
    """Days that a password lives; None leaves it as it is."""

    maximum_days: int | None = None
    minimum_days: int | None = None
    warning_days: int | None = None
    inactive_days: int | None = None
    apply_to_existing: bool = False


@dataclass(frozen=True)
class Homes:
    """The most that homes and their dotfiles may grant, and files that must not be in them."""

    mode: int | None = None
    dotfiles_mode: int | None = None
    forbidden_files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Policy:
    """The whole wish."""

    groups: tuple[str, ...] = ()
    system: SystemAccounts = SystemAccounts()
    aging: Aging = Aging()
    homes: Homes = Homes()


@dataclass(frozen=True)
class Account:
    """One local account. lock_state is locked, set or empty; days are counted from 1970, None where unset."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str
    lock_state: str = "locked"
    changed_day: int | None = None
    minimum_days: int | None = None
    maximum_days: int | None = None
    warning_days: int | None = None
    inactive_days: int | None = None
    # Why somebody may log in to it, or "".
    used: str = ""


@dataclass(frozen=True)
class Change:
    """One attribute of one object, and the program that changes it."""

    subject: str
    attribute: str
    before: str
    after: str
    argv: tuple[str, ...]


UNSET = ("", "-1")
NUMBERS = (
    ("maximum_days", 1, ALL_DAYS),
    ("minimum_days", 0, ALL_DAYS),
    ("warning_days", 0, ALL_DAYS),
    ("inactive_days", 0, ALL_DAYS),
)


def parse(parameters: Mapping[str, Any]) -> Policy:
    """Return the arguments of the module as a policy. Raises Refused with everything that is wrong."""
    problems: list[str] = []
    groups = tuple(str(name) for name in parameters.get("groups_present") or ())
    problems += [
        f"groups_present: {name!r} is not a name of a group; one has up to 31 of a-z, 0-9, _ and -"
        for name in groups
        if not NAME.fullmatch(name)
    ]
    system = parameters.get("system_accounts") or {}
    shell = str(system.get("shell") or "")
    if shell and not re.fullmatch(r"/[^\s:]+", shell):
        problems.append(f"system_accounts.shell is {shell!r}; a shell is an absolute path, such as /usr/sbin/nologin")
    aging = dict(parameters.get("password_aging") or {})
    for key, least, most in NUMBERS:
        value = aging.get(key)
        if value is not None and not least <= value <= most:
            problems.append(f"password_aging.{key} is {value}; accepted are {least} to {most} days")
    if (aging.get("minimum_days") or 0) >= (aging.get("maximum_days") or ALL_DAYS + 1):
        problems.append(
            "password_aging.minimum_days is not below maximum_days, so no password could be changed in time"
        )
    homes = parameters.get("homes") or {}
    modes: dict[str, int | None] = {}
    for key in ("mode", "dotfiles_mode"):
        try:
            modes[key] = parse_mode(str(homes[key]), f"homes.{key}") if homes.get(key) else None
            # Whoever cannot enter their home cannot log in by the key that is in it.
            needed, deeds = (0o700, ", and to enter it") if key == "mode" else (0o600, "")
            if (modes[key] or 0o700) & needed != needed:
                problems.append(f"homes.{key} is {homes[key]!r}; the owner has to read and write what is there{deeds}")
        except Refused as error:
            problems.append(str(error))
    forbidden = tuple(str(name) for name in homes.get("forbidden_files") or ())
    problems += [
        f"homes.forbidden_files: {name!r} is not a file of a home; one looks like .rhosts"
        for name in forbidden
        if not HOME_FILE.fullmatch(name) or name in (".", "..", ".ssh")
    ]
    if problems:
        raise Refused("; ".join(problems))
    return Policy(
        groups=tuple(dict.fromkeys(groups)),
        system=SystemAccounts(bool(system.get("lock")), shell, tuple(str(name) for name in system.get("except") or ())),
        aging=Aging(
            **{key: aging.get(key) for key, _l, _m in NUMBERS}, apply_to_existing=bool(aging.get("apply_to_existing"))
        ),
        homes=Homes(modes["mode"], modes["dotfiles_mode"], forbidden),
    )


def read_accounts(passwd: str, shadow: str) -> tuple[Account, ...]:
    """Return the accounts of the texts of /etc/passwd and /etc/shadow."""
    ages = {fields[0]: fields for fields in (line.split(":") for line in shadow.splitlines()) if len(fields) >= 7}
    accounts = []
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) != 7 or not fields[2].isdigit() or not fields[3].isdigit():
            continue
        name = fields[0]
        age = ages.get(name, [name, fields[1] if fields[1] != "x" else "*", "", "", "", "", ""])
        accounts.append(
            Account(
                name=name,
                uid=int(fields[2]),
                gid=int(fields[3]),
                home=fields[5],
                shell=fields[6],
                lock_state=_lock_state(age[1]),
                changed_day=_day(age[2]),
                minimum_days=_day(age[3]),
                maximum_days=_day(age[4]),
                warning_days=_day(age[5]),
                inactive_days=_day(age[6]),
            )
        )
    return tuple(accounts)


def _lock_state(field: str) -> str:
    if not field:
        return "empty"
    return "locked" if field[0] in "!*" else "set"


def _day(field: str) -> int | None:
    return int(field) if field.lstrip("-").isdigit() and field not in UNSET else None


def numbers(login_defs: str) -> tuple[int, int]:
    """Return the first and the last number of accounts of people, as the text of login.defs says."""
    found = dict(re.findall(r"^\s*(UID_MIN|UID_MAX)\s+(\d+)", login_defs, re.MULTILINE))
    return int(found.get("UID_MIN", 1000)), int(found.get("UID_MAX", 60000))


def people(accounts: Sequence[Account], first: int, last: int) -> list[Account]:
    """Return the accounts of people, those that can log in."""
    return [account for account in accounts if first <= account.uid <= last and account.shell not in NO_LOGIN]


def missing_groups(policy: Policy, group_text: str) -> list[Change]:
    """Return the groups that have to be made."""
    present = {line.partition(":")[0] for line in group_text.splitlines()}
    return [
        Change(f"group {name}", "exists", "no", "yes", ("groupadd", "--system", name))
        for name in policy.groups
        if name not in present
    ]


def system_accounts(policy: Policy, accounts: Sequence[Account], first: int) -> tuple[list[Change], list[str]]:
    """Return changes of the accounts of programs, and a sentence for each that is kept because somebody uses it."""
    changes: list[Change] = []
    kept: list[str] = []
    wish = policy.system
    for account in accounts:
        if not 0 < account.uid < first or account.name in wish.excepted:
            continue
        found: list[Change] = []
        subject = f"account {account.name}"
        if wish.shell and account.shell not in (*NO_LOGIN, wish.shell):
            found.append(
                Change(subject, "shell", account.shell, wish.shell, ("usermod", "--shell", wish.shell, account.name))
            )
        if wish.lock and account.lock_state != "locked":
            found.append(Change(subject, "password", account.lock_state, "locked", ("usermod", "--lock", account.name)))
        if found and account.used:
            kept.append(
                f"the account {account.name} is left as it is: {account.used}; name it in except if that is right"
            )
        else:
            changes += found
    return changes, kept


def aging_settings(aging: Aging) -> list[dict[str, Any]]:
    """Return, as entries of a file set, the age that passwords of new accounts get."""
    defaults = {
        "PASS_MAX_DAYS": aging.maximum_days,
        "PASS_MIN_DAYS": aging.minimum_days,
        "PASS_WARN_AGE": aging.warning_days,
    }
    values = {key: value for key, value in defaults.items() if value is not None}
    entries: list[dict[str, Any]] = []
    if values:
        entries.append({"path": "/etc/login.defs", "settings": {"format": "space", "values": values}})
    if aging.inactive_days is not None:
        settings = {"format": "equals", "values": {"INACTIVE": aging.inactive_days}}
        entries.append({"path": "/etc/default/useradd", "settings": settings})
    return entries


def existing_ages(aging: Aging, accounts: Sequence[Account], today: int) -> tuple[list[Change], list[str]]:
    """Return the limits that accounts with a password lack, and a sentence for each that would end at once.

    Limits that are stricter already stay.
    """
    changes: list[Change] = []
    kept: list[str] = []
    if not aging.apply_to_existing:
        return changes, kept
    notice = NOTICE_DAYS if aging.warning_days is None else max(aging.warning_days, 1)
    for account in accounts:
        if account.lock_state != "set":
            continue
        wished = _limits(aging, account)
        ends = None
        if account.changed_day is not None:
            maximum = aging.maximum_days if "maximum_days" in wished else account.maximum_days
            ends = None if maximum is None else account.changed_day + maximum
        if wished and ends is not None and ends - today < notice:
            kept.append(
                f"the password of {account.name} is {max(today - (account.changed_day or 0), 0)} days old and would "
                f"end within {notice} days, which ends key logins too; have it changed, then run again"
            )
            continue
        flags = {"maximum_days": "-M", "minimum_days": "-m", "warning_days": "-W", "inactive_days": "-I"}
        for key, value in wished.items():
            before = getattr(account, key)
            argv = ("chage", flags[key], str(value), account.name)
            shown = "unset" if before is None else str(before)
            changes.append(Change(f"account {account.name}", key, shown, str(value), argv))
    return changes, kept


def _limits(aging: Aging, account: Account) -> dict[str, int]:
    wished: dict[str, int] = {}
    for key in ("maximum_days", "inactive_days"):
        value, now = getattr(aging, key), getattr(account, key)
        if value is not None and (now is None or now > value or now < 0):
            wished[key] = value
    for key in ("minimum_days", "warning_days"):
        value, now = getattr(aging, key), getattr(account, key)
        if value is not None and (now or 0) < value:
            wished[key] = value
    # A limit from below that reaches the one from above would keep the password from being changed.
    maximum = wished.get("maximum_days", account.maximum_days)
    if "minimum_days" in wished and maximum is not None and wished["minimum_days"] >= maximum:
        del wished["minimum_days"]
    return wished
