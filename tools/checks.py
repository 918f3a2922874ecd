# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of ./dev test, in groups."""

from __future__ import annotations

import typing as t

from . import steps
from .hosts import prepare
from .paths import HOSTS_PROGRAM, PYTHON, ROOT, Problem, tool
from .steps import Step

WORKERS = 4
IMAGES = "images"
# Emulated machines take longer than a test run may; ./dev soak has them.
MACHINES = "virtual-machine"
# Killed programs are among the tests of the hosts. Clients without a pause take all that two cores have.
ROTATION_SAMPLE = (
    *("--seed=1", "--connections=1000", "--pause=0.2", "--points=2", "--scans=2"),
    *(f"--part={part}" for part in ("load", "scan", "restart", "lost")),
)
TYPED_PACKAGES = ("ansible_collections.bulwark.hardening.plugins", "disposable_hosts", "tools")


def groups() -> dict[str, list[Step]]:
    """Return all steps by group, the order of both being the order in which they start."""
    return {
        "lint": lint(),
        "sanity": [Step("sanity", [[PYTHON, "-m", "tools.sanity"]])],
        "unit": [
            Step("unit", [[tool("pytest"), "--quiet", "--numprocesses=auto", "--hypothesis-profile=ci", "tests/unit"]])
        ],
        "package": [Step("package", [[PYTHON, "-m", "tools.package"]])],
        # They take long and wait more than they work: others work beside them, and none of them is the last.
        "rotation": [
            Step("rotation", [[PYTHON, "tests/certificates/run.py", *ROTATION_SAMPLE]], after=[IMAGES]),
        ],
        "interruption": [
            Step("interruption", [[PYTHON, "tests/interruption/run.py", "--seed=1", "--points=2"]], after=[IMAGES])
        ],
        "lockout": [Step("lockout", [[PYTHON, "tests/lockout/run.py", "--seed=1", "--cases=24"]], after=[IMAGES])],
        "molecule": [
            Step(f"molecule {path.parent.name}", [[tool("molecule"), "test", "-s", path.parent.name]], after=[IMAGES])
            for path in sorted((ROOT / "molecule").glob("*/molecule.yml"))
            if path.parent.name != MACHINES
        ],
        "hosts": host_tests(),
        "lynis": [Step("lynis", [[PYTHON, "tests/lynis/run.py", "--container-only"]], after=[IMAGES])],
        "budget": [Step("budget", [[PYTHON, "tests/benchmark/run.py", "--sample"]], after=[IMAGES])],
    }


def lint() -> list[Step]:
    """Return the checks that only read the sources."""
    # A shared playbook imports the one of the scenario that Molecule runs; any scenario will do to read it.
    scenario = {"MOLECULE_SCENARIO_DIRECTORY": str(ROOT / "molecule" / "firewall")}
    return [
        Step("ansible-lint", [[tool("ansible-lint"), "--offline", "--profile=production", "--nocolor"]], scenario),
        Step(
            "mypy",
            [
                [tool("mypy"), "--strict", *(f"--package={name}" for name in TYPED_PACKAGES)],
                # Programs and tests belong to no package that could be named.
                [tool("mypy"), "--strict", "tests", "molecule"],
            ],
        ),
        Step("ruff", [[tool("ruff"), "check"], [tool("ruff"), "format", "--check"]]),
        Step("yamllint", [[tool("yamllint"), "--strict", "."]]),
        Step("changelog", [[tool("antsibull-changelog"), "lint"]]),
        Step(
            "documentation",
            [[tool("antsibull-docs"), "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=all", "."]],
        ),
    ]


def host_tests() -> list[Step]:
    """Return one step for each test file that brings up hosts of its own."""
    return [
        Step(f"hosts {path.stem.removeprefix('test_')}", [[tool("pytest"), "--quiet", str(path)]], after=[IMAGES])
        for path in sorted(ROOT.glob("tests/integration_hosts/test_*.py"))
    ]


def select(words: t.Sequence[str]) -> list[Step]:
    """Return the steps that the arguments of ./dev test ask for; all if there are none.

    A word is a group, or a step, or the last word of a step's name. A step that follows its group stands for the group:
    ``molecule firewall`` is one scenario.
    """
    available = groups()
    requests: dict[str, list[Step]] = {}
    current = ""
    for word in words or available:
        if word in available:
            current = word
            requests.setdefault(word, [])
            continue
        found = find(word, {current: available.get(current, [])}) or find(word, available)
        if not found:
            names = dict.fromkeys([*available, *(step.name for members in available.values() for step in members)])
            raise Problem(f"./dev test does not know {word!r}; it knows {', '.join(names)}.")
        for group, step in found:
            requests.setdefault(group, []).append(step)
    chosen = {step.name: step for group, named in requests.items() for step in named or available[group]}
    if any(step.after for step in chosen.values()):
        images = Step(IMAGES, [[PYTHON, str(HOSTS_PROGRAM), "images"]])
        chosen = {IMAGES: images, **chosen}
    return list(chosen.values())


def find(word: str, available: t.Mapping[str, t.Sequence[Step]]) -> list[tuple[str, Step]]:
    """Return the steps that go by this name, in full or by its last word, each with its group."""
    return [
        (group, step)
        for group, members in available.items()
        for step in members
        if word in {step.name, step.name.split()[-1]}
    ]


def test(wanted: t.Sequence[str]) -> int:
    """Run the tests and return the exit code. The last line says how many checks passed and failed."""
    selected = select(wanted)
    if any(step.after for step in selected):
        prepare()
    counts = steps.run(selected, WORKERS)
    print(f"{counts.passed} passed, {counts.failed} failed", flush=True)
    return 1 if counts.failed else 0
