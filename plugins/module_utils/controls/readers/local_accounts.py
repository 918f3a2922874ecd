# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Local accounts, their passwords' ages, and their home directories.

Of a password hash nothing but its method ever leaves this file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .. import conditions
from ..host import Host, User
from ..model import Item, Observation, Unreadable, item, missing, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader
from .configuration import login_definitions, settings

SHADOW = "/etc/shadow"
NO_SHELLS = frozenset(
    {"/usr/sbin/nologin", "/sbin/nologin", "/usr/bin/nologin", "/bin/false", "/usr/bin/false", "/bin/true", "/dev/null"}
)
# Their shell is the one thing that they do.
COMMAND_ACCOUNTS = frozenset({"root", "sync", "shutdown", "halt"})
STRONG = frozenset({"yescrypt", "gost-yescrypt", "sha512", "scrypt"})
METHODS = {"1": "md5", "5": "sha256", "6": "sha512", "7": "scrypt", "y": "yescrypt", "gy": "gost-yescrypt"}
NOBODY = 65534
SHADOWED = ("x",)
OPEN = ("none",)


@dataclass(frozen=True)
class Shadow:
    """A line of /etc/shadow; ``password`` is none, locked, or the method of the hash."""

    password: str
    minimum: str
    maximum: str
    warning: str
    inactive: str


def shadow(host: Host) -> dict[str, Shadow]:
    """Return the password state of every local account. Raises Unreadable without /etc/shadow."""
    text = host.read(SHADOW)
    if text is None:
        raise Unreadable(f"there is no {SHADOW}")
    found: dict[str, Shadow] = {}
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) >= 8:
            found.setdefault(fields[0], Shadow(method(fields[1]), *fields[3:7]))
    return found


def method(field: str) -> str:
    """Return what a password field is, without giving anything of it away."""
    if not field:
        return "none"
    if field[0] in "!*" or len(field) < 13:
        return "locked"
    if field.startswith("$"):
        return METHODS.get(field.split("$")[1], "bcrypt" if field.startswith("$2") else "unknown")
    return "des"


def first_human(host: Host) -> int:
    """Return the smallest uid of people."""
    text = login_definitions(host).get("UID_MIN", "1000")
    return int(text) if text.isdigit() else 1000


def humans(host: Host) -> list[User]:
    """Return the accounts of people: by uid, and with a shell to log in with."""
    lowest = first_human(host)
    return [
        user
        for user in host.users.values()
        if lowest <= user.uid and user.uid != NOBODY and user.shell not in NO_SHELLS and user.shell
    ]


# Ages

AGES = {
    "maximum_days": ("PASS_MAX_DAYS", "maximum"),
    "minimum_days": ("PASS_MIN_DAYS", "minimum"),
    "warning_days": ("PASS_WARN_AGE", "warning"),
    "inactive_days": ("INACTIVE", "inactive"),
}


def account_aging(host: Host, parameters: Parameters) -> Observation:
    """Compare the ages of passwords, for new accounts and for those that have one.

    ``maximum_days``, ``minimum_days``, ``warning_days``, ``inactive_days``: conditions. New accounts get them from
    /etc/login.defs and, the last one, /etc/default/useradd. ``accounts``: whether accounts with a password are looked
    at; ``except``: not these.
    """
    added = {key: value for _section, key, value in settings(host.read("/etc/default/useradd") or "", "equals", "#")}
    new = {**login_definitions(host), "INACTIVE": added.get("INACTIVE", "-1")}
    wanted = {name: parameters[name] for name in AGES if parameters[name] is not None}
    items = [_age("new accounts", name, new.get(AGES[name][0]), wanted[name]) for name in wanted]
    if parameters["accounts"]:
        for user, entry in shadow(host).items():
            if entry.password in ("none", "locked") or user in parameters["except"]:
                continue
            items += [_age(user, name, getattr(entry, AGES[name][1]) or None, wanted[name]) for name in wanted]
    return observation(items, "/etc/login.defs, /etc/default/useradd, /etc/shadow")


def _age(who: str, name: str, value: str | None, condition: Any) -> Item:
    # -1 and nothing mean never, which no upper limit allows.
    effective = None if value is None or value.startswith("-") else value
    observed = "never" if effective is None else f"{effective} days"
    name = f"{who} {name.replace('_days', '')}"
    return item(name, conditions.met(condition, effective), conditions.describe(condition), observed)


# Accounts


def system_accounts(host: Host, parameters: Parameters) -> Observation:
    """Check that accounts of the system cannot log in. ``shell``: none to log in with; ``locked``: no password.

    ``except``: accounts that need one; root, sync, shutdown and halt always are.
    """
    lowest = first_human(host)
    passwords = shadow(host)
    items = []
    for user in host.users.values():
        if lowest <= user.uid != NOBODY or user.name in COMMAND_ACCOUNTS or user.name in parameters["except"]:
            continue
        if parameters["shell"]:
            items.append(item(user.name, user.shell in NO_SHELLS, "without a login shell", user.shell or "/bin/sh"))
        if parameters["locked"]:
            entry = passwords.get(user.name)
            observed = _password(entry.password) if entry else "not in /etc/shadow"
            items.append(item(user.name, observed == "locked", "locked", observed))
    return observation(items, "/etc/passwd, /etc/shadow")


def _password(state: str) -> str:
    return {"none": "no password at all", "locked": "locked"}.get(state, f"a password ({state})")


def root_account(host: Host, parameters: Parameters) -> Observation:
    """Check root. ``password``: locked or strong, or both if either passes; ``home_mode``: the most that its home may
    allow; ``path``: its search path holds only directories that nobody else can write.
    """
    items = []
    root = host.users.get("root")
    if root is None:
        return observation([item("root", False, "there", "no such account")], "/etc/passwd")
    if parameters["password"]:
        entry = shadow(host).get("root")
        state = entry.password if entry else "none"
        passed = ("locked" in parameters["password"] and state == "locked") or (
            "strong" in parameters["password"] and state in STRONG
        )
        items.append(item("password", passed, " or ".join(parameters["password"]), _password(state)))
    if parameters["home_mode"] is not None:
        items += _home(host, root, int(parameters["home_mode"], 8))
    if parameters["path"]:
        items += _path(host)
    return observation(items, "/etc/shadow, /etc/login.defs")


def _home(host: Host, user: User, wanted: int) -> list[Item]:
    status = host.status(user.home)
    if status is None:
        return [missing(user.home, "does not exist")]
    passed = status.uid == user.uid and not status.mode & ~wanted
    observed = f"{host.user_name(status.uid)} {status.mode:04o}"
    return [item(user.home, passed, f"{user.name} {wanted:04o} or less", observed)]


def _path(host: Host) -> list[Item]:
    value = login_definitions(host).get("ENV_SUPATH", "PATH=/sbin:/bin:/usr/sbin:/usr/bin").partition("=")[2]
    items = []
    for folder in value.split(":"):
        name = f"PATH {folder}"
        if not folder.startswith("/"):
            items.append(item(name, False, "an absolute directory", folder or "empty"))
            continue
        status = host.status(folder)
        if status is None:
            continue
        passed = status.kind == "directory" and status.uid == 0 and not status.mode & 0o022
        observed = f"{status.kind} {host.user_name(status.uid)} {status.mode:04o}"
        items.append(item(name, passed, "a directory that only root writes", observed))
    return items


def account_database(host: Host, parameters: Parameters) -> Observation:
    """Check that the account files agree with themselves.

    ``checks``: ``uid_zero`` and ``gid_zero`` (root alone), ``unique`` (names and numbers), ``consistent`` (every
    primary group exists), ``shadowed`` (no password in /etc/passwd), ``passwords`` (no account without one),
    ``shadow_group_empty``.
    """
    items: list[Item] = []
    for check in parameters["checks"]:
        found = DATABASE_CHECKS[check](host)
        name = check.replace("_", " ")
        items += [item(name, False, "", text) for text in found] or [item(name, True, "", "as it must be")]
    return observation(items, "/etc/passwd, /etc/group, /etc/shadow")


def _duplicates(host: Host) -> list[str]:
    found: list[str] = []
    for path in ("/etc/passwd", "/etc/group"):
        rows = [line.split(":") for line in host.lines(path) if line.count(":") >= 3]
        for column, what in ((0, "name"), (2, "number")):
            counts = Counter(row[column] for row in rows)
            found += [f"{path}: {what} {value} {count} times" for value, count in counts.items() if count > 1]
    return found


def _shadow_members(host: Host) -> list[str]:
    group = host.groups.get("shadow")
    if group is None:
        return []
    return [*group.members, *(user.name for user in host.users.values() if user.gid == group.gid)]


def _groupless(host: Host) -> Iterable[str]:
    known = {group.gid for group in host.groups.values()}
    return (f"{user.name} has the group {user.gid}" for user in host.users.values() if user.gid not in known)


DATABASE_CHECKS: Mapping[str, Any] = {
    "uid_zero": lambda host: [user.name for user in host.users.values() if user.uid == 0 and user.name != "root"],
    "gid_zero": lambda host: [
        *(user.name for user in host.users.values() if user.gid == 0 and user.name not in COMMAND_ACCOUNTS),
        *(group.name for group in host.groups.values() if group.gid == 0 and group.name != "root"),
    ],
    "unique": _duplicates,
    "consistent": lambda host: list(_groupless(host)),
    "shadowed": lambda host: [user.name for user in host.users.values() if user.password not in SHADOWED],
    "passwords": lambda host: [name for name, entry in shadow(host).items() if entry.password in OPEN],
    "shadow_group_empty": _shadow_members,
}


def home_directories(host: Host, parameters: Parameters) -> Observation:
    """Check the home directories of people. ``mode`` and ``dotfiles_mode``: the most that they and the files in them
    that begin with a dot may allow; ``forbidden_files``: names that must not be there; ``skeleton``: /etc/skel too;
    ``except``: accounts left out.
    """
    items: list[Item] = []
    for user in humans(host):
        if user.name in parameters["except"]:
            continue
        if parameters["mode"] is not None:
            items += _home(host, user, int(parameters["mode"], 8))
        items += _dotfiles(host, user.home, user.uid, parameters)
    if parameters["skeleton"]:
        items += _dotfiles(host, "/etc/skel", 0, parameters)
    return observation(items, "stat", "there is no account of a person")


def _dotfiles(host: Host, home: str, uid: int, parameters: Parameters) -> list[Item]:
    items = []
    for name in host.names(home):
        path = f"{home}/{name}"
        if name in parameters["forbidden_files"]:
            items.append(item(path, False, "not there", "there"))
            continue
        status = host.status(path, follow=False)
        if parameters["dotfiles_mode"] is None or not name.startswith(".") or not status or status.kind != "file":
            continue
        wanted = int(parameters["dotfiles_mode"], 8)
        passed = status.uid in (uid, 0) and not status.mode & ~wanted
        observed = f"{host.user_name(status.uid)} {status.mode:04o}"
        items.append(item(path, passed, f"{host.user_name(uid)} {wanted:04o} or less", observed))
    return items


def group_members(host: Host, parameters: Parameters) -> Observation:
    """Check that ``group`` has exactly these ``members``, those whose primary group it is included."""
    group = host.groups.get(parameters["group"])
    if group is None:
        return observation([item(parameters["group"], False, "there", "no such group")], "/etc/group")
    members = sorted({*group.members, *(user.name for user in host.users.values() if user.gid == group.gid)})
    wanted = sorted(parameters["members"])
    return observation(
        [item(group.name, members == wanted, ", ".join(wanted) or "no member", ", ".join(members) or "no member")],
        "/etc/group",
    )


READERS: Mapping[str, Reader] = {
    "account_aging": Reader(
        account_aging,
        {
            **{name: Parameter("condition") for name in AGES},
            "accounts": Parameter("boolean", default=True),
            "except": Parameter("texts", default=()),
        },
    ),
    "system_accounts": Reader(
        system_accounts,
        {
            "shell": Parameter("boolean", default=True),
            "locked": Parameter("boolean", default=True),
            "except": Parameter("texts", default=()),
        },
    ),
    "root_account": Reader(
        root_account,
        {
            "password": Parameter("texts", default=(), choices=("locked", "strong")),
            "home_mode": Parameter("mode"),
            "path": Parameter("boolean", default=False),
        },
    ),
    "account_database": Reader(
        account_database, {"checks": Parameter("texts", required=True, choices=tuple(DATABASE_CHECKS))}
    ),
    "home_directories": Reader(
        home_directories,
        {
            "mode": Parameter("mode"),
            "dotfiles_mode": Parameter("mode"),
            "forbidden_files": Parameter("texts", default=()),
            "skeleton": Parameter("boolean", default=True),
            "except": Parameter("texts", default=()),
        },
    ),
    "group_members": Reader(
        group_members, {"group": Parameter("text", required=True), "members": Parameter("texts", default=())}
    ),
}
