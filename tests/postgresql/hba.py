# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does no policy of pg_hba.conf shut anybody out? Bad policies, killed runs, simulator and parser; on real hosts.

    python tests/postgresql/hba.py --seed 1
    python tests/postgresql/hba.py --part simulator

Figures are for both releases together, PostgreSQL 15 and 17. With --resume, what has passed is read from the log under
.cache/hba/. Needs root for disposable hosts.
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
from tests.postgresql import parts
from tests.postgresql.parts import Job, problems

COLLECTION = "ansible_collections/bulwark/hardening"
PROGRAM = "hba_host.py"
CODE = {
    **{path: f"tests/postgresql/{path.name}" for path in (ROOT / "tests/postgresql").glob("hba_*.py")},
    **{
        ROOT / f"plugins/module_utils/{name}": f"{COLLECTION}/plugins/module_utils/{name}"
        for name in ("postgresql", "transaction")
    },
}


def bring(cluster: Cluster) -> None:
    """Copy the code under test and the test itself onto a host, and make the roles and databases of the cases."""
    parts.bring(cluster, CODE)
    problem = problems(run(cluster, "prepare"))
    assert not problem, problem


def run(cluster: Cluster, part: str, **arguments: Any) -> dict[str, Any]:
    """Run one part on a host and return its cases and figures."""
    return parts.run(cluster, PROGRAM, part, **arguments)


def make_jobs(chosen: Sequence[str], seed: int) -> list[Job]:
    """Return what is to be done on each of the two hosts: name, part and its arguments."""
    samples = range(seed * 1000, seed * 1000 + 5)
    jobs: dict[str, list[Job]] = {
        "parser": [(f"parser {number}", "parser", {"seed": number, "files": 1000}) for number in samples],
        "simulator": [
            (f"simulator {number}", "simulator", {"seed": number, "policies": 50, "connections": 40})
            for number in samples
        ],
        "bad": [(f"bad {number}", "bad", {"seed": number, "policies": 44}) for number in samples],
        "killed": [(f"killed {number}", "killed", {"seed": number, "deaths": 8}) for number in samples],
        "failures": [("failures", "failures", {})],
        "flows": [("flows", "flows", {})],
    }
    return [job for part in chosen for job in jobs[part]]


PARTS = ("parser", "simulator", "bad", "killed", "failures", "flows")


def main() -> int:
    """Run the parts, print a table, and return 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; may be given more than once")
    parser.add_argument("--resume", action="store_true", help="leave out what has passed with this seed")
    options = parser.parse_args()
    table = parts.Table(PROGRAM, ROOT / f".cache/hba/seed-{options.seed}.jsonl", options.resume)
    jobs = make_jobs(options.part or PARTS, options.seed)
    with clusters("hba-soak") as hosts, ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(bring, hosts.values()))
        list(pool.map(lambda cluster: table.work(cluster, jobs), hosts.values()))
    return table.close()


if __name__ == "__main__":
    sys.exit(main())
