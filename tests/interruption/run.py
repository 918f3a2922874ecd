# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill the controller in the middle of site.yml, at many points; the repeated run has to converge.

    python tests/interruption/run.py --seed 1 --points 20

Each point has a fresh host. The run is killed a random moment after a task has begun, and every process of the
controller with it. Then the administrator still has to get in and become root, the repeated run has to succeed, and the
one after it has to change nothing and to find no control that fails. Points that passed are left out with --resume.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOSTS = [sys.executable, str(ROOT / "molecule/shared/hosts.py")]
RELEASES = ("debian12", "debian13")
# Everything of the controller is in here, so that nothing of it outlives the kill.
CONTROLLER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
# Where the plays that touch hosts begin, as ansible-playbook prints it.
TOUCHING = "PLAY [Harden]"
# A task lasts up to half a minute when it installs packages, and a fraction of a second else.
LONGEST_WAIT_SECONDS = 20.0
# Those at the end observe and tell; a run that is killed there has done its work.
TELLING_TASKS = 5
SHORTEST_WINDOW = {f"{role}_window_seconds": 60 for role in ("firewall", "ssh", "baseline")}


@dataclass(frozen=True)
class Point:
    """Where one run is killed: in which task of those that begin, and how much later."""

    number: int
    release: str
    task: int
    wait_seconds: float


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    point: Point
    name: str
    repeated_changes: int
    faults: list[str]

    def line(self) -> str:
        verdict = "ok" if not self.faults else "FAILED: " + "; ".join(self.faults)
        return (
            f"{self.point.number:>3} {self.point.release:<9} {self.point.wait_seconds:>5.1f} s in task"
            f" {self.point.task:>2} {self.name[:70]:<70} {self.repeated_changes:>3} changed after  {verdict}"
        )


class Host:
    """The disposable host of one release."""

    def __init__(self, release: str, logs: Path) -> None:
        self.release, self.logs = release, logs
        self.group = f"interruption-{release}"
        self.inventory = Path()

    def renew(self) -> None:
        """Replace the host by a fresh one."""
        subprocess.run([*HOSTS, "down", "--group", self.group], check=True, capture_output=True)
        command = [*HOSTS, "up", "--group", self.group, f"host={self.release}"]
        started = subprocess.run(command, check=True, capture_output=True, text=True)
        self.inventory = Path(started.stdout.strip().splitlines()[-1])

    def remove(self) -> None:
        subprocess.run([*HOSTS, "down", "--group", self.group], check=False, capture_output=True)

    def start(self) -> subprocess.Popen[str]:
        """Start the playbook, with all that it prints in one stream."""
        variables = json.dumps(SHORTEST_WINDOW)
        return subprocess.Popen(
            [*CONTROLLER, "ansible-playbook", "-i", str(self.inventory), "playbooks/site.yml", "-e", variables],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def site(self, log: Path) -> tuple[int, str]:
        """Run the whole playbook; returns its exit code and what it printed."""
        process = self.start()
        output, _none = process.communicate()
        log.write_text(output, encoding="utf-8")
        return process.returncode, output

    def administrator_gets_in(self) -> bool:
        options = ["-F", str(self.inventory.parent / "ssh_config"), "-o", "ControlPath=none"]
        command = ["ssh", *options, "host", "sudo -n true"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        return done.returncode == 0

    def killed(self, point: Point, log: Path) -> str:
        """Run the playbook up to a point; returns the name of the task, or nothing if it ended before."""
        process = self.start()
        assert process.stdout is not None
        name, begun, touching = "", 0, False
        with log.open("w", encoding="utf-8") as stream:
            for line in process.stdout:
                stream.write(line)
                touching = touching or line.startswith(TOUCHING)
                begun += touching and line.startswith("TASK [")
                if begun == point.task:
                    name = line.partition("[")[2].rpartition("]")[0]
                    break
        if name:
            ended = threading.Thread(target=process.stdout.read, daemon=True)
            ended.start()
            ended.join(point.wait_seconds)
        still = process.poll() is None
        process.kill()
        process.wait()
        return name if still else ""


def tasks(output: str) -> int:
    """Return how many tasks of the plays that touch hosts a whole run began."""
    return len(re.findall(r"^TASK \[", output.partition(TOUCHING)[2], re.MULTILINE))


def try_point(host: Host, point: Point) -> Outcome:
    """Interrupt one run, and look at what the next two make of it."""
    log = host.logs / f"{point.number:02}"
    host.renew()
    name = host.killed(point, log.with_suffix(".interrupted"))
    faults = [] if name else ["the run ended before it was killed"]
    if not host.administrator_gets_in():
        faults.append("the administrator does not get in after the kill")
    code, output = host.site(log.with_suffix(".repeated"))
    changed = changes(output)
    if code:
        faults.append("the repeated run failed")
        return Outcome(point, name, changed, faults)
    code, output = host.site(log.with_suffix(".converged"))
    if code or changes(output):
        faults.append(f"the run after it ended with {code}, and changed {changes(output)}")
    failing = re.findall(r"([A-Z]+-[0-9]+\S*) \([^)]*\) fails", " ".join(output.split()))
    if failing:
        faults.append(f"controls fail: {', '.join(failing)}")
    return Outcome(point, name, changed, faults)


def changes(output: str) -> int:
    found = re.search(r"changed=(\d+)", output.rpartition("PLAY RECAP")[2])
    return int(found[1]) if found else 0


def points(seed: int, count: int, number_of_tasks: int) -> list[Point]:
    """Return points spread over all tasks but the last, which only tell, alternating between the releases."""
    number_of_tasks -= TELLING_TASKS
    chance = random.Random(seed)
    made = []
    for number in range(count):
        low, high = number * number_of_tasks // count, (number + 1) * number_of_tasks // count
        task = chance.randrange(low + 1, max(high, low + 1) + 1)
        # Most tasks are short; every third point is far into one that is not.
        wait = chance.uniform(0, LONGEST_WAIT_SECONDS if number % 3 == 0 else 0.8)
        made.append(Point(number, RELEASES[number % len(RELEASES)], task, round(wait, 1)))
    return made


def main() -> int:
    """Print one line for each point; returns 1 when one failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--resume", action="store_true", help="leave out what passed in the log of the same seed")
    parser.add_argument("--keep", action="store_true", help="leave the hosts running")
    arguments = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ.setdefault("ANSIBLE_CONFIG", str(ROOT / "ansible.cfg"))
    logs = ROOT / ".cache/interruption" / f"seed-{arguments.seed}"
    logs.mkdir(parents=True, exist_ok=True)
    record = logs / "outcomes.jsonl"
    if not arguments.resume:
        record.unlink(missing_ok=True)
    entries = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    passed = {json.dumps(entry["point"]) for entry in entries if not entry["faults"]}
    hosts = [Host(release, logs) for release in RELEASES]
    hosts[0].renew()
    code, output = hosts[0].site(logs / "whole")
    if code:
        raise SystemExit(f"a run that nobody interrupts fails; see {logs / 'whole'}")
    wanted = [
        point
        for point in points(arguments.seed, arguments.points, tasks(output))
        if json.dumps(asdict(point)) not in passed
    ]
    print(f"{len(wanted)} points in {tasks(output)} tasks, seed {arguments.seed}; logs in {logs}", flush=True)
    outcomes: list[Outcome] = []
    lock = threading.Lock()

    def work(host: Host) -> None:
        for point in wanted:
            if point.release == host.release:
                outcome = try_point(host, point)
                with lock:
                    outcomes.append(outcome)
                    print(outcome.line(), flush=True)
                    with record.open("a") as stream:
                        stream.write(json.dumps(asdict(outcome)) + "\n")

    started = time.monotonic()
    threads = [threading.Thread(target=work, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not arguments.keep:
        for host in hosts:
            host.remove()
    failed = sum(bool(outcome.faults) for outcome in outcomes) + len(wanted) - len(outcomes)
    print(f"{len(wanted) - failed} of {len(wanted)} converged, in {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
