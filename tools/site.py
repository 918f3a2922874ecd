# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""./dev site: the whole collection against real, disposable hosts."""

from __future__ import annotations

import subprocess
import typing as t

from . import hosts
from .paths import ROOT, tool

HOSTS = ("edge1=debian13", "identity1=debian12", "database1=debian13")
INVENTORY = ROOT / "inventories" / "disposable"


def site(options: t.Sequence[str]) -> int:
    """Bring the hosts of the disposable inventory up, run site.yml against them, and say how to look around."""
    code = hosts.call(["up", "--group", "site", *HOSTS])
    if code:
        return code
    command = [tool("ansible-playbook"), "--inventory", str(INVENTORY), str(ROOT / "playbooks" / "site.yml")]
    code = subprocess.run([*command, *options], cwd=ROOT, check=False).returncode
    if code == 0:
        names = [specification.partition("=")[0] for specification in HOSTS]
        print("\nLook around:")
        for name in names:
            print(f"  ./dev hosts ssh site/{name}")
        print("Run it again, and nothing changes: ./dev site. Remove the hosts: ./dev hosts down --group site")
    return code
