# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mandatory access control: AppArmor and SELinux, as the kernel has them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping

from ..host import Host
from ..model import Item, Observation, Unreadable, item, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader

ENABLED = "/sys/module/apparmor/parameters/enabled"
PROFILES = "/sys/kernel/security/apparmor/profiles"
SELINUX = "/sys/fs/selinux/enforce"
# "unconfined" is a mode of its own: such a profile only lets its program use user namespaces.
ENFORCING = ("enforce", "kill", "unconfined")


def apparmor(host: Host, parameters: Parameters) -> Observation:
    """Check that AppArmor confines. With ``enforce`` every profile that is loaded enforces, but for those of ``except``
    (names or globs), at least one is loaded, and no program with a profile runs unconfined.
    """
    if (host.read(ENABLED) or "").strip() != "Y":
        return observation([item("AppArmor", False, "enabled", "not enabled in this kernel")], ENABLED)
    items: list[Item] = [item("AppArmor", True, "enabled", "enabled")]
    if parameters["enforce"]:
        text = host.read(PROFILES)
        if text is None:
            raise Unreadable(f"there is no {PROFILES}; securityfs is not mounted")
        profiles = parse(text)
        judged = {
            name: mode
            for name, mode in profiles.items()
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in parameters["except"])
        }
        if not profiles:
            items.append(item("profiles", False, "loaded", "none"))
        items += [item(name, mode in ENFORCING, "enforcing", mode) for name, mode in judged.items()]
        items += _unconfined(host, {name for name, mode in judged.items() if mode != "unconfined"})
    return observation(items, PROFILES)


def parse(text: str) -> dict[str, str]:
    """Return the mode of each profile."""
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"(.+) \((\w+)\)", line)
        if match:
            found[match[1]] = match[2]
    return found


def _unconfined(host: Host, profiles: set[str]) -> list[Item]:
    items = []
    for process in host.processes:
        program = host.link(f"/proc/{process}/exe").replace(" (deleted)", "")
        if program not in profiles:
            continue
        try:
            current = (host.read(f"/proc/{process}/attr/current") or "").strip("\0\n ")
        except Unreadable:
            continue  # it ended meanwhile
        if current == "unconfined":
            items.append(item(program, False, "confined", f"process {process} runs unconfined"))
    return items


def selinux(host: Host, parameters: Parameters) -> Observation:
    """Check SELinux. ``mode``: enforcing or permissive."""
    state = host.read(SELINUX)
    observed = "disabled" if state is None else "enforcing" if state.strip() == "1" else "permissive"
    return observation([item("SELinux", observed == parameters["mode"], parameters["mode"], observed)], SELINUX)


READERS: Mapping[str, Reader] = {
    "apparmor": Reader(
        apparmor, {"enforce": Parameter("boolean", default=True), "except": Parameter("texts", default=())}
    ),
    "selinux": Reader(selinux, {"mode": Parameter("text", default="enforcing", choices=("enforcing", "permissive"))}),
}
