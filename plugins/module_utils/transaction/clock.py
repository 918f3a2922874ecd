# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time as the engine needs it: UTC for people, CLOCK_BOOTTIME and the boot id for decisions."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from pathlib import Path


class Clock:
    """The real clock; tests bring their own."""

    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def boottime(self) -> float:
        """Seconds since boot, suspend included; nobody can set it."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def boot_id(self) -> str:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def iso(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def later(moment: datetime, seconds: float) -> str:
    return iso(moment + timedelta(seconds=seconds))
