# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs steps side by side: each with its own log, a line when it starts and ends, and its log when it fails."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import threading
import time
import typing as t
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from .paths import LOGS, ROOT

HEARTBEAT_SECONDS = 60
LINES_SHOWN_ON_FAILURE = 80


@dataclass(frozen=True)
class Step:
    """Commands that are run one after the other until one fails.

    ``after`` names steps that must have passed before; those that are not part of the run are not waited for.
    """

    name: str
    commands: t.Sequence[t.Sequence[str]]
    environment: t.Mapping[str, str] = field(default_factory=dict)
    after: t.Sequence[str] = ()
    timeout_seconds: float = 2400.0


@dataclass(frozen=True)
class Counts:
    """How many checks a step made. A step that says nothing about it is one check."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __bool__(self) -> bool:
        return bool(self.passed or self.failed or self.skipped)

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)


def run(steps: t.Sequence[Step], workers: int, logs: Path = LOGS) -> Counts:
    """Run all steps, ``workers`` at a time, and return the sum of their counts.

    A step starts as soon as a worker is free and the steps it comes after have passed; earlier in the list goes first.
    """
    logs.mkdir(parents=True, exist_ok=True)
    names = {step.name for step in steps}
    waiting = list(steps)
    running: dict[Future[Counts], Step] = {}
    counts: dict[str, Counts] = {}
    children = _Children()
    with ThreadPoolExecutor(workers) as pool:
        try:
            while waiting or running:
                for step in list(waiting):
                    needed = [counts.get(name) for name in step.after if name in names]
                    if any(count is not None and count.failed for count in needed):
                        waiting.remove(step)
                        counts[step.name] = Counts(failed=1)
                        _say("FAILED", step.name, "not run, because a step that it needs has failed")
                    elif None not in needed and len(running) < workers:
                        waiting.remove(step)
                        _say("start", step.name)
                        running[pool.submit(_run_step, step, logs, children)] = step
                finished = wait(running, timeout=HEARTBEAT_SECONDS, return_when=FIRST_COMPLETED).done
                for future in finished:
                    counts[running.pop(future).name] = future.result()
                if not finished:
                    for step in running.values():
                        _say("...", step.name, _last_line(_log_of(step, logs)))
        except BaseException:
            children.terminate()
            raise
    return sum(counts.values(), Counts())


class _Children:
    """The process groups of the running steps, so that an interrupt ends all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()

    def add(self, group: int) -> None:
        with self._lock:
            self._groups.add(group)

    def discard(self, group: int) -> None:
        with self._lock:
            self._groups.discard(group)

    def terminate(self) -> None:
        with self._lock:
            for group in self._groups:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGTERM)


def _run_step(step: Step, logs: Path, children: _Children) -> Counts:
    log = _log_of(step, logs)
    results = log.with_suffix(".xml")
    results.unlink(missing_ok=True)
    started = time.monotonic()
    environment = {**os.environ, **step.environment, "PYTEST_ADDOPTS": f"--junitxml={results}"}
    failure = ""
    with log.open("wb") as output:
        for command in step.commands:
            output.write(f"$ {shlex.join(command)}\n".encode())
            output.flush()
            remaining = step.timeout_seconds - (time.monotonic() - started)
            failure = _run_command(command, environment, output, remaining, children)
            if failure:
                break
    counts = read_results(results) or read_closing_line(log)
    if failure and not counts.failed:
        counts += Counts(failed=1)
    elif not counts:
        counts = Counts(passed=1)
    elapsed = f"{time.monotonic() - started:.1f} s"
    details = [elapsed]
    if counts.passed + counts.failed > 1:
        details.append(f"{counts.passed} passed")
    if counts.failed > 1:
        details.append(f"{counts.failed} failed")
    if counts.skipped:
        details.append(f"{counts.skipped} skipped, see {log.relative_to(ROOT)}")
    if failure:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES_SHOWN_ON_FAILURE:]
        _say("FAILED", step.name, f"{failure}; {', '.join(details)}; all of its output: {log}", *tail)
    else:
        _say("ok", step.name, ", ".join(details))
    return counts


def _run_command(
    command: t.Sequence[str],
    environment: t.Mapping[str, str],
    output: t.BinaryIO,
    timeout_seconds: float,
    children: _Children,
) -> str:
    """Return an empty text when the command succeeds, else what went wrong."""
    try:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as problem:
        return f"{command[0]} cannot be started: {problem.strerror}"
    children.add(process.pid)
    try:
        code = process.wait(timeout=max(timeout_seconds, 1.0))
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return "it did not end in time"
    finally:
        children.discard(process.pid)
    return f"exit code {code}" if code else ""


def read_results(path: Path) -> Counts:
    """Return what pytest counted in its JUnit file; nothing if there is no such file."""
    if not path.is_file():
        return Counts()
    total = Counts()
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):  # noqa: S314 - we have just written it
        tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        total += Counts(passed=max(tests - failed - skipped, 0), failed=failed, skipped=skipped)
    return total


def read_closing_line(log: Path) -> Counts:
    """Return what a program of ours says in its last line, ``N passed, N failed``; nothing if it does not."""
    found = re.fullmatch(r"(\d+) passed, (\d+) failed", _last_line(log))
    return Counts(passed=int(found[1]), failed=int(found[2])) if found else Counts()


def _log_of(step: Step, logs: Path) -> Path:
    return logs / f"{re.sub(r'[^a-z0-9.-]+', '-', step.name.lower())}.log"


def _last_line(log: Path) -> str:
    if not log.is_file():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip()[:100] for line in reversed(lines) if line.strip()), "")


_print_lock = threading.Lock()


def _say(word: str, name: str, detail: str = "", *lines: str) -> None:
    with _print_lock:
        print(f"{time.strftime('%H:%M:%S')}  {word:<7} {name:<28} {detail}".rstrip(), flush=True)
        for line in lines:
            print(f"    {line}", flush=True)
