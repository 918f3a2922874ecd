# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks that tell who holds them, so that a rollback can end a module that hangs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from .clock import Clock

POLL_SECONDS = 0.02
KILLED_SECONDS = 5.0
MODULE = "module"
RESTORE = "restore"


@dataclass(frozen=True)
class Holder:
    """A process, told from a later one with the same number by its start time in clock ticks since boot."""

    process: int
    started: str
    role: str


class Lock:
    """An exclusive flock(2). It ends with the process, however that ends."""

    def __init__(self, path: str, role: str = MODULE) -> None:
        self.path = path
        self.role = role
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def acquire(self, clock: Clock, wait_seconds: float = 0.0) -> bool:
        """Return whether the lock was taken within wait_seconds."""
        if self.held:
            return True
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        until = clock.boottime() + wait_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if clock.boottime() >= until:
                    os.close(descriptor)
                    return False
                clock.sleep(POLL_SECONDS)
        # Who holds it is a help, not a condition: a full disk must not stop a rollback.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {started(os.getpid())} {self.role}\n".encode(), 0)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> Holder | None:
        """Return the process named in the lock file, or None when it is gone."""
        try:
            process, start, role = Path(self.path).read_text(encoding="ascii").split()
        except (OSError, ValueError):
            return None
        if not process.isdigit() or started(int(process)) != start:
            return None
        return Holder(int(process), start, role)


def started(process: int) -> str:
    """Return the start time of a process as the kernel counts it, or "" when there is none."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def alive(process: int, start: str) -> bool:
    """Return whether that process can still act; one that is dead and only not yet collected cannot."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return fields[19] == start and fields[0] not in ("Z", "X")
    except (OSError, IndexError):
        return False


def end(holder: Holder, clock: Clock) -> None:
    """Kill a process and all that it started, and wait until none of them can write any more.

    Never the caller's own line. A process that sleeps in the kernel dies late, so the wait ends after five seconds.
    """
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    doomed = [holder.process]
    for process in doomed:
        doomed.extend(children.get(process, []))
    if os.getpid() in doomed or started(holder.process) != holder.started:
        return
    starts = {process: started(process) for process in doomed}
    for process in doomed:
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)
    until = clock.boottime() + KILLED_SECONDS
    while any(alive(process, start) for process, start in starts.items()) and clock.boottime() < until:
        clock.sleep(POLL_SECONDS)
