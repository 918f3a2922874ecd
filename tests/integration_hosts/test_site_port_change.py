# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of site.yml moves sshd to another port: the firewall opens the new one before, and closes the old one after.

Makes its own disposable hosts (root on Linux): one behind ufw, one behind firewalld.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
HOSTS = [sys.executable, str(REPOSITORY / "molecule/shared/hosts.py")]
# The hosts are named after the firewall manager that they get.
MANAGERS = {"ufw": "debian12", "firewalld": "debian13"}
OLD, NEW = 22, 2222
LISTENER = (
    "import socket, time; "
    "s = socket.create_server(('::', {port}), family=socket.AF_INET6, dualstack_ipv6=True); time.sleep(3600)"
)
PATIENCE_SECONDS = 600

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root")


def reachable(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=3):
            return True
    except OSError:
        return False


@dataclass
class Fleet:
    """Two hosts, and the port on which the inventory says that their sshd is."""

    group: str
    folder: Path
    inventory: Path = Path()
    ssh_config: str = ""
    port: int = OLD

    def tool(self, *arguments: str) -> str:
        command = [*HOSTS, arguments[0], "--group", self.group, *arguments[1:]]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE_SECONDS)
        return done.stdout.strip()

    def up(self) -> None:
        wishes = [f"{name}={release}" for name, release in MANAGERS.items()]
        self.inventory = Path(self.tool("up", *wishes).splitlines()[-1])
        self.ssh_config = self.tool("ssh-config")

    def addresses(self, name: str) -> list[str]:
        listed = json.loads(self.tool("inventory", "--json"))
        return [str(address) for address in listed["_meta"]["hostvars"][name]["bulwark_addresses"]]

    def known_hosts(self) -> Path:
        """Return a file that knows the hosts as somebody does who has only ever seen them on this port."""
        form = "{}" if self.port == OLD else f"[{{}}]:{self.port}"
        lines = []
        for line in self.inventory.with_name("known_hosts").read_text(encoding="ascii").splitlines():
            listed, key = line.split(" ", 1)
            lines.append(",".join(form.format(name) for name in listed.split(",")) + f" {key}\n")
        path = self.folder / "known_hosts"
        path.write_text("".join(lines), encoding="ascii")
        return path

    def site(self, port: int) -> dict[str, int]:
        """Bring the policy with this port, and return how much changed on each host."""
        variables = {
            "firewall_backend": "{{ inventory_hostname }}",
            "firewall_management_sources": "{{ disposable_controller_addresses }}",
            "firewall_confirm_seconds": 2,
            "ssh_confirm_seconds": 2,
            "ssh_ports": [port],
        }
        reach = self.folder / "reach.yml"
        trust = f"-o UserKnownHostsFile={self.known_hosts()} -o GlobalKnownHostsFile=/dev/null"
        known = {
            "ansible_port": self.port,
            "ansible_ssh_common_args": f"{trust} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes",
        }
        reach.write_text(json.dumps({"all": {"vars": known}}), encoding="utf-8")
        command = [
            *("ansible-playbook", "-i", str(self.inventory), "-i", str(reach)),
            *(str(REPOSITORY / "playbooks/site.yml"), "--tags", "firewall,ssh", "-e", json.dumps(variables)),
        ]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg")}
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        self.port = port
        recap = done.stdout.rpartition("PLAY RECAP")[2]
        return {name: int(count) for name, count in re.findall(r"^(\S+)\s+:.* changed=(\d+)", recap, re.MULTILINE)}

    def login(self, name: str, *command: str) -> str:
        """Log in anew, on the port where sshd is meant to be."""
        options = ["-F", self.ssh_config, "-o", "ControlMaster=no", "-o", "ControlPath=none", "-p", str(self.port)]
        done = subprocess.run(
            ["ssh", *options, name, *command], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def listen(self, name: str, port: int) -> None:
        """Let something else listen on the port that sshd left, so that only the firewall can close it."""
        script = f'"{LISTENER.format(port=port)}"'
        self.login(name, f"sudo systemd-run --quiet --unit=left-{port} /usr/bin/python3 -c {script}")
        ask = f"import socket, time; time.sleep(1); socket.create_connection(('127.0.0.1', {port}), 3)"
        self.login(name, f'python3 -c "{ask}"')

    def open_ports(self, name: str) -> dict[str, list[int]]:
        return {address: [port for port in (OLD, NEW) if reachable(address, port)] for address in self.addresses(name)}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(f"p-{os.getpid()}", tmp_path_factory.mktemp("port"))
    try:
        made.up()
        yield made
    finally:
        made.tool("down")


def expect_only(fleet: Fleet, port: int) -> None:
    for name in MANAGERS:
        assert fleet.login(name, "echo $SSH_CONNECTION").split()[3] == str(port)
        fleet.listen(name, OLD + NEW - port)
        found: dict[str, Any] = fleet.open_ports(name)
        assert len(found) == 2
        assert set(map(tuple, found.values())) == {(port,)}, (name, found)
        fleet.login(name, f"sudo systemctl stop left-{OLD + NEW - port}")


def test_one_run_moves_fresh_hosts_to_another_port(fleet: Fleet) -> None:
    changed = fleet.site(NEW)
    assert set(changed) == set(MANAGERS)
    assert min(changed.values()) >= 3
    expect_only(fleet, NEW)


def test_the_next_run_changes_nothing(fleet: Fleet) -> None:
    assert fleet.site(NEW) == dict.fromkeys(MANAGERS, 0)


def test_one_run_moves_them_back(fleet: Fleet) -> None:
    changed = fleet.site(OLD)
    # The new port is opened, sshd moves, the old port is closed.
    assert changed == dict.fromkeys(MANAGERS, 3)
    expect_only(fleet, OLD)
    assert fleet.site(OLD) == dict.fromkeys(MANAGERS, 0)
