# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure runs against disposable hosts: seconds, remote calls per role, and the cost of many firewall rules.

    python tests/benchmark/run.py

``policy`` is what the host itself needs for the firewall policy: the time of the module's calls, which plan, rehearse,
apply and commit; without Ansible's start and without the logins that prove a change. ``controls`` are those that pass,
of all that were observed, and the seconds that the host took to observe them.
The counts are checked against the budget and decide the exit code, and so do the times of 1,000 rules, of the controls,
and of 200 certificates of which none is due, each behind nginx. A sample asserts no time.
"""

from __future__ import annotations

import argparse
import collections
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / ".ansible/collections")]

from tests.benchmark.certificates import certificates  # noqa: E402
from tests.benchmark.recording import record  # noqa: E402

HOSTS = [sys.executable, str(ROOT / "molecule/shared/hosts.py")]
GROUP = "bench"
TARGETS = {"ufw": "debian13", "firewalld": "debian13"}
SERVER = "server"
# Remote calls of all roles but controls together, facts and packages included, on a converged host.
CONVERGED_CALLS = 30
CONTROLS_CALLS = 1
CONTROLS_SECONDS = 3.0
RULE_COUNTS = (10, 100, 1000)
MANY_RULES = 1000
MANY_RULES_SECONDS = 5.0
MANY_CERTIFICATES = 200
MANY_CERTIFICATES_IN_A_SAMPLE = 20
POLICY_ACTION = "bulwark.hardening.firewall"


@dataclass(frozen=True)
class Run:
    """One measured run of the site playbook against one host."""

    seconds: float
    policy_seconds: float
    changed: int
    calls: dict[str, int]
    passed: int
    observed: int
    controls_seconds: float

    @property
    def total(self) -> int:
        return sum(count for role, count in self.calls.items() if role != "controls")


def measure(inventory: Path, host: str, variables: dict[str, Any], *arguments: str) -> Run:
    """Run the site playbook and count what crosses the connection."""
    done = record(inventory, ROOT / "playbooks/site.yml", host, variables, *arguments)
    made = list(done.calls)
    controls = next(call for call in made if call["kind"] == "controls")
    made.remove(controls)
    calls = collections.Counter(call["role"].rpartition(".")[2] or "playbook" for call in made)
    policy_seconds = sum(call["seconds"] for call in made if call["action"] == POLICY_ACTION)
    counts = controls["counts"]
    return Run(
        done.seconds,
        policy_seconds,
        done.changed,
        dict(calls),
        counts["pass"],
        sum(counts.values()),
        controls["seconds"],
    )


def policy(backend: str, count: int) -> dict[str, Any]:
    """Return a policy of ``count`` rules, no two alike."""
    rules = [
        {
            "name": f"rule {index}",
            "ports": [10000 + index],
            "sources": [f"192.0.2.{index % 250}", f"2001:db8::{index:x}"],
        }
        for index in range(count)
    ]
    return {"firewall_backend": backend, "firewall_rules": rules, "firewall_confirm_seconds": 2}


def row(name: str, run: Run) -> str:
    calls = ", ".join(f"{role} {count}" for role, count in sorted(run.calls.items()))
    controls = f"{run.passed}/{run.observed} {run.controls_seconds:>4.1f}"
    counts = f"{run.total:>6} {run.changed:>8} {controls:>13}"
    return f"{name:<34} {run.seconds:>7.1f} {run.policy_seconds:>7.1f} {counts}  {calls}"


def limit_lines(backend: str, runs: Mapping[str, Run]) -> tuple[list[str], list[str]]:
    """Return what many rules cost in one line for each run, and the lines over the limit."""
    lines, problems = [], []
    for name, run in runs.items():
        if name.startswith(f"{MANY_RULES} rules"):
            which = name.rpartition(" ")[2]
            line = f"{MANY_RULES:,} rules: {run.policy_seconds:.1f} s (limit {MANY_RULES_SECONDS:.0f})"
            lines.append(f"{backend}, {which}: {line}")
            if run.policy_seconds > MANY_RULES_SECONDS:
                problems.append(f"{backend}, {which}: {line} is too slow")
    return lines, problems


def main() -> int:
    """Print the table; returns 1 when a count, or with all runs a time, is over the budget."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sample", action="store_true", help="one backend, few rules: what CI runs")
    parser.add_argument("--keep", action="store_true", help="leave the hosts running")
    arguments = parser.parse_args()
    targets = {"ufw": TARGETS["ufw"]} if arguments.sample else TARGETS
    counts = RULE_COUNTS[:2] if arguments.sample else RULE_COUNTS
    subprocess.run([*HOSTS, "down", "--group", GROUP], check=True, stdout=subprocess.DEVNULL)
    wishes = [f"{name}={release}" for name, release in {**targets, SERVER: "debian13"}.items()]
    up = [*HOSTS, "up", "--group", GROUP, "--install", f"{SERVER}=nginx", *wishes]
    started = subprocess.run(up, check=True, stdout=subprocess.PIPE, text=True)
    inventory = Path(started.stdout.strip().splitlines()[-1])
    print(f"{'run':<34} {'seconds':>7} {'policy':>7} {'calls':>6} {'changed':>8} {'controls':>13}  calls per role")
    problems = []
    limits = []
    for backend in targets:
        runs = {"first": measure(inventory, backend, policy(backend, 1))}
        runs["converged"] = measure(inventory, backend, policy(backend, 1))
        runs["converged, check mode"] = measure(inventory, backend, policy(backend, 1), "--check")
        for count in counts:
            runs[f"{count} rules, first"] = measure(inventory, backend, policy(backend, count))
            runs[f"{count} rules, converged"] = measure(inventory, backend, policy(backend, count))
        for name, run in runs.items():
            print(row(f"{backend}: {name}", run), flush=True)
            if "converged" in name and run.changed:
                problems.append(f"{backend}: {name}: {run.changed} changed, expected 0")
            if "converged" in name and run.total > CONVERGED_CALLS:
                problems.append(f"{backend}: {name}: {run.total} calls, budget {CONVERGED_CALLS}")
            if run.calls["controls"] > CONTROLS_CALLS:
                problems.append(
                    f"{backend}: {name}: {run.calls['controls']} calls for the controls, budget {CONTROLS_CALLS}"
                )
            if not arguments.sample and run.controls_seconds > CONTROLS_SECONDS:
                problems.append(
                    f"{backend}: {name}: {run.controls_seconds:.1f} s for the controls (limit {CONTROLS_SECONDS:.0f})"
                )
        lines, over = limit_lines(backend, runs)
        limits += lines
        problems += [] if arguments.sample else over
        many = {run.total for name, run in runs.items() if "rules, first" in name}
        if len(many) > 1:
            problems.append(f"{backend}: calls grow with the number of rules: {sorted(many)}")
    ssh_config = subprocess.run([*HOSTS, "ssh-config", "--group", GROUP], check=True, stdout=subprocess.PIPE, text=True)
    lines, over = certificates(
        inventory,
        SERVER,
        ("ssh", "-F", ssh_config.stdout.strip(), f"root@{SERVER}"),
        MANY_CERTIFICATES_IN_A_SAMPLE if arguments.sample else MANY_CERTIFICATES,
        timed=not arguments.sample,
    )
    limits += lines
    problems += over
    if not arguments.keep:
        subprocess.run([*HOSTS, "down", "--group", GROUP], check=True, stdout=subprocess.DEVNULL)
    print("\n".join(limits))
    print(
        "\n".join(problems) or f"every count is within the budget{'' if arguments.sample else ', and so is the time'}"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
