# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel parameters by the boot loader's own means: a file that grub-mkconfig reads, or grubby.

The menu that boots the host is replaced only by one in which every entry has every parameter; otherwise the old menu
and the old files come back.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..transaction import files

Run = Callable[[Sequence[str]], "tuple[int, str, str]"]
PARAMETER = re.compile(r"^[A-Za-z0-9_.-]+(=[A-Za-z0-9_.,:/@%+=-]*)?$")
SUPERUSER = re.compile(r"^[a-z][a-z0-9_-]{0,31}$")
PASSWORD_HASH = re.compile(r"^grub\.pbkdf2\.sha512\.[1-9][0-9]*\.[0-9A-F]+\.[0-9A-F]+$", re.IGNORECASE)
MENU = "boot/grub/grub.cfg"
DROP_IN = "etc/default/grub.d/99-bulwark.cfg"
SUPERUSER_SCRIPT = "etc/grub.d/01_bulwark"
ENTRY_SCRIPT = "etc/grub.d/10_linux"
CLASS_LINE = re.compile(r'^(CLASS="(?:(?!--unrestricted)[^"])*)"$', re.MULTILINE)


class CommandLineError(Exception):
    """The parameters cannot be brought to the boot loader; the message says why and what was left."""


@dataclass
class Outcome:
    """What was found and done."""

    applicable: bool = True
    reason: str = ""
    changed: bool = False
    waiting: list[str] = field(default_factory=list)
    before: str = ""
    after: str = ""


def check(parameters: Sequence[str], superuser: str, password_hash: str) -> None:
    """Raise CommandLineError for values that no boot loader file can hold."""
    for parameter in parameters:
        if not PARAMETER.match(parameter):
            raise CommandLineError(
                f"{parameter!r} is no kernel parameter; accepted is NAME or NAME=VALUE without spaces and quotes"
            )
    if bool(superuser) != bool(password_hash):
        raise CommandLineError("superuser and password_hash belong together; set both or neither")
    if superuser and not SUPERUSER.match(superuser):
        raise CommandLineError(f"superuser {superuser!r} is no user name of lower-case letters, digits, - and _")
    if password_hash and not PASSWORD_HASH.match(password_hash):
        raise CommandLineError(
            "password_hash is not what grub-mkpasswd-pbkdf2 prints: grub.pbkdf2.sha512.ROUNDS.SALT.HASH"
        )


def drop_in(parameters: Sequence[str]) -> str:
    """Return the file that grub-mkconfig reads after the host's own settings."""
    words = " ".join(parameters)
    return (
        "# Written by bulwark.hardening; changes are lost at the next run.\n"
        f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {words}"\n'
    )


def superuser_script(superuser: str, password_hash: str) -> str:
    """Return the script that makes grub ask before it lets anybody edit an entry or open its shell."""
    return (
        "#!/bin/sh\n"
        "# Written by bulwark.hardening; changes are lost at the next run.\n"
        "cat <<'END'\n"
        f'set superusers="{superuser}"\n'
        f"password_pbkdf2 {superuser} {password_hash}\n"
        "END\n"
    )


def unrestricted(script: str) -> str:
    """Return 10_linux with entries that boot without the password, so that an unattended restart comes back."""
    return CLASS_LINE.sub(r'\1 --unrestricted"', script)


def lacking(menu: str, parameters: Sequence[str]) -> list[str]:
    """Return the parameters that some entry of a grub.cfg does not have; all of them when it has no entry."""
    entries = [set(found.split()) for found in re.findall(r"^\s*linux(?:efi)?\s+\S+[ \t]*(.*)$", menu, re.MULTILINE)]
    if not entries:
        return list(parameters)
    return [parameter for parameter in parameters if any(parameter not in entry for entry in entries)]


def waiting(command_line: str, parameters: Sequence[str]) -> list[str]:
    """Return the parameters that the running kernel was not started with."""
    present = set(command_line.split())
    return [parameter for parameter in parameters if parameter not in present]


def read(path: str) -> str:
    """Return the text of a file, or "" when there is none."""
    try:
        return files.read_file(path).decode(errors="replace")
    except FileNotFoundError:
        return ""


def converge(
    parameters: Sequence[str], superuser: str, password_hash: str, check_mode: bool, run: Run, root: str = "/"
) -> Outcome:
    """Bring the parameters to every entry of the menu. Raises CommandLineError, after which the old menu is back."""
    check(parameters, superuser, password_hash)
    outcome = Outcome()
    outcome.waiting = waiting(read(os.path.join(root, "proc/cmdline")), parameters)
    menu = os.path.join(root, MENU)
    if not os.path.exists(menu):
        if run(["grubby", "--version"])[0] == 0:
            return _grubby(parameters, outcome, check_mode, run)
        outcome.applicable = False
        outcome.reason = f"there is no /{MENU} and no grubby; the boot loader of this host is unknown"
        return outcome
    wished = {DROP_IN: (drop_in(parameters), 0o644)}
    if superuser:
        wished[SUPERUSER_SCRIPT] = (superuser_script(superuser, password_hash), 0o700)
        wished[ENTRY_SCRIPT] = (unrestricted(read(os.path.join(root, ENTRY_SCRIPT))), 0o755)
    old_menu = read(menu)
    present = {name: read(os.path.join(root, name)) for name in wished}
    different = [name for name, (text, _mode) in wished.items() if present[name] != text]
    asks = not superuser or f"password_pbkdf2 {superuser} {password_hash}" in old_menu
    if not different and not lacking(old_menu, parameters) and asks:
        return outcome
    outcome.changed = True
    outcome.before, outcome.after = present[DROP_IN], wished[DROP_IN][0]
    if check_mode:
        return outcome
    mode = stat.S_IMODE(os.stat(menu).st_mode)
    for name in different:
        path = os.path.join(root, name)
        files.make_directories(os.path.dirname(path))
        files.write_file(path, wished[name][0].encode(), wished[name][1])
    problem = _regenerate(menu, parameters, run)
    if problem:
        for name in different:
            path = os.path.join(root, name)
            if present[name]:
                files.write_file(path, present[name].encode(), wished[name][1])
            else:
                os.unlink(path)
        files.write_file(menu, old_menu.encode(), mode)
        raise CommandLineError(f"{problem}; the old boot menu is back and nothing was changed")
    return outcome


def _regenerate(menu: str, parameters: Sequence[str], run: Run) -> str:
    """Have the menu written anew; returns what is wrong with it, or ""."""
    code, output, errors = run(["update-grub"])
    if code != 0:
        return f"update-grub failed: {last(errors or output)}"
    code, output, errors = run(["grub-script-check", menu])
    if code != 0:
        return f"grub cannot read the new boot menu: {last(errors or output)}"
    absent = lacking(read(menu), parameters)
    return f"the new boot menu lacks {' '.join(absent)}" if absent else ""


def _grubby(parameters: Sequence[str], outcome: Outcome, check_mode: bool, run: Run) -> Outcome:
    """The same by the tool of the RHEL family, which edits each entry."""
    code, output, errors = run(["grubby", "--info=ALL"])
    if code != 0:
        raise CommandLineError(f"grubby cannot read the boot entries: {last(errors or output)}")
    entries = [set(words.split()) for words in re.findall(r'^args="(.*)"$', output, re.MULTILINE)]
    absent = [word for word in parameters if any(word not in entry for entry in entries)]
    if not absent:
        return outcome
    outcome.changed = True
    outcome.before, outcome.after = "", " ".join(absent) + "\n"
    if not check_mode:
        code, output, errors = run(["grubby", "--update-kernel=ALL", f"--args={' '.join(absent)}"])
        if code != 0:
            raise CommandLineError(f"grubby refused {' '.join(absent)}: {last(errors or output)}")
    return outcome


def last(text: str) -> str:
    """Return the last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
