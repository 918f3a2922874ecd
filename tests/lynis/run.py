# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let Lynis judge hosts that site.yml has hardened: a scanner that knows nothing of this collection.

    python tests/lynis/run.py                   a container and a virtual machine, with the defaults and the opt-in rows
    python tests/lynis/run.py --container-only  the quick part
    python tests/lynis/run.py --machine-only    the slow part, at the end of which controls are broken on the machine
    python tests/lynis/run.py --resume          the same again, without the steps that an earlier run has ended

No test of Lynis is skipped and no profile is given. Prints the index and the points of each host, stock and hardened,
and after the last step where Lynis still takes points, with its warnings and suggestions; docs/lynis.md answers those.
Ends with 1 below the floors, when a control fails after a restart, when a repeated run changes something, or when one
that was broken does not fail alone.

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
import shlex
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / ".ansible/collections")]

# A program of its own finds them only now.
from ansible_collections.bulwark.hardening.plugins.plugin_utils import baseline_policy, catalogue  # noqa: E402
from tests.lynis.breakages import BREAKAGES  # noqa: E402

HOSTS = [sys.executable, str(ROOT / "molecule/shared/hosts.py")]
RELEASE = "debian12"
FLOORS = {("container", "defaults"): 84, ("machine", "defaults"): 90, ("machine", "opt-in"): 95}
# The opt-in rows that Lynis knows of.
OPT_IN = ("OS-23.usbguard", "OS-31", "OS-37", "OS-52", "OS-84.accounting", "OS-84.statistics")
FILE_SYSTEMS = ("/home", "/var", "/var/tmp", "/var/log", "/var/log/audit")
# What an installer leaves: a boot menu. The disposable machine starts from it.
BOOT_MENU = "sudo sh -c 'mkdir -p /boot/grub && update-grub'"
# What no role can know, and the opt-in step sets as a site would: who may log in, and sessions in one connection.
SITE = {"ssh_allow_groups": ["sudo"], "ssh_max_sessions": 2}
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


def answer_time(request: bytes, now: float) -> bytes:
    """Return what a time server answers (RFC 4330)."""
    stamp = struct.pack("!II", int(now) + 2208988800, int(now % 1 * 2**32))
    return bytes([request[0] & 0x38 | 4, 1, request[2], 0xEC]) + bytes(8) + b"LOCL" + stamp + request[40:48] + 2 * stamp


def serve_time(address: str) -> None:
    """Give the machine's clock something to follow, also where no time server is in reach; ends with this program."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 123))

    def serve() -> None:
        while True:
            request, client = server.recvfrom(512)
            if len(request) >= 48:
                server.sendto(answer_time(request, time.time()), client)

    threading.Thread(target=serve, daemon=True).start()


class Steps:
    """What each step said and found wrong, kept so that a later run can go on after the last one that ended."""

    def __init__(self, path: Path, resume: bool) -> None:
        self.path = path
        if not resume:
            path.unlink(missing_ok=True)
        self.ended: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what was made under this name, by this run or an earlier one."""
        if name not in self.ended:
            self.ended[name] = {"value": make()}
            self.path.write_text(json.dumps(self.ended), encoding="utf-8")
        return self.ended[name]["value"]

    def take(self, name: str, step: Callable[[], list[str]]) -> list[str]:
        """Take a step unless it has ended; returns what is wrong after it."""
        if name in self.ended:
            print(f"{name}: ended earlier", flush=True)
        wrong: list[str] = self.kept(name, step)
        return wrong


@dataclass(frozen=True)
class Run:
    """What a run of site.yml came to: how many tasks changed something, and the verdicts that nobody wants."""

    changed: int
    failing: Sequence[str]
    controls: str


class Host:
    """One disposable host, stock at first."""

    def __init__(self, name: str, inventory: Path, logs: Path) -> None:
        self.name, self.inventory, self.logs = name, inventory, logs

    def ssh(self, command: str) -> str:
        config = str(self.inventory.parent / "ssh_config")
        return run(["ssh", "-F", config, "-o", "ControlPath=none", self.name, command]).stdout

    def harden(self, step: str, variables: Mapping[str, Any]) -> Run:
        """Run site.yml."""
        command = ["ansible-playbook", "-i", str(self.inventory), "playbooks/site.yml", "--limit", self.name]
        done = run([*command, "-e", json.dumps(variables)])
        (self.logs / f"{self.name}-{step}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        if done.returncode:
            raise SystemExit(f"{self.name}: site.yml failed; see {self.logs}")
        words = " ".join(done.stdout.rpartition("TASK [Say what")[2].split())
        changed = re.search(r"changed=(\d+)", done.stdout.rpartition("PLAY RECAP")[2])
        controls = re.search(r"Controls: ([^.]+)\.", words)
        return Run(
            int(changed[1]) if changed else 0,
            re.findall(r"([A-Z]+-[0-9]+\S*) \([^)]*\) (?:fails|is unknown)", words),
            controls[1] if controls else "no control was observed",
        )

    def settle(self) -> None:
        """Have what the first day would bring: AIDE's database, and what takes effect at a restart."""
        self.ssh("sudo systemctl start --wait bulwark-aide-init.service")
        self.restart()

    def restart(self) -> None:
        done = run([*HOSTS, "reboot", f"lynis-{self.name}/{self.name}"])
        if done.returncode:
            raise SystemExit(done.stderr)

    def failing(self, variables: Mapping[str, Any]) -> set[str]:
        """Return the controls that fail, but for those that are only told of; prints the time that the host took."""
        told = json.dumps({**variables, "observe_hosts": self.name, "observe_to": str(self.logs)})
        done = run(["ansible-playbook", "-i", str(self.inventory), "molecule/baseline/observe.yml", "-e", told])
        if done.returncode:
            raise SystemExit(f"{self.name}: the controls cannot be observed: {done.stdout[-2000:]}")
        seen = json.loads((self.logs / f"{self.name}.json").read_text(encoding="utf-8"))
        print(f"{self.name:<10} {len(seen['controls'])} controls observed in {seen['seconds']} s", flush=True)
        judged = [control for control in seen["controls"] if not control["reported"]]
        return {control["id"] for control in judged if control["verdict"] in ("fail", "unknown")}

    def measure(self, step: str) -> Measure:
        log, report = self.ssh(AUDIT), self.ssh(REPORT)
        (self.logs / f"{self.name}-{step}-lynis.log").write_text(log, encoding="utf-8")
        (self.logs / f"{self.name}-{step}-lynis-report.dat").write_text(report, encoding="utf-8")
        found = read(log, report)
        points = f"{found.points:>3} of {found.possible} points"
        print(f"{self.name:<10} {step:<9} index {found.index:>3}  {points}", flush=True)
        return found


def examine(host: Host, step: str, variables: Mapping[str, Any]) -> list[str]:
    """Harden a host, restart it, harden it again and measure; returns what is wrong."""
    wrong = []
    host.harden(step, variables)
    host.settle()
    again = host.harden(f"{step}-again", variables)
    print(f"{host.name:<10} {step:<9} {again.controls}", flush=True)
    if again.changed:
        wrong.append(f"{host.name}, {step}: the run after a restart changed {again.changed} tasks")
    if again.failing:
        wrong.append(f"{host.name}, {step}: {', '.join(again.failing)} fail after a restart")
    index, floor = host.measure(step).index, FLOORS[host.name, step]
    if index < floor:
        wrong.append(f"{host.name}, {step}: index {index}, at least {floor} is expected")
    return wrong


def weaken(host: Host, variables: Mapping[str, Any]) -> list[str]:
    """Break one control after the other and let them stay broken over a restart, then mend them; returns what is wrong.

    After each breakage exactly one more control has to fail; after a restart the same and those that only show then.
    Then site.yml runs, and after another restart none fails. An earlier run that died in here is mended first.
    """
    wrong = []
    begun = host.logs / f"{host.name}-weakened"

    def expect(when: str, failing: set[str]) -> None:
        found = host.failing(variables)
        print(f"{host.name:<10} {when}: {', '.join(sorted(found)) or 'none'} failing", flush=True)
        if found != failing:
            wrong.append(f"{host.name}, {when}: {sorted(found)} fail, expected is {sorted(failing)}")

    def mend() -> None:
        host.ssh(f"sudo sh -c {shlex.quote('; '.join(breakage.mend for breakage in BREAKAGES if breakage.mend))}")
        host.harden("mended", variables)
        host.restart()

    if begun.exists():
        mend()
    begun.touch()
    expect("sound", set())
    failing: set[str] = set()
    for breakage in BREAKAGES:
        host.ssh(f"sudo sh -c {shlex.quote(breakage.spoil)}")
        if not breakage.after_restart:
            failing |= {breakage.control}
            expect(f"with {breakage.control} broken", failing)
    host.restart()
    expect("broken and restarted", {breakage.control for breakage in BREAKAGES})
    mend()
    begun.unlink()
    expect("mended and restarted", set())
    return wrong


def start(name: str, kind: str, *options: str) -> Path:
    """Start a host in a group of its own, unless it runs; returns the inventory."""
    started = run([*HOSTS, "up", "--group", f"lynis-{name}", f"{name}={kind}", *options])
    if started.returncode:
        raise SystemExit(started.stderr)
    return Path(started.stdout.strip().splitlines()[-1])


def stop(name: str) -> None:
    run([*HOSTS, "down", "--group", f"lynis-{name}"])


def container(logs: Path, steps: Steps) -> list[str]:
    """Measure a container, stock and with the defaults."""

    def defaults() -> list[str]:
        host = Host("container", start("container", RELEASE, "--install=container=lynis"), logs)
        host.measure("stock")
        return examine(host, "defaults", {})

    return steps.take("container", defaults)


def machine(logs: Path, steps: Steps) -> list[str]:
    """Measure a virtual machine: stock, with the defaults and with opt-in rows; then weaken it."""
    disks = f"--file-systems=machine={','.join(FILE_SYSTEMS)}"

    def stock() -> list[str]:
        host = Host("machine", start("machine", f"{RELEASE}:vm", "--install=machine=lynis,grub2-common", disks), logs)
        host.ssh(BOOT_MENU)
        host.measure("stock")
        stop("machine")
        return []

    def defaults() -> list[str]:
        host.ssh(BOOT_MENU)
        return examine(host, "defaults", variables)

    steps.take("machine, stock", stock)
    host = Host("machine", start("machine", f"{RELEASE}:vm", f"--install=machine={','.join(packages())}", disks), logs)
    gateway = host.ssh("ip -4 route show default").split()[2]
    serve_time(gateway)
    variables: dict[str, Any] = {**SLOW, "baseline_time_servers": [gateway]}
    wrong = steps.take("machine, defaults", defaults)
    variables |= SITE
    variables |= {
        "baseline_opt_in": OPT_IN,
        "baseline_grub_superuser": "boot",
        "baseline_grub_password_hash": steps.kept("hash", lambda: boot_loader_hash(secrets.token_urlsafe())),
    }
    wrong += steps.take("machine, opt-in", lambda: examine(host, "opt-in", variables))
    return wrong + steps.take("machine, weakened", lambda: weaken(host, variables))


def remarks(logs: Path, name: str, step: str) -> str:
    """Return where Lynis still takes points, and what it says."""
    texts = [(logs / f"{name}-{step}-{kind}").read_text(encoding="utf-8") for kind in ("lynis.log", "lynis-report.dat")]
    found = read(*texts)
    lost = [f"  {test:<10} {points:>2}  {reason[:90]}" for test, points, reason in found.lost]
    said = [f"  {remark[:110]}" for remark in found.remarks]
    return "\n".join([f"\nWhere Lynis still takes points, {name}, {step}:", *lost, "What it says:", *said])


def main() -> int:
    """Print the table; returns 1 when something is not as it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--container-only", action="store_true", help="leave the virtual machine out")
    only.add_argument("--machine-only", action="store_true", help="leave the container out")
    parser.add_argument(
        "--resume", action="store_true", help="leave out the steps that have ended; needs --keep before"
    )
    parser.add_argument("--keep", action="store_true", help="leave the hosts running")
    arguments = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ.setdefault("ANSIBLE_CONFIG", str(ROOT / "ansible.cfg"))
    # An emulated machine may take longer than usual to let sudo begin.
    os.environ.setdefault("ANSIBLE_TIMEOUT", "60")
    logs = ROOT / ".cache/lynis"
    logs.mkdir(parents=True, exist_ok=True)
    steps = Steps(logs / "steps.json", arguments.resume)
    wrong = []
    if not arguments.machine_only:
        if not arguments.resume:
            stop("container")
        wrong += container(logs, steps)
        print(remarks(logs, "container", "defaults"), flush=True)
        if not arguments.keep:
            stop("container")
    if not arguments.container_only:
        if not arguments.resume:
            stop("machine")
            (logs / "machine-weakened").unlink(missing_ok=True)
        wrong += machine(logs, steps)
        print("\n".join(remarks(logs, "machine", step) for step in ("defaults", "opt-in")), flush=True)
        if not arguments.keep:
            stop("machine")
    print("\n".join(wrong) or "every index is at or above its floor, every control holds, nothing changes twice")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
