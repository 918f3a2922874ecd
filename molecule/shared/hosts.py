#!/usr/bin/env python3
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes, lists and removes disposable hosts; `hosts.py --help` explains."""

from __future__ import annotations

import sys

from disposable_hosts.cli import main

if __name__ == "__main__":
    sys.exit(main())
