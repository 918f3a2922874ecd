# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restart the scenario's machines, side by side: orderly, or by the reset button inside a transaction's window.

python restart.py orderly|inside-the-window HOST…
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SCENARIO = Path(__file__).resolve().parent.parent
ROOT = SCENARIO.parent.parent
GROUP = f"molecule-{SCENARIO.name}"
HOSTS = [sys.executable, str(ROOT / "molecule/shared/hosts.py")]
NEWEST_JOURNAL = (
    "cd /var/lib/bulwark/transactions && cd $(ls | grep ^2 | tail -n 1)/journal && cat $(ls | grep json$ | tail -n 1)"
)
WAIT_SECONDS = 150
# Each look is a login, which costs an emulated machine seconds of its own.
POLL_SECONDS = 4


def ssh(host: str, command: str) -> str:
    """Return what a new login's command prints; empty when there is no login."""
    config = subprocess.run(
        [*HOSTS, "ssh-config", "--group", GROUP], capture_output=True, text=True, check=True
    ).stdout.strip()
    done = subprocess.run(
        ["ssh", "-F", config, host, f"sudo -n sh -c '{command}'"], capture_output=True, text=True, check=False
    )
    return done.stdout


def journal(host: str) -> dict[str, str]:
    """Return the newest journal of the host; empty while there is none to be read."""
    try:
        found: dict[str, str] = json.loads(ssh(host, NEWEST_JOURNAL))
    except ValueError:
        return {}
    return found


def restart(host: str, *options: str) -> None:
    subprocess.run([*HOSTS, "reboot", *options, f"{GROUP}/{host}"], check=True, stdout=subprocess.DEVNULL)


def reset_inside_the_window(host: str) -> None:
    """Begin a change, wait until it is applied, press the reset button, and see it undone by the boot."""
    before = journal(host).get("id")
    # The controller dies as a whole; without a PID namespace its workers would go on to confirm.
    process = subprocess.Popen(
        [
            *("unshare", "--pid", "--fork", "--kill-child", "ansible-playbook"),
            f"--inventory={ROOT / 'molecule/shared/inventory.py'}",
            f"--inventory={SCENARIO / 'inventory'}",
            *(f"--limit={host}", str(SCENARIO / "files/harmful.yml")),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "MOLECULE_SCENARIO_NAME": SCENARIO.name},
    )
    until = time.monotonic() + WAIT_SECONDS
    phase = ""
    while phase != "APPLIED" and time.monotonic() < until and process.poll() is None:
        time.sleep(POLL_SECONDS)
        found = journal(host)
        phase = found["phase"] if found and found["id"] != before else ""
    applied = phase == "APPLIED"
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    output = process.communicate()[0]
    if not applied:
        raise RuntimeError(f"{host}: the change was not applied within {WAIT_SECONDS} s:\n{output[-3000:]}")
    restart(host, "--hard")
    found = journal(host)
    if found.get("phase") != "ROLLED_BACK" or "boot" not in found.get("reason", ""):
        raise RuntimeError(f"{host}: after the reset the journal says {found.get('phase')}: {found.get('reason')}")


WAYS = {"orderly": restart, "inside-the-window": reset_inside_the_window}


def main() -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda wish: WAYS[wish.partition("=")[2]](wish.partition("=")[0]), sys.argv[1:]))


if __name__ == "__main__":
    main()
