# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change certificates and CAs under the eyes of a client that makes new connections all the while.

    python tests/certificates/run.py                        every part, with 10,000 connections to each service
    python tests/certificates/run.py --part load --connections 50000
    python tests/certificates/run.py --part killed --kills 20

Two servers with nginx and PostgreSQL, and a client on a host of its own that verifies chain and name with what it
trusts at that moment. No connection may fail. Prints a line for each step; ends with 1 when a part failed.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / ".ansible/collections")]

from tests.certificates.lost import lost  # noqa: E402
from tests.certificates.restarts import restarts  # noqa: E402
from tests.certificates.scan import scan  # noqa: E402
from tests.certificates.world import GROUP, Failed, Load, World, directory_in_memory  # noqa: E402
from tests.integration_hosts.test_certificates import PACKAGES, disposable, kill_and_finish  # noqa: E402

SERVICES = ("nginx", "PostgreSQL")
# It has hosts of its own.
KILLED = "killed"
PARTS = ("load", "scan", "restart", "lost", KILLED)


def rotations(world: World, connections: int) -> None:
    """Renew every certificate and replace the CA, again and again, until there were so many connections to each."""
    print(f"{'step':<44} {'nginx':>7} {'PostgreSQL':>10} {'failed':>6}")
    with Load(world, world.targets()) as load:
        rounds = 0
        while rounds < 2 or min(load.made(name) for name in SERVICES) < connections:
            rounds += 1
            before = sum(load.made(name) for name in SERVICES)
            for title, step in steps(world, in_one_run=rounds % 2 == 0):
                step()
                told = [load.made(name) for name in SERVICES]
                print(f"{rounds:>3} {title:<40} {told[0]:>7} {told[1]:>10} {load.failed:>6}", flush=True)
            if not load.alive or sum(load.made(name) for name in SERVICES) == before:
                raise Failed("the client makes no connections any more")
            world.trust_only_the_last()
            world.prove()
    for name in SERVICES:
        entry = load.answer[name]
        print(f"{name}: {entry['made']} connections, {entry['failed']} failed, {len(entry['seen'])} certificates seen")
        # Each round issues every certificate twice, on two servers.
        if len(entry["seen"]) < 4 * rounds:
            raise Failed(f"{name} served {len(entry['seen'])} certificates, and should have changed them more often")
    if load.failed:
        raise Failed(f"{load.failed} connections failed: {'; '.join(load.failures)}")
    world.settled()


def steps(world: World, in_one_run: bool) -> list[tuple[str, Callable[[], object]]]:
    old, new = world.generations[-1], world.new_authority()

    def run(*generations: dict[str, str]) -> None:
        world.generations = list(generations)
        world.run()

    # The CA is replaced by the user step by step, and by the role in one run, in turn.
    replaced = [
        ("everybody trusts the next CA too", lambda: run(new, old)),
        ("the next CA signs", lambda: run(old, new)),
    ]
    return [
        ("every certificate is renewed", lambda: world.run(renew=True)),
        *([("everybody trusts the next CA, and it signs", replaced[1][1])] if in_one_run else replaced),
        ("nobody trusts the old CA any more", lambda: run(new)),
    ]


def killed(kills: int) -> None:
    """Kill the program on the host, on each release, at so many of its steps, the first to the last."""
    with directory_in_memory() as directory, disposable(f"{GROUP}-killed", Path(directory), PACKAGES) as hosts:
        for name, host in hosts.items():
            times, wished, total = kill_and_finish(host, kills)
            print(f"{name}: killed {times} times in {total} steps, and always finished by the next run", flush=True)
            if times < wished * 5 // 6:
                raise Failed(f"{name}: only {times} of {wished} runs were killed")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, default=10_000, help="to each service, of both servers together")
    parser.add_argument("--pause", type=float, default=0, help="seconds before each connection of one of the clients")
    parser.add_argument("--points", type=int, default=20, help="moments at which the controller is lost")
    parser.add_argument("--scans", type=int, default=4, help="how many listeners are scanned, each service first")
    parser.add_argument("--kills", type=int, default=60, help="steps on each server at which its program is killed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="leave out the moments that passed with the same seed")
    parser.add_argument("--part", action="append", choices=PARTS, help="all of them unless some are named")
    parser.add_argument("--keep", action="store_true", help="leave the hosts running")
    arguments = parser.parse_args()
    os.environ.setdefault("ANSIBLE_CONFIG", str(ROOT / "ansible.cfg"))
    logs = ROOT / ".cache/certificates"
    logs.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Callable[[World], None]] = {
        "load": lambda world: rotations(world, arguments.connections),
        "scan": lambda world: scan(world, arguments.scans),
        "restart": lambda world: restarts(world, arguments.connections // 5, arguments.seed),
        "lost": lambda world: lost(world, arguments.seed, arguments.points, arguments.resume),
    }
    failed: list[str] = []

    def attempt(name: str, part: Callable[[], None]) -> None:
        try:
            part()
        except (Failed, AssertionError) as error:
            failed.append(name)
            print(f"FAILED {name}: {error}", flush=True)

    started = time.monotonic()
    wanted = arguments.part or PARTS
    if KILLED in wanted:
        attempt(KILLED, lambda: killed(arguments.kills))
    if shared := [name for name in wanted if name != KILLED]:
        with directory_in_memory() as directory:
            world = World(Path(directory), logs, arguments.pause)
            try:
                world.set_up()
                for name in shared:
                    attempt(name, functools.partial(parts[name], world))
            finally:
                if not arguments.keep:
                    world.remove()
    print(
        f"{f'failed: {chr(44).join(failed)}' if failed else 'everything passed'}, in {time.monotonic() - started:.0f} s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
