# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random privileges against random wishes on real clusters, and what 1,000 objects with 20 roles cost to look at.

python -m tests.postgresql.grants [--seed N] [--count N]. A case can be run again alone with its seed and --count 1,
but for what the cases since the last seed that ends with 0 have left. Makes its own disposable hosts (root on Linux).
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.integration_hosts.postgresql_cluster import Cluster, clusters
from tests.postgresql import bundle

LONGEST_LOOK_SECONDS = 3.0
CASES_AT_ONCE = 100


def answers(cluster: Cluster, module: str, *arguments: object) -> list[Any]:
    """Run a program on the host, and return what it prints, a value a line."""
    return [json.loads(line) for line in cluster.shell(bundle.command(module, *arguments)).splitlines()]


def chaos(cluster: Cluster, first: int, count: int) -> tuple[int, list[str]]:
    """Return how many cases passed, and what is wrong with the others."""
    passed, wrong, refused = 0, [], 0
    for start in range(first, first + count, CASES_AT_ONCE):
        size = min(CASES_AT_ONCE, first + count - start)
        for found in answers(cluster, "tests.postgresql.grants_driver", "chaos", start, size):
            if found["problem"]:
                wrong.append(f"{cluster.release} seed {found['seed']}: {found['problem']}")
            else:
                passed += 1
                refused += "refused" in found
        print(
            f"{cluster.release:10} {start + size - first:6} of {count} cases, {refused} refused and nothing changed",
            flush=True,
        )
    return passed, wrong


def scale(cluster: Cluster) -> tuple[int, list[str]]:
    """Return likewise for the looks at few and at many objects."""
    few, many = (answers(cluster, "tests.postgresql.grants_driver", "scale", objects, 20)[0] for objects in (10, 1000))
    for found in (few, many):
        print(
            f"{cluster.release:10} {found['objects']:6} objects x {found['roles']} roles: {found['round_trips']} round "
            f"trips, look {found['converged_seconds']} s, first change {found['first_seconds']} s",
            flush=True,
        )
    checks = {
        "round trips grow with the objects": few["round_trips"] == many["round_trips"] <= 5,
        f"a look takes more than {LONGEST_LOOK_SECONDS} s": many["converged_seconds"] <= LONGEST_LOOK_SECONDS,
        "something was left to change": many["left"] == few["left"] == 0,
    }
    return sum(checks.values()), [f"{cluster.release}: {what}" for what, good in checks.items() if not good]


def failures(cluster: Cluster) -> tuple[int, list[str]]:
    """Return likewise for what must be refused."""
    found = answers(cluster, "tests.postgresql.grants_failures")
    print(f"{cluster.release:10} {len(found):6} bad wishes and failing hosts", flush=True)
    return sum(not wrong for _name, wrong in found), [
        f"{cluster.release} {name}: {wrong}" for name, wrong in found if wrong
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    passed, wrong = 0, list[str]()
    with clusters("pg-grants") as running:
        for cluster in running.values():
            cluster.script(bundle.UNPACK, bundle.encoded())
        # One by one, since it measures time.
        results = [scale(cluster) for cluster in running.values()]
        with ThreadPoolExecutor(len(running)) as pool:
            results += pool.map(failures, running.values())
            results += pool.map(lambda cluster: chaos(cluster, options.seed, options.count), running.values())
    for good, bad in results:
        passed += good
        wrong += bad
    print(*wrong, sep="\n")
    print(f"{passed} passed, {len(wrong)} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
