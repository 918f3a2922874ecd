# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold a candidate of firewalld in the kernel without its daemon; run as a program inside the rehearsal's namespace.

Arguments: ``restart`` or ``stop``, which is what the rollback does, then ``zone=interface`` bindings. The program
loads the configuration that it finds in /etc/firewalld, says so by a file, and waits for the rollback to be asked.
Source: firewalld's firewall.core.fw.Firewall, which the daemon itself starts.
"""

from __future__ import annotations

import os
import sys
import time

READY, ROLL_BACK, ROLLED_BACK = "/run/bulwark-ready", "/run/bulwark-roll-back", "/run/bulwark-rolled-back"


def touch(path: str) -> None:
    """Make an empty file."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def hold(after_rollback: str, bindings: list[str]) -> None:
    """Load, wait, roll back, wait until the namespace ends."""
    from firewall.core.fw import Firewall  # type: ignore[import-not-found,import-untyped,unused-ignore]

    def load() -> Firewall:
        firewall = Firewall()
        firewall.start()
        for binding in bindings:
            zone, _equals, interface = binding.partition("=")
            firewall.zone.change_zone_of_interface(zone, interface)
        return firewall

    firewall = load()
    touch(READY)
    while not os.path.exists(ROLL_BACK):
        time.sleep(0.05)
    firewall.stop()
    if after_rollback == "restart":
        firewall = load()
    touch(ROLLED_BACK)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    hold(sys.argv[1], sys.argv[2:])
