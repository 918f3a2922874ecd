# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the arguments of ./dev test stand for."""

from __future__ import annotations

import pytest

from tools import checks
from tools.paths import Problem
from tools.sanity import find_false_green
from tools.steps import Step


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(name: str, *after: str) -> Step:
        return Step(name, [], after=after)

    groups = {
        "lint": [step("ruff"), step("mypy")],
        "unit": [step("unit")],
        "molecule": [step("molecule firewall", "images"), step("molecule ssh", "images")],
        "hosts": [step("hosts firewall", "images")],
    }
    monkeypatch.setattr(checks, "groups", lambda: groups)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], ["images", "ruff", "mypy", "unit", "molecule firewall", "molecule ssh", "hosts firewall"]),
        (["lint"], ["ruff", "mypy"]),
        (["mypy"], ["mypy"]),
        (["unit", "ruff"], ["unit", "ruff"]),
        (["molecule"], ["images", "molecule firewall", "molecule ssh"]),
        (["molecule", "firewall"], ["images", "molecule firewall"]),
        (["lint", "ssh"], ["images", "ruff", "mypy", "molecule ssh"]),
        (["unit", "unit"], ["unit"]),
    ],
)
def test_words_select_steps(words: list[str], names: list[str]) -> None:
    assert [step.name for step in checks.select(words)] == names


def test_an_unknown_word_is_refused_with_what_is_known() -> None:
    with pytest.raises(Problem, match="does not know 'molecul'; it knows lint, unit, molecule, hosts, ruff"):
        checks.select(["molecul"])


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ('Running sanity test "compile"\n', ""),
        ("WARNING: All targets skipped.\n", "skipped all files"),
        ("", "ran no test"),
    ],
)
def test_a_sanity_run_that_tested_nothing_is_not_a_success(output: str, problem: str) -> None:
    assert problem in find_false_green(output)
    assert bool(find_false_green(output)) == bool(problem)
