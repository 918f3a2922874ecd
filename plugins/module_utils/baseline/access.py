# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What decides who may log in and become root: the policy as data, and whom it leaves a way. Pure."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..transaction.window import proof_problem
from . import files, mounts, pam
from .host import Refused

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")
PASSWD = "/etc/passwd"  # noqa: S105 - a file
SHADOW = "/etc/shadow"
# Who may be what is not written as text here: a lost line would be a lost account.
FORBIDDEN_PATHS = frozenset(
    {PASSWD, "/etc/group", SHADOW, "/etc/gshadow", "/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-",
     mounts.FSTAB, "/etc/nologin"}
)  # fmt: skip
FORBIDDEN_PREFIXES = ("/etc/ssh/", "/etc/systemd/", "/etc/bulwark/")
NO_SHELLS = ("/nologin", "/false", "/sync", "/halt", "/shutdown")
UNLIMITED_DAYS = 99999


@dataclass(frozen=True)
class Aging:
    """How long passwords last, in days; None leaves a value as it is. Accounts without a password are not touched."""

    maximum_days: int | None = None
    minimum_days: int | None = None
    warning_days: int | None = None
    inactive_days: int | None = None
    exempt: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return all(
            value is None for value in (self.maximum_days, self.minimum_days, self.warning_days, self.inactive_days)
        )


@dataclass(frozen=True)
class Policy:
    """What the task asks for."""

    files: tuple[files.Entry, ...] = ()
    profiles: tuple[pam.Profile, ...] = ()
    mounts: tuple[mounts.Wish, ...] = ()
    aging: Aging = Aging()
    administrators: tuple[str, ...] = ()

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Policy:
        """Return the policy in the module's arguments. Raises Refused with everything that is wrong."""
        problems: list[str] = []
        parts: dict[str, Any] = {}
        for name, part, parse in (
            ("files", "files", files.parse),
            ("pam_profiles", "profiles", pam.parse),
            ("mounts", "mounts", mounts.parse),
        ):
            try:
                parts[part] = parse(raw.get(name) or (), name)
            except Refused as error:
                problems.append(str(error))
        problems += [
            f"files[{number}].path: {problem}"
            for number, entry in enumerate(parts.get("files") or ())
            for problem in [path_problem(entry.path)]
            if problem
        ]
        try:
            parts["aging"] = _aging(raw.get("password_aging") or {})
        except Refused as error:
            problems.append(str(error))
        names = tuple(str(name) for name in raw.get("administrators") or ())
        problems += [
            f"administrators[{number}]: {name!r} is no user name"
            for number, name in enumerate(names)
            if not NAME.fullmatch(name)
        ]
        problems += _confirmation(raw)
        if problems:
            raise Refused("; ".join(problems))
        return cls(administrators=names, **parts)


def path_problem(path: str) -> str:
    """Return why a file must not be written through this policy, empty if it may."""
    if not path.startswith("/etc/"):
        return f"{path!r} is not below /etc; other files cannot be tried before they are in force"
    if path in FORBIDDEN_PATHS:
        return f"{path} is not written as a file; accounts, password_aging and mounts are policies of their own"
    if path.startswith(FORBIDDEN_PREFIXES):
        return f"{path} belongs to another policy"
    if path.startswith(f"{pam.SERVICES}/common-"):
        return f"{path} is made by pam-auth-update, which would undo it; write a profile in pam_profiles"
    return ""


def _aging(raw: Mapping[str, Any]) -> Aging:
    values: dict[str, int | None] = {}
    for name, least in (("maximum_days", 1), ("minimum_days", 0), ("warning_days", 0), ("inactive_days", 0)):
        value = raw.get(name)
        if value is not None and not least <= int(value) <= UNLIMITED_DAYS:
            raise Refused(f"password_aging.{name} is {value!r}; accepted are {least} to {UNLIMITED_DAYS} days")
        values[name] = None if value is None else int(value)
    longest, shortest = values["maximum_days"], values["minimum_days"]
    if longest is not None and shortest is not None and shortest >= longest:
        raise Refused(
            f"password_aging.minimum_days is {shortest}, so that a password could not be changed before it ends after "
            f"maximum_days ({longest}); accepted are fewer"
        )
    return Aging(**values, exempt=tuple(str(name) for name in raw.get("except") or ()))


def _confirmation(raw: Mapping[str, Any]) -> list[str]:
    problems = []
    numbers: dict[str, float] = {}
    for name, least, most in (("window_seconds", 30, 600), ("confirm_logins", 0, 20), ("confirm_seconds", 0, 120)):
        value = raw.get(name)
        if value is None:
            continue
        with contextlib.suppress(TypeError, ValueError):
            numbers[name] = float(value)
        if not least <= numbers.get(name, least - 1) <= most:
            problems.append(f"{name} is {value!r}; accepted are {least} to {most}")
    if not problems and {"window_seconds", "confirm_seconds"} <= set(numbers):
        problem = proof_problem(numbers["confirm_seconds"], numbers["window_seconds"])
        problems += [problem] if problem else []
    return problems


def problems(raw: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the module's arguments, for the controller."""
    try:
        Policy.of(raw)
    except Refused as error:
        return [str(error)]
    return []


# Password aging


def has_password(field: str) -> bool:
    """Return whether the second field of shadow holds a hash that a password can match."""
    return field[:1] not in ("", "!", "*") and len(field) > 12


def aged(text: str, aging: Aging) -> tuple[str, list[str]]:
    """Return shadow with the limits of accounts that have a password, and one sentence for each that changes.

    What is stricter already stays. Source: shadow(5).
    """
    lines, told = [], []
    for line in text.split("\n"):
        values = line.split(":")
        if len(values) == 9 and has_password(values[1]) and values[0] not in aging.exempt:
            wished = list(values)
            wished[3] = _at_least(values[3], aging.minimum_days)
            wished[4] = _at_most(values[4], aging.maximum_days)
            wished[5] = _at_least(values[5], aging.warning_days)
            wished[6] = _at_most(values[6], aging.inactive_days)
            if wished != values:
                told.append(f"{values[0]}: {_days(values)} → {_days(wished)}")
                line = ":".join(wished)
        lines.append(line)
    return "\n".join(lines), told


def has_ended(text: str, user: str, today: int) -> bool:
    """Return whether a user's password is older than shadow allows, or has to be changed at the next login."""
    for line in text.split("\n"):
        values = line.split(":")
        if values[0] == user and len(values) == 9 and has_password(values[1]) and values[2].isdigit():
            last = int(values[2])
            return last == 0 or (values[4].isdigit() and last + int(values[4]) < today)
    return False


def _at_least(now: str, wished: int | None) -> str:
    return str(wished) if wished is not None and (not now.isdigit() or int(now) < wished) else now


def _at_most(now: str, wished: int | None) -> str:
    return str(wished) if wished is not None and (not now.isdigit() or int(now) > wished) else now


def _days(values: Sequence[str]) -> str:
    minimum, maximum, warning, inactive = (value or "none" for value in values[3:7])
    return f"minimum {minimum}, maximum {maximum}, warning {warning}, inactive {inactive}"


# Administrators


@dataclass(frozen=True)
class Sight:
    """What a candidate means for one user: PAM's own answers, sudo's own answers; texts are empty where it said yes."""

    name: str
    exists: bool = True
    uid: int = 1000
    shell: str = "/bin/sh"
    shells: tuple[str, ...] = ()
    login_refusal: str = ""
    sudo_account_refusal: str = ""
    sudo_rule_refusal: str = ""
    is_connecting: bool = False
    # Only for the connecting user: sudo without a password, sudo with one, and whether there is a password.
    sudo_refusal: str = ""
    password_refusal: str = ""
    has_password: bool = False
    knows_password: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether a user could log in and become root, and if not why."""

    user: str
    able: bool
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict for the module's result."""
        return {"user": self.user, "able": self.able, "reason": self.reason}


def judge(sight: Sight) -> Verdict:
    """Return the verdict for one user."""
    refusal = _login(sight) or ("" if sight.uid == 0 else _elevation(sight))
    return Verdict(sight.name, not refusal, refusal or "can log in and become root")


def _login(sight: Sight) -> str:
    if not sight.exists:
        return "there is no such user on this host; create the user first"
    if sight.shell.endswith(NO_SHELLS):
        return f"the login shell {sight.shell} lets nobody in; give the user a real shell"
    if sight.shells and sight.shell and sight.shell not in sight.shells:
        return f"the login shell {sight.shell} is not listed in /etc/shells"
    if sight.login_refusal:
        return f"PAM refuses a login by SSH: {sight.login_refusal}"
    return ""


def _elevation(sight: Sight) -> str:
    if sight.sudo_rule_refusal:
        return f"sudo does not allow a shell as root: {sight.sudo_rule_refusal}"
    if sight.sudo_account_refusal:
        return f"PAM refuses the account to sudo: {sight.sudo_account_refusal}"
    if not sight.is_connecting or not sight.sudo_refusal:
        return ""
    if not sight.knows_password:
        return f"sudo without a password fails ({sight.sudo_refusal}), and this run has none to give"
    if not sight.has_password:
        return f"sudo asks for a password ({sight.sudo_refusal}), and the account has none"
    if sight.password_refusal:
        return f"sudo fails with the right password: {sight.password_refusal}"
    return ""


def refusal(verdicts: Sequence[Verdict], connecting: str) -> str:
    """Return why the policy must be refused, empty if the connecting user, or else somebody, keeps login and sudo."""
    unable = [verdict for verdict in verdicts if not verdict.able]
    details = "; ".join(f"{verdict.user}: {verdict.reason}" for verdict in unable)
    if not any(verdict.able for verdict in verdicts):
        return (
            f"nothing was changed: no administrator could log in and become root any more: {details or 'none is named'}"
        )
    own = [verdict for verdict in unable if verdict.user == connecting]
    if own:
        return (
            f"nothing was changed: {connecting}, who is connected now, could not log in and become root any more: "
            f"{own[0].reason}"
        )
    return ""


def with_hash(text: str, user: str, hashed: str) -> str:
    """Return shadow with another password for one user; for a private copy only, never for the host's own."""
    lines = []
    for line in text.split("\n"):
        values = line.split(":")
        lines.append(":".join([values[0], hashed, *values[2:]]) if values[0] == user and len(values) == 9 else line)
    return "\n".join(lines)


@dataclass(frozen=True)
class Piece:
    """One path before and after: the content of a file, the target of a link, or nothing."""

    path: str
    before: files.Found | None = None
    after: files.Found | None = None
    link_before: str = ""
    link_after: str = ""

    @property
    def is_different(self) -> bool:
        return (self.before, self.link_before) != (self.after, self.link_after)

    def to_change(self) -> files.Change:
        """Return the change for the diff; a link is shown by its target."""
        return files.Change(self.path, _linked(self.before, self.link_before), _linked(self.after, self.link_after))


def _linked(found: files.Found | None, target: str) -> files.Found | None:
    return files.Found(f"link to {target}\n".encode(), 0o777, 0, 0) if target else found


def differences(pieces: Sequence[Piece], aging: Sequence[str], plan: mounts.Plan) -> list[dict[str, str]]:
    """Return the change for Ansible's diff. Of shadow only days are shown, never a line of it."""
    shown = files.diff([_shown(piece) for piece in pieces if piece.path != SHADOW])
    if aging:
        header = f"{SHADOW} (days)"
        shown.append({"before_header": header, "after_header": header, "before": "", "after": "\n".join(aging) + "\n"})
    actions = [" ".join(argv) for argv in plan.apply]
    if actions:
        shown.append(
            {"before_header": "mounts", "after_header": "mounts", "before": "", "after": "\n".join(actions) + "\n"}
        )
    return shown


def _shown(piece: Piece) -> files.Change:
    """Return a change whose content may be shown though not everybody may read it: rules of sudo are no secret."""
    change = piece.to_change()
    if not re.fullmatch(r"/etc/sudoers(\.d/.+)?", piece.path):
        return change
    before, after = (
        replace(side, mode=side.mode | 0o004) if side is not None else None for side in (change.before, change.after)
    )
    return replace(change, before=before, after=after)
