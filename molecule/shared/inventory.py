#!/usr/bin/env python3
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible inventory script: the running disposable hosts of the Molecule scenario that asks."""

from __future__ import annotations

import os
import sys

from disposable_hosts.cli import main

if __name__ == "__main__":
    scenario = os.environ.get("MOLECULE_SCENARIO_NAME", "")
    sys.exit(main(["inventory", "--json", "--group", f"molecule-{scenario}"]))
