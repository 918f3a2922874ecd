# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios' tests share: hosts by name, and connections tried from one host to another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import testinfra

ROOT = Path(__file__).resolve().parent.parent
# Bounds waiting, never what is asserted; a job of cron runs every minute.
PATIENCE_SECONDS = 75
TRY_TCP = (
    "import socket,sys\n"
    "try:\n"
    "    s=socket.create_connection((sys.argv[1],int(sys.argv[2])),float(sys.argv[3]))\n"
    "    s.settimeout(float(sys.argv[3]))\n"
    "    print('open' if s.recv(6) else 'closed')\n"
    "except ConnectionRefusedError: print('refused')\n"
    "except OSError: print('closed')\n"
)
TRY_UDP = (
    "import socket,sys\n"
    "i=socket.getaddrinfo(sys.argv[1],int(sys.argv[2]),type=socket.SOCK_DGRAM)[0]\n"
    "s=socket.socket(i[0],i[1]); s.settimeout(float(sys.argv[3]))\n"
    "try:\n"
    "    s.sendto(b'x',i[4]); print('open' if s.recvfrom(6)[0] else 'closed')\n"
    "except OSError: print('closed')\n"
)


class Scenario:
    """The running hosts of the scenario under test."""

    def __init__(self, name: str) -> None:
        self.group = f"molecule-{name}"
        self.program = [sys.executable, str(ROOT / "molecule/shared/hosts.py")]
        shown = self._hosts("inventory", "--json", "--group", self.group)
        self.variables: dict[str, dict[str, Any]] = json.loads(shown)["_meta"]["hostvars"]
        self.ssh_config = Path(self._hosts("ssh-config", "--group", self.group).strip())
        self._connections: dict[str, Any] = {}

    def _hosts(self, *arguments: str) -> str:
        done = subprocess.run([*self.program, *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    def host(self, name: str) -> Any:
        """Return the Testinfra host; one shared SSH connection each."""
        if name not in self._connections:
            self._connections[name] = testinfra.get_host(f"ssh://{name}?sudo=true", ssh_config=str(self.ssh_config))
        return self._connections[name]

    def address(self, name: str, family: int = 4) -> str:
        """Return the host's address of a family."""
        return str(self.variables[name]["bulwark_addresses"][0 if family == 4 else 1])

    @staticmethod
    def eventually(condition: Callable[..., bool], *arguments: Any) -> bool:
        """Wait until a condition on these arguments holds; returns whether it did."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not condition(*arguments):
            if time.monotonic() > until:
                return False
            time.sleep(0.5)
        return True

    def tries(self, source: str, destination: str, port: int, family: int = 4, protocol: str = "tcp") -> str:
        """Return what a connection from one host to another meets: open, refused or closed."""
        program = TRY_TCP if protocol == "tcp" else TRY_UDP
        address = self.address(destination, family)
        return str(self.host(source).run("python3 -c %s %s %s %s", program, address, str(port), "1.5").stdout.strip())

    def reboot(self, name: str) -> None:
        """Restart a host and wait until it is back."""
        self._connections.pop(name, None)
        self._hosts("reboot", f"{self.group}/{name}")

    def run_playbook(self, playbook: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook against the scenario's inventory."""
        scenario = playbook.parent
        command = [
            "ansible-playbook",
            f"--inventory={ROOT / 'molecule/shared/inventory.py'}",
            f"--inventory={scenario / 'inventory'}",
            str(playbook),
            *arguments,
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    """Return the scenario that Molecule runs."""
    return Scenario(os.environ["MOLECULE_SCENARIO_NAME"])
