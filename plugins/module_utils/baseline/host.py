# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every set needs from the host: programs, names of users and groups, and words for what went wrong."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import re
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from ..transaction import files as safe_files
from ..transaction.commands import ENVIRONMENT, telling_line

COMMAND_SECONDS = 120.0
MODE = re.compile(r"0?[0-7]{3,4}")
# Nobody's number on Linux; nothing that a policy names belongs to it.
UNMADE = 65534


class Refused(Exception):
    """The host or the wish is not what it has to be; the text says what, which value, what is accepted, what to do."""


@dataclass(frozen=True)
class Done:
    """A finished program."""

    ok: bool
    output: str
    said: str


def run(argv: Sequence[str], timeout_seconds: float = COMMAND_SECONDS) -> Done:
    """Run a program to its end; one that is missing or does not end is a failed one, never an exception."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # there is no AnsibleModule here
            list(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            env=dict(ENVIRONMENT),
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Done(False, "", f"{argv[0]} did not end within {timeout_seconds:g} seconds")
    except OSError as error:
        return Done(False, "", f"{argv[0]} cannot be run: {error.strerror or error}")
    return Done(done.returncode == 0, done.stdout, telling_line(f"{done.stdout}\n{done.stderr}"))


def require_root(what: str) -> None:
    """Raise Refused unless this process is root's."""
    if os.geteuid() != 0:
        raise Refused(f"{what} can be changed by root only; set become to true")


def parse_mode(text: str, place: str) -> int:
    """Return a mode written as three or four octal digits. Raises Refused."""
    if not MODE.fullmatch(text):
        raise Refused(f"{place} is {text!r}; a mode is three or four octal digits in quotes, such as '0640'")
    return int(text, 8)


def user_id(name: str) -> int:
    """Return a user's number. Raises Refused."""
    if name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise Refused(f"there is no user {name!r} on this host; create it first or name another owner") from None


def group_id(name: str) -> int:
    """Return a group's number. Raises Refused."""
    if name.isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise Refused(f"there is no group {name!r} on this host; create it first or name another group") from None


def foreseen_user_id(name: str) -> int:
    """Return a user's number; in check mode, that of nobody for one whom an earlier task of the run would have made."""
    try:
        return user_id(name)
    except Refused:
        return UNMADE


def foreseen_group_id(name: str) -> int:
    """Return a group's number; in check mode, that of no group for one that an earlier task would have made."""
    try:
        return group_id(name)
    except Refused:
        return UNMADE


def user_name(uid: int) -> str:
    """Return a user's name, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Return a group's name, or the number of one that has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def in_words(error: OSError) -> str:
    """Return what an error of the file system means to whoever reads it."""
    words = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.EROFS: "the file system is read-only",
        errno.ELOOP: "it is a symbolic link, and links are never written through",
        errno.EBUSY: "it is in use, as a mount point is",
        errno.EXDEV: "it is a mount point",
        errno.EPERM: "the kernel does not permit it; chattr +i may be set",
    }
    return words.get(error.errno or 0, error.strerror or str(error))


def link_in(path: str) -> str:
    """Return the first component of an absolute path that is a symbolic link, or "" when none is."""
    current = ""
    for part in (part for part in path.split("/") if part):
        current = f"{current}/{part}"
        try:
            if stat.S_ISLNK(os.lstat(current).st_mode):
                return current
        except OSError:
            return ""
    return ""


def read_text(path: str) -> str:
    """Return a text file of the system, or "" when there is none."""
    try:
        return safe_files.read_file(path).decode("utf-8", "surrogateescape")
    except (OSError, ValueError):
        return ""
