# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wireless network interfaces."""

from __future__ import annotations

from collections.abc import Mapping

from ..host import Host
from ..model import Observation, Verdict
from ..parameters import Parameters
from ..reader import Reader

INTERFACES = "/sys/class/net"


def wireless_interfaces(host: Host, _parameters: Parameters) -> Observation:
    """Check that the host has no wireless network interface, whether it is up or not."""
    found = [
        name
        for name in host.names(INTERFACES)
        if host.exists(f"{INTERFACES}/{name}/wireless") or host.exists(f"{INTERFACES}/{name}/phy80211")
    ]
    verdict = Verdict.FAIL if found else Verdict.PASS
    return Observation(verdict, "none", ", ".join(found) or "none", source=INTERFACES)


READERS: Mapping[str, Reader] = {"wireless_interfaces": Reader(wireless_interfaces)}
