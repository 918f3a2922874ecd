# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until a new policy is live, then do what no check can foresee; undo it once the old policy is back.

Runs on a disposable host: saboteur firewall|sshd|access DAMAGE, where DAMAGE is a key of RULES or COMMANDS.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

TRAP_PORT = "6666"
TRAP_BANNER = "bulwark-trap"
MARKED_FILES = (Path("/etc/ssh/sshd_config.d/00-bulwark.conf"), Path("/etc/ssh/bulwark/banner"))
TRAP_RULES = Path("/etc/sudoers.d/zz-trap")
RULES = {
    "drop-new-logins": "tcp dport 22 ct state new drop",
    "reject-new-logins": "tcp dport 22 ct state new reject with tcp reset",
    "drop-everything": "iifname != lo drop",
}

# What is done, and what undoes it; files that the transaction covers are left for it to put back.
COMMANDS = {
    "refuse-logins": ("printf 'account requisite pam_deny.so\\n' > /etc/pam.d/sshd", "true"),
    "refuse-sessions": ("sed -i '1i session requisite pam_deny.so' /etc/pam.d/sshd", "true"),
    "refuse-sudo": ("printf 'account requisite pam_deny.so\\n' > /etc/pam.d/sudo", "true"),
    "open-sudoers": ("chmod 0666 /etc/sudoers", "true"),
    # sudo goes on after a line that it does not understand, so that nothing else may be left.
    "break-sudoers": ("echo 'Defaults nonsense=' > /etc/sudoers", "true"),
    "remove-rules": ("rm /etc/sudoers.d/admin", "true"),
    "close-host": ("echo closed > /etc/nologin", "rm -f /etc/nologin"),
    "expire-account": ("chage -E 1 admin", "chage -E -1 admin"),
    "replace-shell": ("usermod -s /usr/sbin/nologin admin", "usermod -s /bin/bash admin"),
}


def firewall_is_new() -> bool:
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=False).stdout
    return f"dport {TRAP_PORT}" in rules


def sshd_is_new() -> bool:
    return any(path.exists() and TRAP_BANNER in path.read_text(encoding="utf-8") for path in MARKED_FILES)


def access_is_new() -> bool:
    return TRAP_RULES.exists() and TRAP_BANNER in TRAP_RULES.read_text(encoding="utf-8")


def strike(damage: str, on: bool) -> None:
    """Do the damage, or undo it."""
    if damage in COMMANDS:
        subprocess.run(["/bin/sh", "-c", COMMANDS[damage][0 if on else 1]], check=True)
        return
    text = "delete table inet saboteur\n"
    if on:
        rule = RULES[damage]
        text = f"table inet saboteur {{ chain input {{ type filter hook input priority -300; {rule}; }}; }}\n"
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def main() -> None:
    condition = {"firewall": firewall_is_new, "sshd": sshd_is_new, "access": access_is_new}[sys.argv[1]]
    damaged = False
    for _index in range(3000):
        if condition() != damaged:
            damaged = not damaged
            strike(sys.argv[2], damaged)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
