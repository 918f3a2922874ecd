# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the program that observes controls to a disposable host, so that a look is one call of it, not of Ansible."""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "plugins/module_utils"
PLACE = "/root/bulwark-test"
UNPACK = f"mkdir -p {PLACE} && tar -C {PLACE} -xf -"
DRIVER = f"python3 -B {PLACE}/controls_driver.py"


def packed() -> bytes:
    """Return what UNPACK takes from its standard input."""
    return subprocess.run(
        [
            "tar",
            "-C",
            str(PACKAGE),
            "--exclude=__pycache__",
            "-cf",
            "-",
            "controls",
            "-C",
            str(HERE),
            "controls_driver.py",
        ],
        capture_output=True,
        check=True,
    ).stdout
