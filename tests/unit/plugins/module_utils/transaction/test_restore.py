# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rollback itself: alone, repeated, with commands that fail."""

from __future__ import annotations

import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.transaction import commands, restore, runner
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.clock import Clock
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.journal import JournalStore
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.locks import (
    Holder,
    Lock,
    alive,
    end,
    started,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.state import Command, Phase

from .conftest import FakeClock, Host, Power, PowerCut


def touch(path: Path) -> Command:
    return Command(("touch", str(path)))


def test_the_packed_rollback_runs_alone(host: Host, tmp_path: Path) -> None:
    transaction = host.applied(live_commands=[touch(tmp_path / "live")])
    program = Path(host.root, transaction.id, "runner.pyz")
    base = [sys.executable, "-I", str(program)]
    options = ["--root", host.root, "--id", transaction.id]
    subprocess.run([*base, "check", *options], check=True, cwd="/")
    done = subprocess.run(
        [*base, "restore", *options, "--reason", "timer"], capture_output=True, text=True, check=True, cwd="/", env={}
    )
    assert "is ROLLED_BACK: the window passed" in done.stdout
    assert host.listing() == host.old
    assert (tmp_path / "live").exists()
    assert not program.exists()


def test_the_packed_check_fails_when_a_copy_is_gone(host: Host) -> None:
    transaction = host.armed()
    next(Path(host.root, transaction.id, "snapshot").iterdir()).unlink()
    program = [sys.executable, "-I", f"{host.root}/pending/runner.pyz", "check", "--root", host.root]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_pack_is_the_same_every_time_and_holds_no_more_than_it_needs(tmp_path: Path) -> None:
    assert runner.pack_rollback() == runner.pack_rollback()
    (tmp_path / "runner.pyz").write_bytes(runner.pack_rollback())
    names = {Path(name).name for name in zipfile.ZipFile(tmp_path / "runner.pyz").namelist()}
    assert "engine.py" not in names
    assert {"__main__.py", "restore.py", "snapshot.py", "journal.py", "state.py"} <= names


def test_after_a_restart_the_boot_commands_run_and_the_live_ones_do_not(host: Host, tmp_path: Path) -> None:
    transaction = host.applied(live_commands=[touch(tmp_path / "live")], boot_commands=[touch(tmp_path / "boot")])
    host.restart()
    assert host.listing() == host.old
    assert (tmp_path / "boot").exists()
    assert not (tmp_path / "live").exists()
    reason = JournalStore(host.root).read(transaction.id).reason
    assert reason == "the host was restarted before the change was confirmed"


def test_a_failing_command_is_told_after_all_others_were_tried(host: Host, tmp_path: Path) -> None:
    failing = Command(("sh", "-c", "echo one; echo 'Error: no such chain' >&2; exit 3"))
    transaction = host.applied(live_commands=[failing, touch(tmp_path / "after")])
    journal = restore.restore(JournalStore(host.root), transaction.id, restore.TIMER, clock=host.clock)
    assert journal.phase is Phase.ROLLBACK_FAILED
    assert journal.reason.endswith("Error: no such chain")
    assert (tmp_path / "after").exists()
    assert host.listing() == host.old
    assert Path(host.root, "pending").is_symlink()


def test_a_command_that_works_the_second_time_is_good_enough(host: Host, tmp_path: Path) -> None:
    once = Command(("sh", "-c", f"test -e {tmp_path}/tried || {{ touch {tmp_path}/tried; exit 1; }}"))
    transaction = host.applied(live_commands=[once])
    assert restore.restore(JournalStore(host.root), transaction.id, restore.TIMER, clock=host.clock).phase is (
        Phase.ROLLED_BACK
    )


def test_a_command_that_is_not_required_may_fail(host: Host) -> None:
    transaction = host.applied(live_commands=[Command(("false",), required=False)])
    host.systemd.fire()
    assert JournalStore(host.root).read(transaction.id).phase is Phase.ROLLED_BACK


def test_a_failed_rollback_is_repeated_until_it_works(host: Host, tmp_path: Path) -> None:
    transaction = host.applied(live_commands=[Command(("test", "-e", str(tmp_path / "repaired")))])
    store = JournalStore(host.root)
    for _time in range(2):
        assert restore.restore(store, transaction.id, restore.TIMER, clock=host.clock).phase is Phase.ROLLBACK_FAILED
    (tmp_path / "repaired").touch()
    journal = restore.restore(store, transaction.id, restore.BOOT, clock=host.clock)
    assert journal.phase is Phase.ROLLED_BACK
    assert not Path(host.root, "pending").is_symlink()


def test_a_rollback_interrupted_at_any_step_is_repeated(host: Host, power: Power) -> None:
    transaction = host.applied()
    power.cut_at(10**6)
    host.systemd.fire()
    steps = power.step
    power.restore()
    assert steps > 25
    for step in range(1, steps + 1):
        transaction = host.applied()
        power.cut_at(step)
        with pytest.raises(PowerCut):
            host.systemd.fire()
        power.restore()
        host.restart()
        host.settle()
        assert host.listing() == host.old
        assert JournalStore(host.root).read(transaction.id).phase is Phase.ROLLED_BACK


def test_a_full_disk_does_not_stop_the_rollback(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    transaction = host.applied()

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(JournalStore, "write", full)
    with pytest.raises(OSError, match="No space left"):
        restore.restore(JournalStore(host.root), transaction.id, restore.TIMER, clock=host.clock)
    assert host.listing() == host.old


def test_nothing_pending_is_nothing_to_do(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    Path(host.root).mkdir()
    assert restore.main(["restore", "--root", host.root]) == 0
    assert "no transaction is pending" in capsys.readouterr().out


def test_an_unreadable_journal_is_one_line_on_the_error_output(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    transaction = host.armed()
    for generation in Path(host.root, transaction.id, "journal").iterdir():
        generation.write_text("broken")
    assert restore.main(["restore", "--root", host.root, "--reason", "boot"]) == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "cannot be read" in errors


class WaitingClock(FakeClock):
    """Lets the kernel do its part while fake time passes."""

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        time.sleep(seconds / 5)


def test_a_module_that_hangs_is_killed_with_its_children_and_the_rollback_goes_on(host: Host, tmp_path: Path) -> None:
    transaction = host.armed()
    lock = JournalStore(host.root).path(transaction.id, "mutation")
    script = (
        "import fcntl, subprocess, sys, time\n"
        "lock = open(sys.argv[1], 'w')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "import os\n"
        "start = open('/proc/self/stat').read().rpartition(')')[2].split()[19]\n"
        "lock.write(f'{os.getpid()} {start} module'); lock.flush()\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    host.change()
    with subprocess.Popen([sys.executable, "-c", script, lock], stdout=subprocess.PIPE, text=True) as module:
        assert module.stdout is not None
        child = int(module.stdout.readline())
        start = started(child)
        assert alive(child, start)
        clock = WaitingClock()
        journal = restore.restore(JournalStore(host.root), transaction.id, restore.TIMER, clock=clock)
        assert not alive(child, start)
        assert module.wait() == -9
    assert journal.phase is Phase.ROLLED_BACK
    assert host.listing() == host.old
    assert tmp_path.exists()


def test_a_process_that_only_has_the_same_number_is_not_killed() -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:
        end(Holder(bystander.pid, "1", "module"), Clock())
        assert bystander.poll() is None
        end(Holder(bystander.pid, started(bystander.pid), "module"), Clock())
        assert bystander.wait() == -9


def test_a_lock_names_its_holder_until_it_is_released(tmp_path: Path) -> None:
    first, second = Lock(str(tmp_path / "lock")), Lock(str(tmp_path / "lock"))
    clock: Clock = FakeClock()
    assert first.acquire(clock)
    assert first.acquire(clock)
    assert not second.acquire(clock, 5)
    holder = second.holder()
    assert holder is not None
    assert holder.role == "module"
    first.release()
    assert second.acquire(clock)
    second.release()
    (tmp_path / "lock").write_text("not a holder")
    assert second.holder() is None


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("", "no output"),
        ("one\ntwo\n\n", "two"),
        ("a.nft:1:2-3: Error: syntax error\nadd rule x\n^^^^\n", "a.nft:1:2-3: Error: syntax error"),
        (
            "/etc/x: line 9: Bad configuration option: Y\n/etc/x: terminating, 1 bad configuration options\n",
            "/etc/x: line 9: Bad configuration option: Y",
        ),
        ("04:14:08: started\n04:14:09: ERROR no such jail\n", "04:14:09: ERROR no such jail"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_the_line_that_is_told_is_the_one_that_says_most(output: str, line: str) -> None:
    assert commands.telling_line(output) == line


def test_a_command_is_ended_at_its_time_limit_with_its_children(tmp_path: Path) -> None:
    script = f"(sleep 0.7; touch {tmp_path}/survived) & wait"
    assert commands.run_command(Command(("sh", "-c", script), 0.2)) == (False, "no end within 0.2 seconds")
    Clock().sleep(0.8)
    assert not (tmp_path / "survived").exists()


def test_commands_run_with_a_fixed_environment_and_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "canary")
    assert commands.run_command(
        Command(("sh", "-c", "echo $LC_ALL-$SECRET-$OWN; cat"), environment=(("OWN", "1"),))
    ) == (
        True,
        "C--1",
    )


def test_a_program_that_is_missing_is_said_to_be() -> None:
    success, line = commands.run_command(Command(("/nonexistent/program",)))
    assert not success
    assert line == "/nonexistent/program cannot be run: No such file or directory"
