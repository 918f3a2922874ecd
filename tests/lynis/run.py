# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let Lynis judge hosts that site.yml has hardened: a scanner that knows nothing of this collection.

    python tests/lynis/run.py                   a container and a virtual machine, with the defaults and the opt-in rows
    python tests/lynis/run.py --container-only  the quick part

No test of Lynis is skipped and no profile is given. Prints the index and the points of each host, stock and hardened,
and after the last step where Lynis still takes points, with its warnings and suggestions; docs/lynis.md answers those.
Ends with 1 below the floors, when a control fails after a restart, or when a repeated run changes something.

The machine has file systems of its own for data and logs, as one that was installed for a server; hardening does not
repartition. What the opt-in rows need is installed by their own step, so that it cannot count for the defaults.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.bulwark.hardening.plugins.plugin_utils import baseline_policy, catalogue

ROOT = Path(__file__).resolve().parents[2]
HOSTS = [sys.executable, str(ROOT / "molecule/shared/hosts.py")]
GROUP = "lynis"
RELEASE = "debian12"
FLOORS = {("container", "defaults"): 84, ("machine", "defaults"): 90, ("machine", "opt-in"): 95}
# The opt-in rows that Lynis knows of.
OPT_IN = ("OS-23.usbguard", "OS-31", "OS-37", "OS-52", "OS-84.accounting", "OS-84.statistics")
FILE_SYSTEMS = ("/home", "/var", "/var/tmp", "/var/log", "/var/log/audit")
# What an installer leaves: a boot menu. The disposable machine starts from it.
BOOT_MENU = "sudo sh -c 'mkdir -p /boot/grub && update-grub'"
# Emulated machines take their time to log in.
SLOW: dict[str, Any] = {
    **{f"{role}_window_seconds": 300 for role in ("firewall", "ssh", "baseline")},
    **{f"{role}_confirm_seconds": 5 for role in ("firewall", "ssh", "baseline")},
}
AUDIT = "sudo -i lynis audit system --quick --no-colors > /dev/null 2>&1; sudo cat /var/log/lynis.log"
REPORT = "sudo cat /var/log/lynis-report.dat"
PARTIAL = re.compile(r"assigned partial number of hardening points \((\d+) of (\d+)\)")
TOTAL = re.compile(r"Currently having (\d+) points \(out of (\d+)\)")


@dataclass(frozen=True)
class Measure:
    """What one audit found: the index as Lynis prints it, its points, and where it takes some."""

    index: int
    points: int
    possible: int
    lost: Sequence[tuple[str, int, str]]
    remarks: Sequence[str]


def read(log: str, report: str) -> Measure:
    """Return what Lynis wrote into its log, which has the points, and its report, which has the rest."""
    test, reason, points, possible = "", "", 0, 0
    lost: list[tuple[str, int, str]] = []
    for line in (line[20:].strip() for line in log.splitlines()):
        begun = re.match(r"Performing test ID (\S+)", line)
        test = begun[1] if begun else test
        partial = PARTIAL.search(line)
        if partial:
            lost.append((test, int(partial[2]) - int(partial[1]), reason))
        total = TOTAL.search(line)
        if total:
            points, possible = int(total[1]), int(total[2])
        elif line.strip(" ="):
            reason = line
    found = re.search(r"^hardening_index=(\d+)$", report, re.MULTILINE)
    if found is None:
        raise SystemExit(f"Lynis gave no index; the end of its log: {log[-500:]}")
    remarks = re.findall(r"^(warning|suggestion)\[\]=([^|]+)\|([^|]*)\|([^|]*)", report, re.MULTILINE)
    return Measure(int(found[1]), points, possible, lost, [" ".join(remark).rstrip("- ") for remark in remarks])


def run(command: Sequence[str], timeout: float = 3600) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
    )


def boot_loader_hash(password: str) -> str:
    """Return what grub-mkpasswd-pbkdf2 would print."""
    salt = secrets.token_bytes(64)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 10000)
    return f"grub.pbkdf2.sha512.10000.{salt.hex().upper()}.{digest.hex().upper()}"


def packages() -> list[str]:
    """Return what the defaults install on a machine: installing it inside an emulated one takes long."""
    variables = yaml.safe_load((ROOT / "roles/baseline/defaults/main.yml").read_text(encoding="utf-8"))
    platform = baseline_policy.Platform("Debian", "Debian", RELEASE.removeprefix("debian"), own_kernel=True)
    wished = baseline_policy.build(catalogue.load(), variables, platform)["packages_present"]
    return ["lynis", "grub2-common", "ufw", "fail2ban", "python3-systemd", "nftables", *wished]


class Host:
    """One disposable host, stock at first."""

    def __init__(self, name: str, inventory: Path, logs: Path) -> None:
        self.name, self.inventory, self.logs = name, inventory, logs

    def ssh(self, command: str) -> str:
        config = str(self.inventory.parent / "ssh_config")
        return run(["ssh", "-F", config, "-o", "ControlPath=none", self.name, command]).stdout

    def harden(self, step: str, variables: Mapping[str, Any]) -> int:
        """Run site.yml; returns how many tasks changed something."""
        command = ["ansible-playbook", "-i", str(self.inventory), "playbooks/site.yml", "--limit", self.name]
        done = run([*command, "-e", json.dumps(variables)])
        (self.logs / f"{self.name}-{step}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        if done.returncode:
            raise SystemExit(f"{self.name}: site.yml failed; see {self.logs}")
        words = " ".join(done.stdout.rpartition("TASK [Say what")[2].split())
        failing = re.findall(r"([A-Z]+-[0-9]+\S*) \([^)]*\) (?:fails|is unknown)", words)
        if failing:
            raise SystemExit(f"{self.name}: controls fail: {', '.join(failing)}; see {self.logs}")
        found = re.search(r"changed=(\d+)", done.stdout.rpartition("PLAY RECAP")[2])
        return int(found[1]) if found else 0

    def settle(self) -> None:
        """Have what the first day would bring: AIDE's database, and what takes effect at a restart."""
        self.ssh("sudo systemctl start --wait bulwark-aide-init.service")
        done = run([*HOSTS, "reboot", f"{GROUP}/{self.name}"])
        if done.returncode:
            raise SystemExit(done.stderr)

    def measure(self, step: str) -> Measure:
        log = self.ssh(AUDIT)
        (self.logs / f"{self.name}-{step}-lynis.log").write_text(log, encoding="utf-8")
        return read(log)


def examine(host: Host, steps: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], Measure]:
    """Measure a host before and after each step; returns what is wrong, and the last measure."""
    wrong = []
    last = host.measure("before")
    print(line(host.name, "before", last), flush=True)
    for step, variables in steps.items():
        host.harden(step, variables)
        host.settle()
        again = host.harden(f"{step}-again", variables)
        if again:
            wrong.append(f"{host.name}, {step}: the run after a restart changed {again} tasks")
        last = host.measure(step)
        floor = FLOORS[host.name, step]
        print(f"{line(host.name, step, last)}  floor {floor}", flush=True)
        if last.index < floor:
            wrong.append(f"{host.name}, {step}: index {last.index}, at least {floor} is expected")
    return wrong, last


def line(host: str, step: str, found: Measure) -> str:
    return f"{host:<10} {step:<9} index {found.index:>3}  {found.points:>3} of {found.possible} points"


def main() -> int:
    """Print the table; returns 1 when an index is below its floor or a repeated run changed something."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--container-only", action="store_true", help="leave the virtual machine out")
    parser.add_argument("--keep", action="store_true", help="leave the hosts running")
    arguments = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ.setdefault("ANSIBLE_CONFIG", str(ROOT / "ansible.cfg"))
    logs = ROOT / ".cache/lynis"
    logs.mkdir(parents=True, exist_ok=True)
    run([*HOSTS, "down", "--group", GROUP])
    wishes = [f"container={RELEASE}", "--install", "container=lynis"]
    if not arguments.container_only:
        wishes += [f"machine={RELEASE}:vm", "--install", f"machine={','.join(packages())}"]
    started = run([*HOSTS, "up", "--group", GROUP, *wishes])
    if started.returncode:
        raise SystemExit(started.stderr)
    inventory = Path(started.stdout.strip().splitlines()[-1])
    secret = boot_loader_hash(secrets.token_urlsafe())
    opt_in = {"baseline_opt_in": OPT_IN, "baseline_grub_superuser": "boot", "baseline_grub_password_hash": secret}
    steps: dict[str, dict[str, dict[str, Any]]] = {"container": {"defaults": {}}}
    if not arguments.container_only:
        steps["machine"] = {"defaults": SLOW, "opt-in": {**SLOW, **opt_in}}
    wrong: list[str] = []
    remaining = {}
    for name, wanted in steps.items():
        found, remaining[name] = examine(Host(name, inventory, logs), wanted)
        wrong += found
    for name, last in remaining.items():
        print(f"\nWhere Lynis still takes points, {name}:")
        print("\n".join(f"  {test:<10} {points:>2}  {reason[:90]}" for test, points, reason in last.lost))
    if not arguments.keep:
        run([*HOSTS, "down", "--group", GROUP])
    print("\n".join(wrong) or "every index is at or above its floor")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
