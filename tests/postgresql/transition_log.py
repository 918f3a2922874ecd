# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does the transition log lose nothing? Killed clients and servers, attacks, deviations, failures, cost; on real hosts.

    python tests/postgresql/transition_log.py --seed 1 --changes 100000
    python tests/postgresql/transition_log.py --part cost

Changes are made in samples of ten thousand, compared with the server's own write-ahead log. With --resume, what has
passed is read from the log under .cache/transition_log/. Needs root for disposable hosts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.integration_hosts.postgresql_cluster import Cluster, clusters
from tests.integration_hosts.test_baseline_modules import RELEASES
from tests.postgresql import parts
from tests.postgresql.parts import Job

SAMPLE = 10_000
PROGRAM = "transition_log_host.py"
CODE = {
    **{path: f"tests/postgresql/{path.name}" for path in (ROOT / "tests/postgresql").glob("transition_log_*.py")},
    ROOT / "plugins/module_utils/postgresql": "postgresql",
}


def bring(cluster: Cluster) -> None:
    """Copy the code under test and the test itself onto a host."""
    parts.bring(cluster, CODE)


def run(cluster: Cluster, part: str, **arguments: Any) -> dict[str, Any]:
    """Run one part on a host and return its cases and figures."""
    return parts.run(cluster, PROGRAM, part, **arguments)


def make_jobs(chosen: Sequence[str], seed: int, changes: int) -> list[Job]:
    """Return what is to be done: name, part and its arguments."""
    per_release = -(-changes // len(RELEASES))
    samples = [min(SAMPLE, per_release - start) for start in range(0, per_release, SAMPLE)]
    jobs: dict[str, list[Job]] = {
        "records": [
            (f"records {number}", "records", {"seed": seed * 1000 + number, "changes": size})
            for number, size in enumerate(samples)
        ],
        "load": [("load", "load", {"seed": seed, "rounds": 20})],
        "attacks": [("attacks", "attacks", {})],
        "breakages": [("breakages", "breakages", {})],
        "failures": [("failures", "failures", {})],
        "cost": [("cost", "cost", {"pairs": 20, "size": 400})],
    }
    return [job for part in chosen for job in jobs[part]]


PARTS = ("records", "load", "attacks", "breakages", "failures", "cost")


def main() -> int:
    """Run the parts, print a table, and return 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--changes", type=int, default=100_000, help="how many in all, both releases together")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; may be given more than once")
    parser.add_argument("--resume", action="store_true", help="leave out what has passed with this seed")
    options = parser.parse_args()
    table = parts.Table(PROGRAM, ROOT / f".cache/transition_log/seed-{options.seed}.jsonl", options.resume)
    jobs = make_jobs(options.part or PARTS, options.seed, options.changes)
    with clusters("transition-log") as hosts:
        for cluster in hosts.values():
            bring(cluster)
        with ThreadPoolExecutor(len(hosts)) as pool:
            list(pool.map(lambda one: table.work(one, [job for job in jobs if job[1] != "cost"]), hosts.values()))
        # One after the other, so that nothing but the log makes a difference.
        for cluster in hosts.values():
            table.work(cluster, [job for job in jobs if job[1] == "cost"])
    return table.close()


if __name__ == "__main__":
    sys.exit(main())
