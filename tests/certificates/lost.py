# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that change every certificate lose their controller: nobody may notice, and the next one ends what was begun."""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from dataclasses import asdict, dataclass

from tests.integration_hosts.test_certificates import WEB

from .world import Failed, Load, World

# From here on a run touches certificates, as ansible-playbook prints it.
TOUCHING = "TASK [bulwark.hardening.tls : Call the module"


@dataclass(frozen=True)
class Point:
    """When one run is killed: after which part of the time that a whole one takes."""

    number: int
    part: float


def points(seed: int, count: int) -> list[Point]:
    chance = random.Random(seed)
    return [Point(number, round((number + chance.random()) / count, 3)) for number in range(count)]


def lost(world: World, seed: int, count: int, resume: bool) -> None:
    record = world.logs / f"lost-seed-{seed}.jsonl"
    if not resume:
        record.unlink(missing_ok=True)
    passed = set(record.read_text().splitlines()) if record.exists() else set()
    began, ended = change(world, 0)
    whole = ended - began
    interrupted = 0
    with Load(world, world.targets()) as load:
        for point in points(seed, count):
            entry = json.dumps(asdict(point))
            if entry in passed:
                continue
            still = kill(world, point, whole)
            interrupted += still
            changed = [host for host, number in world.changes(world.run()).items() if number]
            world.settled()
            world.prove()
            told = f"finished by the next run: {', '.join(changed) or 'nothing'}"
            verdict = "killed" if still else "was over"
            print(
                f"{point.number:>3} after {point.part * whole:>4.1f} s {verdict:<9} {told}; {load.failed} failed",
                flush=True,
            )
            if load.failed or not load.alive:
                break
            with record.open("a") as stream:
                stream.write(entry + "\n")
    made = sum(entry["made"] for entry in load.answer.values())
    print(f"{interrupted} runs killed, {made} connections meanwhile, {load.failed} failed")
    if load.failed:
        raise Failed(f"{load.failed} connections failed: {'; '.join(load.failures)}")
    if interrupted < count * 2 // 3 and not passed:
        raise Failed(f"only {interrupted} of {count} runs were still going on when they were killed")


def change(world: World, number: int) -> tuple[float, float]:
    """Run one change to its end; returns when it began to touch certificates, and when it ended."""
    process = begin(world, number)
    began = time.monotonic()
    process.communicate()
    if process.returncode:
        raise Failed("a run that nobody interrupts fails")
    return began, time.monotonic()


def begin(world: World, number: int) -> subprocess.Popen[str]:
    """Start a run that has to issue every server's certificates for other names, and wait until it touches them."""
    world.web_names = [WEB, ("one.example.org", "two.example.org")[number % 2]]
    process = world.start()
    assert process.stdout
    for line in process.stdout:
        if line.startswith(TOUCHING):
            break
    return process


def kill(world: World, point: Point, whole: float) -> bool:
    """Kill every process of the controller; returns whether the run was still going on."""
    process = begin(world, point.number + 1)
    assert process.stdout
    ended = threading.Thread(target=process.stdout.read, daemon=True)
    ended.start()
    ended.join(point.part * whole)
    still = process.poll() is None
    process.kill()
    process.wait()
    return still
