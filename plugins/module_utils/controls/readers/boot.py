# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The boot menu's password, the signatures that the firmware checks, and what is locked from then on."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..host import Host
from ..model import Item, Observation, Unreadable, Verdict, item, missing, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader
from .kernel import CMDLINE, next_command_lines, split_command_line

MENU = "/boot/grub/grub.cfg"
LOCKDOWN = "/sys/kernel/security/lockdown"
LOCKED_DOWN = ("integrity", "confidentiality")
VARIABLES = "/sys/firmware/efi/efivars"
SECURE_BOOT = f"{VARIABLES}/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
SUPERUSERS = re.compile(r"^\s*set\s+superusers=[\"']?([^\"'\n]*)[\"']?\s*$", re.MULTILINE)
HASHED = re.compile(r"^\s*password_pbkdf2\s+(\S+)\s+grub\.pbkdf2\.sha512\.\d+\.[0-9A-F]+\.[0-9A-F]+\s*$", re.M | re.I)
PLAIN = re.compile(r"^\s*password\s+(\S+)", re.MULTILINE)
ENTRY = re.compile(r"^\s*menuentry\s.*$", re.MULTILINE)


def boot_password(host: Host, parameters: Parameters) -> Observation:
    """Check that the boot menu lets nobody change an entry without a password, and starts Linux without one.

    ``superuser``: the one who may, if it matters. Hashes are never told.
    """
    menu = host.read(MENU)
    if menu is None:
        return observation([missing("", f"there is no {MENU}")], MENU)
    listed = SUPERUSERS.findall(menu)
    superusers = [name for name in re.split(r"[\s,;&|]+", listed[-1]) if name] if listed else []
    hashed, plain = set(HASHED.findall(menu)), set(PLAIN.findall(menu))
    wanted = parameters["superuser"]
    passed = bool(superusers) and (not wanted or superusers == [wanted])
    items = [item("superusers", passed, wanted or "set", ", ".join(superusers) or "none")]
    for name in superusers:
        how = "in clear" if name in plain else "hashed" if name in hashed else "none"
        items.append(item(f"password of {name}", how == "hashed", "hashed", how))
    entries = [line for line in ENTRY.findall(menu) if "gnu-linux" in line]
    asking = [line for line in entries if "--unrestricted" not in line.split("{")[0].split()]
    # An entry that asks keeps a host from coming back after an unattended restart.
    observed = f"{len(asking)} of {len(entries)} ask" if asking else f"{len(entries)} start"
    items.append(item("entries of Linux", bool(entries) and not asking, "start without a password", observed))
    return observation(items, MENU)


def secure_boot(host: Host, _parameters: Parameters) -> Observation:
    """Check that the firmware starts signed programs only; a host that was not started by EFI has no such thing."""
    if not host.exists("/sys/firmware/efi"):
        return observation([], SECURE_BOOT, "the host was not started by EFI firmware")
    if not host.names(VARIABLES):
        raise Unreadable(f"{VARIABLES} is empty; efivarfs is not mounted")
    # Four bytes of attributes, then the value.
    value = host.read(SECURE_BOOT)
    state = "not supported" if value is None else "on" if value[4:] == "\x01" else "off"
    return observation([item("Secure Boot", state == "on", "on", state)], SECURE_BOOT)


def lockdown(host: Host, _parameters: Parameters) -> Observation:
    """Check that root cannot change the running kernel. What was asked for the next boot only is pending."""
    text = host.read(LOCKDOWN)
    found = re.search(r"\[(\w+)\]", text or "")
    state = found[1] if found else "not in this kernel"
    later = [_asks_for_lockdown(line) for line in next_command_lines(host)]
    if state == "none" and later and all(later) and not _asks_for_lockdown(host.read(CMDLINE) or ""):
        reason = "the boot loader has it; it takes effect at the next boot"
        return observation([Item("lockdown", Verdict.PENDING, "integrity", state, reason)], LOCKDOWN)
    return observation([item("lockdown", state in LOCKED_DOWN, "integrity", state)], LOCKDOWN)


def _asks_for_lockdown(line: str) -> bool:
    return any(word in split_command_line(line) for word in (f"lockdown={state}" for state in LOCKED_DOWN))


READERS: Mapping[str, Reader] = {
    "boot_password": Reader(boot_password, {"superuser": Parameter("text")}),
    "lockdown": Reader(lockdown),
    "secure_boot": Reader(secure_boot),
}
