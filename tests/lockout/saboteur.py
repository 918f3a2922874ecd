# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until a new policy is live, then do what no check can foresee; undo it once the old policy is back.

Runs on a disposable host: saboteur firewall|sshd drop-new-logins|reject-new-logins|drop-everything
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

TRAP_PORT = "6666"
TRAP_BANNER = "bulwark-trap"
MARKED_FILES = (Path("/etc/ssh/sshd_config.d/00-bulwark.conf"), Path("/etc/ssh/bulwark/banner"))
RULES = {
    "drop-new-logins": "tcp dport 22 ct state new drop",
    "reject-new-logins": "tcp dport 22 ct state new reject with tcp reset",
    "drop-everything": "iifname != lo drop",
}


def firewall_is_new() -> bool:
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=False).stdout
    return f"dport {TRAP_PORT}" in rules


def sshd_is_new() -> bool:
    return any(path.exists() and TRAP_BANNER in path.read_text(encoding="utf-8") for path in MARKED_FILES)


def main() -> None:
    condition = {"firewall": firewall_is_new, "sshd": sshd_is_new}[sys.argv[1]]
    damaged = False
    for _index in range(3000):
        if condition() != damaged:
            damaged = not damaged
            if damaged:
                rule = RULES[sys.argv[2]]
                text = f"table inet saboteur {{ chain input {{ type filter hook input priority -300; {rule}; }}; }}\n"
            else:
                text = "delete table inet saboteur\n"
            subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
