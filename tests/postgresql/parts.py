# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of a test that run on a host: brought there, run with their arguments, told in a table, resumed."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.integration_hosts.postgresql_cluster import Cluster

THERE = "/root/bulwark-test"
# Name, part and its arguments.
Job = tuple[str, str, dict[str, Any]]


def bring(cluster: Cluster, code: Mapping[Path, str]) -> None:
    """Copy files and directories onto a host, to their places below THERE."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, name in code.items():
            archive.add(path, name, filter=lambda entry: None if "__pycache__" in entry.name else entry)
    text = base64.b64encode(packed.getvalue()).decode("ascii")
    cluster.script(f"mkdir -p {THERE} && base64 -d | tar -xz --no-same-owner -C {THERE}", text)


def run(cluster: Cluster, program: str, part: str, **arguments: Any) -> dict[str, Any]:
    """Run one part on a host and return its cases and figures."""
    command = f"python3 {THERE}/tests/postgresql/{program} {part} '{json.dumps(arguments)}'"
    done = cluster.script(command, "", check=False)
    if done.returncode:
        problem = done.stderr.strip()[-1500:]
        return {"cases": [{"name": f"{part} {arguments}", "problem": problem or done.returncode}], "figures": {}}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def problems(answer: Mapping[str, Any]) -> list[str]:
    """Return the cases that failed, with what was wrong."""
    return [f"{case['name']}: {case['problem']}" for case in answer["cases"] if case["problem"]]


class Table:
    """Runs jobs, prints a line for each, counts, and remembers in a file what has passed."""

    def __init__(self, program: str, log: Path, resume: bool) -> None:
        self.program, self.log = program, log
        self.passed = self.failed = 0
        self._lock = threading.Lock()
        log.parent.mkdir(parents=True, exist_ok=True)
        self._finished = set(log.read_text("utf-8").splitlines()) if resume and log.exists() else set[str]()
        log.write_text("".join(f"{line}\n" for line in sorted(self._finished)), "utf-8")

    def work(self, cluster: Cluster, jobs: Sequence[Job]) -> None:
        """Run the jobs on a host, but for those that have passed before."""
        for name, part, arguments in jobs:
            mark = json.dumps([cluster.release, name, arguments])
            if mark not in self._finished:
                self._tell(cluster, name, mark, run(cluster, self.program, part, **arguments))

    def _tell(self, cluster: Cluster, name: str, mark: str, answer: Mapping[str, Any]) -> None:
        found = problems(answer)
        figures = ", ".join(f"{key}: {value}" for key, value in answer["figures"].items())
        line = f"PostgreSQL {cluster.version} | {name:14} | {len(answer['cases']):4} cases, {len(found)} failed"
        with self._lock:
            self.passed, self.failed = self.passed + len(answer["cases"]) - len(found), self.failed + len(found)
            print("\n".join([f"{line} | {figures}", *(f"    {problem}" for problem in found)]), flush=True)
            if not found:
                with self.log.open("a", encoding="utf-8") as out:
                    out.write(mark + "\n")

    def close(self) -> int:
        """Print the sum and return the exit code."""
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0
