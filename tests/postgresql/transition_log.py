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
from tests.integration_hosts.test_baseline_modules import RELEASES

SAMPLE = 10_000
THERE = "/root/bulwark-test"
CODE = {
    **{path: f"tests/postgresql/{path.name}" for path in (ROOT / "tests/postgresql").glob("transition_log_*.py")},
    ROOT / "plugins/module_utils/postgresql": "postgresql",
}
Job = tuple[str, str, dict[str, Any]]


def bring(cluster: Cluster) -> None:
    """Copy the code under test and the test itself onto a host."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, name in CODE.items():
            archive.add(path, name, filter=lambda entry: None if "__pycache__" in entry.name else entry)
    text = base64.b64encode(packed.getvalue()).decode("ascii")
    cluster.script(f"mkdir -p {THERE} && base64 -d | tar -xz --no-same-owner -C {THERE}", text)


def run(cluster: Cluster, part: str, **arguments: Any) -> dict[str, Any]:
    """Run one part on a host and return its cases and figures."""
    command = f"python3 {THERE}/tests/postgresql/transition_log_host.py {part} '{json.dumps(arguments)}'"
    done = cluster.script(command, "", check=False)
    if done.returncode:
        problem = done.stderr.strip()[-1500:]
        return {"cases": [{"name": f"{part} {arguments}", "problem": problem or done.returncode}], "figures": {}}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def problems(answer: dict[str, Any]) -> list[str]:
    """Return the cases that failed, with what was wrong."""
    return [f"{case['name']}: {case['problem']}" for case in answer["cases"] if case["problem"]]


def make_jobs(parts: Sequence[str], seed: int, changes: int) -> list[Job]:
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
    return [job for part in parts for job in jobs[part]]


PARTS = ("records", "load", "attacks", "breakages", "failures", "cost")


def main() -> int:
    """Run the parts, print a table, and return 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--changes", type=int, default=100_000, help="how many in all, both releases together")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; may be given more than once")
    parser.add_argument("--resume", action="store_true", help="leave out what has passed with this seed")
    options = parser.parse_args()
    log = ROOT / f".cache/transition_log/seed-{options.seed}.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    finished = set(log.read_text("utf-8").splitlines()) if options.resume and log.exists() else set()
    log.write_text("".join(f"{line}\n" for line in sorted(finished)), "utf-8")
    jobs = make_jobs(options.part or PARTS, options.seed, options.changes)
    passed = failed = 0

    def work(cluster: Cluster, chosen: Sequence[Job]) -> None:
        nonlocal passed, failed
        for name, part, arguments in chosen:
            mark = json.dumps([cluster.release, name, arguments])
            if mark in finished:
                continue
            answer = run(cluster, part, **arguments)
            found = problems(answer)
            passed, failed = passed + len(answer["cases"]) - len(found), failed + len(found)
            figures = ", ".join(f"{key}: {value}" for key, value in answer["figures"].items())
            line = f"PostgreSQL {cluster.version} | {name:12} | {len(answer['cases']):3} cases, {len(found)} failed"
            print("\n".join([f"{line} | {figures}", *(f"    {problem}" for problem in found)]), flush=True)
            if not found:
                with log.open("a", encoding="utf-8") as out:
                    out.write(mark + "\n")

    with clusters("transition-log") as hosts:
        for cluster in hosts.values():
            bring(cluster)
        with ThreadPoolExecutor(len(hosts)) as pool:
            list(pool.map(lambda one: work(one, [job for job in jobs if job[1] != "cost"]), hosts.values()))
        # One after the other, so that nothing but the log makes a difference.
        for cluster in hosts.values():
            work(cluster, [job for job in jobs if job[1] == "cost"])
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
