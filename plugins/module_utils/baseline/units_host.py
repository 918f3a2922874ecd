# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask systemd for the state of units and change it, with one call for each verb."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import units, way_in
from .host import Done, Refused, run
from .units import Step, Unit

Run = Callable[[Sequence[str]], Done]
BOOTED = "/run/systemd/system"


@dataclass(frozen=True)
class Outcome:
    """What was or would be done; problems are steps that did not succeed."""

    steps: tuple[Step, ...]
    before: Mapping[str, Unit]
    after: Mapping[str, Unit]
    left_out: tuple[str, ...]
    problems: tuple[str, ...]


def show(names: Sequence[str], runner: Run) -> dict[str, Unit]:
    """Return what systemd says of units. Raises Refused."""
    if not names:
        return {}
    done = runner(["systemctl", "show", f"--property={','.join(units.PROPERTIES)}", "--", *names])
    found = units.parse_show(done.output, names)
    if not done.ok or len(found) != len(names):
        raise Refused(f"systemctl show does not tell the state of {', '.join(names)}: {done.said}")
    return found


def converge(
    entries: Sequence[Mapping[str, Any]], check_mode: bool, runner: Run = run, booted: str = BOOTED
) -> Outcome:
    """Make the units what the entries say. Raises Refused before any change."""
    wishes = units.parse(entries)
    if not os.path.isdir(booted):
        if check_mode or all(wish.only_if_exists for wish in wishes):
            return Outcome((), {}, {}, ("systemd does not run on this host",) if wishes else (), ())
        raise Refused("units need a host that was started with systemd")
    names = [wish.name for wish in wishes]
    before = show(names, runner)
    steps, left_out = units.plan(wishes, before, check_mode)
    harm = [problem for step in steps for problem in [way_in.unit_problem(step.verb, step.name)] if problem]
    if harm:
        raise Refused("; ".join([*harm, "nothing was changed"]))
    if check_mode or not steps:
        return Outcome(tuple(steps), before, before, tuple(left_out), ())
    problems: list[str] = []
    for verb, group in itertools.groupby(steps, key=lambda step: step.verb):
        problems += _run(verb, [step.name for step in group], runner)
    after = show(names, runner)
    failed = {problem.partition(" ")[0] for problem in problems}
    unmet = [units.unmet(step, after[step.name]) for step in steps if step.name not in failed]
    return Outcome(tuple(steps), before, after, tuple(left_out), (*problems, *filter(None, unmet)))


def _run(verb: str, names: Sequence[str], runner: Run) -> list[str]:
    """Run a verb for all units, and once more for each alone when that fails, to know for which."""
    if runner(["systemctl", verb, "--quiet", "--", *names]).ok:
        return []
    problems = []
    for name in names:
        done = runner(["systemctl", verb, "--quiet", "--", name])
        if not done.ok:
            problems.append(f"{name} cannot be changed by systemctl {verb}: {done.said}; see journalctl --unit {name}")
    return problems
