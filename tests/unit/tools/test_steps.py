# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner behind ./dev test: what it counts, what it says, what it waits for."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest

from tools.steps import Counts, Step, run


def python(name: str, code: str, **options: t.Any) -> Step:
    return Step(name, [[sys.executable, "-c", code]], **options)


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tools.steps.ROOT", tmp_path)
    return tmp_path / "logs"


def test_a_step_that_says_nothing_counts_once(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([python("quiet", "pass"), python("broken", "raise SystemExit(3)")], 2, logs) == Counts(1, 1)
    output = capsys.readouterr().out
    assert "exit code 3" in output
    assert str(logs / "broken.log") in output


def test_the_log_is_shown_only_when_a_step_fails(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run([python("good", "print('all is w' + 'ell')"), python("bad", "print('it is b' + 'ad'); 1/0")], 1, logs)
    output = capsys.readouterr().out
    assert "it is bad" in output
    assert "all is well" not in output
    assert "all is well" in (logs / "good.log").read_text()


def test_commands_of_a_step_stop_at_the_first_failure(logs: Path) -> None:
    step = Step("two", [[sys.executable, "-c", "raise SystemExit(1)"], [sys.executable, "-c", "print('seco' + 'nd')"]])
    assert run([step], 1, logs) == Counts(failed=1)
    assert "second" not in (logs / "two.log").read_text()


def test_pytest_counts_are_taken_over(logs: Path, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_a(): pass\n"
        "def test_b(): pass\n"
        "def test_c(): assert False\n"
        "@pytest.mark.skip(reason='why')\n"
        "def test_d(): pass\n"
    )
    step = Step("pytest", [[sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path / "test_it.py")]])
    assert run([step], 1, logs) == Counts(passed=2, failed=1, skipped=1)


def test_counts_in_a_closing_line_are_taken_over(logs: Path) -> None:
    counted = python("counted", "print('7 passed, 2 failed'); raise SystemExit(1)")
    assert run([counted], 1, logs) == Counts(passed=7, failed=2)


def test_failure_is_counted_even_when_all_tests_have_passed(logs: Path) -> None:
    contradicting = python("contradicting", "print('7 passed, 0 failed'); raise SystemExit(1)")
    assert run([contradicting], 1, logs) == Counts(passed=7, failed=1)


def test_a_step_whose_predecessor_failed_is_a_failure_and_is_not_run(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [python("first", "raise SystemExit(1)"), python("second", "print('ra' + 'n')", after=["first"])]
    assert run(steps, 2, logs) == Counts(failed=2)
    assert not (logs / "second.log").exists()
    assert "not run" in capsys.readouterr().out


def test_a_predecessor_that_is_not_part_of_the_run_is_not_waited_for(logs: Path) -> None:
    assert run([python("second", "pass", after=["first"])], 1, logs) == Counts(passed=1)


def test_steps_run_in_their_order(logs: Path, tmp_path: Path) -> None:
    record = tmp_path / "record"
    write = f"open({str(record)!r}, 'a').write"
    steps = [
        python("late", f"{write}('late ')", after=["early"]),
        python("early", f"{write}('early ')"),
        python("last", f"{write}('last ')"),
    ]
    assert run(steps, 1, logs) == Counts(passed=3)
    assert record.read_text() == "early late last " or record.read_text() == "early last late "


def test_a_step_that_does_not_end_is_stopped(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    endless = python("endless", "import time; time.sleep(600)", timeout_seconds=0)
    assert run([endless], 1, logs) == Counts(failed=1)
    assert "did not end in time" in capsys.readouterr().out


def test_a_program_that_is_missing_is_a_failure(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([Step("missing", [["/nonexistent/program"]])], 1, logs) == Counts(failed=1)
    assert "/nonexistent/program cannot be started" in capsys.readouterr().out
