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
import base64
import io
import json
import sys
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.integration_hosts.postgresql_cluster import Cluster, clusters

THERE = "/root/bulwark-test"
COLLECTION = "ansible_collections/bulwark/hardening"
CODE = {
    **{path: f"tests/postgresql/{path.name}" for path in (ROOT / "tests/postgresql").glob("hba_*.py")},
    **{
        ROOT / f"plugins/module_utils/{name}": f"{COLLECTION}/plugins/module_utils/{name}"
        for name in ("postgresql", "transaction")
    },
}
Job = tuple[str, str, dict[str, Any]]


def bring(cluster: Cluster) -> None:
    """Copy the code under test and the test itself onto a host, and make the roles and databases of the cases."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, name in CODE.items():
            archive.add(path, name, filter=lambda entry: None if "__pycache__" in entry.name else entry)
    text = base64.b64encode(packed.getvalue()).decode("ascii")
    cluster.script(f"mkdir -p {THERE} && base64 -d | tar -xz --no-same-owner -C {THERE}", text)
    problem = problems(run(cluster, "prepare"))
    assert not problem, problem


def run(cluster: Cluster, part: str, **arguments: Any) -> dict[str, Any]:
    """Run one part on a host and return its cases and figures."""
    command = f"python3 {THERE}/tests/postgresql/hba_host.py {part} '{json.dumps(arguments)}'"
    done = cluster.script(command, "", check=False)
    if done.returncode:
        problem = done.stderr.strip()[-1500:]
        return {"cases": [{"name": f"{part} {arguments}", "problem": problem or done.returncode}], "figures": {}}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def problems(answer: dict[str, Any]) -> list[str]:
    """Return the cases that failed, with what was wrong."""
    return [f"{case['name']}: {case['problem']}" for case in answer["cases"] if case["problem"]]


def make_jobs(parts: Sequence[str], seed: int) -> list[Job]:
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
    return [job for part in parts for job in jobs[part]]


PARTS = ("parser", "simulator", "bad", "killed", "failures", "flows")


def main() -> int:
    """Run the parts, print a table, and return 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; may be given more than once")
    parser.add_argument("--resume", action="store_true", help="leave out what has passed with this seed")
    options = parser.parse_args()
    log = ROOT / f".cache/hba/seed-{options.seed}.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    finished = set(log.read_text("utf-8").splitlines()) if options.resume and log.exists() else set()
    log.write_text("".join(f"{line}\n" for line in sorted(finished)), "utf-8")
    jobs = make_jobs(options.part or PARTS, options.seed)
    passed = failed = 0

    def work(cluster: Cluster) -> None:
        nonlocal passed, failed
        for name, part, arguments in jobs:
            mark = json.dumps([cluster.release, name, arguments])
            if mark in finished:
                continue
            answer = run(cluster, part, **arguments)
            found = problems(answer)
            passed, failed = passed + len(answer["cases"]) - len(found), failed + len(found)
            figures = ", ".join(f"{key}: {value}" for key, value in answer["figures"].items())
            line = f"PostgreSQL {cluster.version} | {name:14} | {len(answer['cases']):4} cases, {len(found)} failed"
            print("\n".join([f"{line} | {figures}", *(f"    {problem}" for problem in found)]), flush=True)
            if not found:
                with log.open("a", encoding="utf-8") as out:
                    out.write(mark + "\n")

    with clusters("hba-soak") as hosts, ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(bring, hosts.values()))
        list(pool.map(work, hosts.values()))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
