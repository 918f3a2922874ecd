# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host without systemd and with a clock of its own, and a machine whose power fails at a chosen moment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.transaction import engine as engine_module
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction import locks, restore
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.clock import Clock
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.engine import Engine, Transaction
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.journal import JournalStore
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.state import TransactionError


class FakeClock(Clock):
    """Time passes only by sleeping."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.boot = "first"

    def now(self) -> datetime:
        return datetime(2026, 11, 26, tzinfo=timezone.utc) + timedelta(seconds=self.seconds)

    def boottime(self) -> float:
        return self.seconds

    def boot_id(self) -> str:
        return self.boot

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class FakeSystemd:
    """Keeps the armed timers; a test decides when one fires."""

    def __init__(self) -> None:
        self.refused = ""
        self.fails = ""
        self.timers: dict[str, Sequence[str]] = {}
        self.guards: list[str] = []

    def refusal(self) -> str:
        return self.refused

    def arm(self, unit: str, argv: Sequence[str], seconds: float) -> None:
        if self.fails:
            raise TransactionError(self.fails)
        self.timers[unit] = argv

    def disarm(self, unit: str) -> None:
        self.timers.pop(unit, None)

    def start(self, unit: str) -> bool:
        if unit not in self.timers:
            return False
        argv = list(self.timers.pop(unit))
        return restore.main(argv[argv.index("restore") :]) == 0

    def install_guard(self, root: str) -> None:
        self.guards.append(root)

    def fire(self) -> None:
        for unit in list(self.timers):
            self.start(unit)


class Host:
    """A tree to change, and engines that work on it."""

    def __init__(self, folder: Path) -> None:
        self.root = str(folder / "transactions")
        self.tree = folder / "etc"
        self.tree.mkdir()
        (self.tree / "kept").write_text("kept")
        (self.tree / "changed").write_text("old")
        (self.tree / "removed").write_text("removed")
        self.clock = FakeClock()
        self.systemd = FakeSystemd()
        self.old = self.listing()
        self.begun = ""
        self.locks: list[locks.Lock] = []

    def engine(self) -> Engine:
        return Engine(self.root, self.systemd, self.clock)

    def settle(self) -> dict[str, Any]:
        engine = self.engine()
        try:
            return engine.settle()
        finally:
            engine.close()

    def newest(self) -> dict[str, Any]:
        """The status of the transaction that was begun last, or {} when its journal was never written."""
        return self.engine().status(self.begun) if self.begun in JournalStore(self.root).ids() else {}

    def begin(self, **arguments: Any) -> Transaction:
        engine = self.engine()
        self.begun = ""
        try:
            transaction = engine.begin("test", [str(self.tree)], arguments.pop("live_commands", []), **arguments)
            self.begun = transaction.id
            return transaction
        finally:
            engine.close()

    def armed(self, **arguments: Any) -> Transaction:
        transaction = self.begin(**arguments)
        transaction.arm()
        return transaction

    def applied(self, **arguments: Any) -> Transaction:
        transaction = self.armed(**arguments)
        transaction.applying()
        self.change()
        transaction.applied()
        return transaction

    def change(self) -> None:
        (self.tree / "changed").write_text("new")
        (self.tree / "removed").unlink(missing_ok=True)
        (self.tree / "folder").mkdir(exist_ok=True)
        (self.tree / "folder" / "added").write_text("added")

    def listing(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.tree)): path.read_text() if path.is_file() else "folder"
            for path in sorted(self.tree.rglob("*"))
        }

    def die(self) -> None:
        """What the end of a process does: its locks are free."""
        while self.locks:
            self.locks.pop().release()

    def restart(self) -> None:
        """What a restart does: timers and locks are gone, the boot guard runs if something is pending."""
        self.die()
        self.systemd.timers.clear()
        self.clock.boot = f"after {self.clock.boot}"
        self.clock.seconds = 5.0
        if Path(self.root, "pending").is_symlink():
            restore.main(["restore", "--root", self.root, "--reason", "boot"])


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    # The real check runs the packed rollback in a process of its own, which has tests of its own.
    monkeypatch.setattr(engine_module, "run_command", lambda _command: (True, ""))
    monkeypatch.setattr(engine_module, "ssh_session", lambda: None)
    monkeypatch.setattr(restore, "RETRY_SECONDS", 0.0)
    # Thousands of real ones take minutes on a busy disk; the power cut below knows what was synced and what not.
    monkeypatch.setattr(os, "fsync", os.fstat)
    machine = Host(tmp_path)
    acquire = locks.Lock.acquire

    def recorded(lock: locks.Lock, clock: Clock, wait_seconds: float = 0.0) -> bool:
        machine.locks.append(lock)
        return acquire(lock, clock, wait_seconds)

    monkeypatch.setattr(locks.Lock, "acquire", recorded)
    return machine


class PowerCut(BaseException):
    """The machine is off; nothing after this reaches the disk."""


class Power:
    """Counts what reaches the disk and fails at the chosen step; unsynced content is lost then."""

    STEPS = ("open", "write", "fsync", "link", "rename", "unlink", "mkdir", "symlink", "rmdir", "fchmod", "utime")

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.step = 0
        self.fails_at = 0
        self.off = False
        self._unsynced: dict[tuple[int, int], int] = {}
        self._real = {name: getattr(os, name) for name in self.STEPS}
        for name in self.STEPS:
            monkeypatch.setattr(os, name, self._wrapped(name))

    def cut_at(self, step: int) -> None:
        self.step, self.fails_at, self.off = 0, step, False

    def restore(self) -> None:
        self.fails_at, self.off = 0, False

    def _wrapped(self, name: str) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if name == "open" and not arguments[1] & os.O_CREAT:
                return self._real[name](*arguments, **keywords)
            if self.fails_at:
                self.step += 1
                if self.off or self.step >= self.fails_at:
                    self._switch_off()
                    raise PowerCut
            self._track(name, arguments)
            return self._real[name](*arguments, **keywords)

        return call

    def _track(self, name: str, arguments: Sequence[Any]) -> None:
        if name not in ("write", "fsync"):
            return
        found = os.fstat(arguments[0])
        key = (found.st_dev, found.st_ino)
        if name == "write" and key not in self._unsynced:
            self._unsynced[key] = os.dup(arguments[0])
        if name == "fsync" and key in self._unsynced:
            os.close(self._unsynced.pop(key))

    def _switch_off(self) -> None:
        self.off = True
        while self._unsynced:
            _key, descriptor = self._unsynced.popitem()
            os.ftruncate(descriptor, 0)
            os.close(descriptor)


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> Iterator[Power]:
    supply = Power(monkeypatch)
    yield supply
    supply.restore()
