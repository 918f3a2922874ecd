#!/usr/bin/env python3
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible inventory script: the running disposable hosts of the group `site`.

A host belongs to the inventory group that its name begins with: edge1 and edge2 are of group edge.
`./dev hosts up --add --group site edge2=debian12` adds one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[2] / "molecule" / "shared" / "hosts.py"
GROUPS = ("access", "database", "edge", "identity", "overlay", "witness")


def main() -> None:
    """Print the inventory; without a running host, say how to start some."""
    command = [sys.executable, str(PROGRAM), "inventory", "--json", "--group", "site"]
    shown = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if shown.returncode != 0:
        sys.exit(shown.stderr.strip())
    inventory = json.loads(shown.stdout)
    hosts = inventory["all"]["hosts"]
    if not hosts:
        sys.exit("There are no disposable hosts yet; `./dev site` starts them.")
    inventory["stack"] = {"children": list(GROUPS)}
    for group in GROUPS:
        inventory[group] = {"hosts": [host for host in hosts if host.rstrip("0123456789") == group]}
    json.dump(inventory, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
