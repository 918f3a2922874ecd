# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What weakens a machine in the ways that only a kernel of its own shows, one way for each kind of control."""

from __future__ import annotations

from dataclasses import dataclass

SYSCTL = "/etc/sysctl.d/zz-weak.conf"
MODPROBE = "/etc/modprobe.d/00-weak.conf"
MODULES = "/etc/modules-load.d/weak.conf"
PROFILE = "/etc/apparmor.d/nvidia_modprobe"
COMPLAIN = "/etc/apparmor.d/force-complain/nvidia_modprobe"
RULES = "/etc/audit/rules.d/50-bulwark.rules"
BOOT = "/etc/default/grub.d/99-bulwark.cfg"


@dataclass(frozen=True)
class Breakage:
    """Which control fails, and it alone, after a command of root; what mends it, where site.yml does not."""

    control: str
    spoil: str
    mend: str = ""
    after_restart: bool = False


BREAKAGES = (
    Breakage("OS-05", f"echo fs.suid_dumpable = 2 > {SYSCTL}; sysctl -qp {SYSCTL}", f"rm {SYSCTL}"),
    Breakage(
        "OS-24.sctp",
        f"echo install sctp /sbin/modprobe --ignore-install sctp > {MODPROBE}; echo sctp > {MODULES}; modprobe sctp",
        f"rm {MODPROBE} {MODULES}",
    ),
    Breakage(
        "OS-38",
        f"ln -s {PROFILE} {COMPLAIN}; apparmor_parser --replace --skip-cache {PROFILE}",
        f"rm {COMPLAIN}",
    ),
    Breakage("OS-72.mac", f"sed -i '/apparmor -p/d' {RULES}; auditctl -W /etc/apparmor -p wa -k MAC-policy"),
    Breakage("OS-28", f"sed -i s/slab_nomerge// {BOOT}; update-grub 2> /dev/null", after_restart=True),
)
