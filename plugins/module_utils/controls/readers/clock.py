# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clock: who sets it, and what the kernel thinks of it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass

from .. import conditions
from ..host import Host
from ..model import Observation, Unreadable, item, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader
from .systemd import UNITS, unit_properties

DAEMONS = {
    "chrony": ("chrony.service", "chronyd.service"),
    "ntpsec": ("ntpsec.service", "ntp.service", "ntpd.service"),
    "openntpd": ("openntpd.service",),
    "systemd-timesyncd": ("systemd-timesyncd.service",),
}
UNSYNCHRONISED, NANOSECONDS = 0x0040, 0x2000  # STA_UNSYNC, STA_NANO


class _Timex(ctypes.Structure):
    """struct timex as far as it is read here; the kernel writes 208 bytes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


@dataclass(frozen=True)
class KernelClock:
    """What the kernel knows about its clock."""

    synchronised: bool
    offset_seconds: float


def kernel_clock() -> KernelClock:
    """Ask the kernel, changing nothing. Raises Unreadable if it does not answer."""
    library = ctypes.CDLL(None, use_errno=True)
    state = _Timex()  # modes is 0: read only
    if library.adjtimex(ctypes.byref(state)) < 0:
        raise Unreadable(f"the kernel does not tell about its clock: {os.strerror(ctypes.get_errno())}")
    # What is still to be corrected, or what the daemon estimates, in its own units.
    offset = abs(state.offset) * (1e-9 if state.status & NANOSECONDS else 1e-6)
    return KernelClock(not state.status & UNSYNCHRONISED, max(offset, state.esterror * 1e-6))


def announce_clock(host: Host, _parameters: Parameters) -> None:
    """Note the units of all time daemons."""
    host.wish(UNITS, (unit for units in DAEMONS.values() for unit in units))


def time_sync(host: Host, parameters: Parameters) -> Observation:
    """Check that one time daemon runs and keeps the clock.

    ``daemons``: of systemd-timesyncd, chrony, ntpsec and openntpd those that may, exactly one of which must run and no
    other. ``synchronised``: the kernel's clock is kept by it. ``offset_seconds``: a condition on how far off the kernel
    believes its clock to be.
    """
    running = [
        name
        for name, units in DAEMONS.items()
        if any(unit_properties(host, unit).get("ActiveState") == "active" for unit in units)
    ]
    passed = len(running) == 1 and running[0] in parameters["daemons"]
    items = [item("daemon", passed, " or ".join(parameters["daemons"]), ", ".join(running) or "none")]
    wants_offset = parameters["offset_seconds"] is not None
    if parameters["synchronised"] or wants_offset:
        clock: KernelClock = host.once("kernel clock", kernel_clock)
        if parameters["synchronised"]:
            observed = "synchronised" if clock.synchronised else "not synchronised"
            items.append(item("clock", clock.synchronised, "synchronised", observed))
        if wants_offset:
            condition, value = parameters["offset_seconds"], f"{clock.offset_seconds:.3f}"
            items.append(item("offset", conditions.met(condition, value), conditions.describe(condition), f"{value} s"))
    return observation(items, "systemctl show, adjtimex")


READERS: Mapping[str, Reader] = {
    "time_sync": Reader(
        time_sync,
        {
            "daemons": Parameter("texts", required=True, choices=tuple(DAEMONS)),
            "synchronised": Parameter("boolean", default=True),
            "offset_seconds": Parameter("condition"),
        },
        announce_clock,
    )
}
