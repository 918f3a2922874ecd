# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing files to a host: all or none, also when it is interrupted anywhere."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import files_host
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.host import Done, Refused

ME, MINE = str(os.getuid()), str(os.getgid())


class Interrupted(BaseException):
    """The process ends here."""


class Programs:
    """Records what is run; `refusing` names the programs that fail."""

    def __init__(self, *refusing: str) -> None:
        self.ran: list[tuple[str, ...]] = []
        self.refusing = set(refusing)

    def __call__(self, argv: Sequence[str], timeout_seconds: float) -> Done:
        self.ran.append(tuple(argv))
        return Done(argv[0] not in self.refusing, "", f"{argv[0]} says no")


class Box:
    """Three files below a directory, to be changed, created and removed, and a command for them."""

    def __init__(self, path: Path) -> None:
        self.root = str(path / "state" / "files")
        (path / "etc").mkdir()
        (path / "state").mkdir()
        self.etc = path / "etc"
        (self.etc / "changed").write_text("old\n")
        (self.etc / "removed").write_text("old\n")
        (self.etc / "changed").chmod(0o640)
        self.old = self.look()
        owner = {"owner": ME, "group": MINE}
        self.entries: list[dict[str, Any]] = [
            {"path": f"{self.etc}/changed", "content": "new\n", **owner},
            {
                "path": f"{self.etc}/deep/er/created",
                "content": "new\n",
                "mode": "0600",
                "validate": ["check", "%s"],
                **owner,
            },
            {"path": f"{self.etc}/removed", "state": "absent"},
        ]
        self.commands = [{"argv": ["reload"], "when_changed": [f"{self.etc}/*"]}]

    def look(self) -> dict[str, tuple[str, int]]:
        return {
            str(path.relative_to(self.etc)): (path.read_text() if path.is_file() else "", path.stat().st_mode)
            for path in sorted(self.etc.rglob("*"))
        }

    def converge(self, programs: Programs, check_mode: bool = False) -> files_host.Outcome:
        return files_host.converge(self.entries, self.commands, check_mode, self.root, programs)

    def memory(self) -> list[str]:
        return sorted(path.name for path in Path(self.root).iterdir())

    def litter(self) -> list[Path]:
        return list(self.etc.rglob(".bulwark-*"))

    def is_new(self) -> bool:
        now = self.look()
        return sorted(now) == ["changed", "deep", "deep/er", "deep/er/created"] and now["changed"][0] == "new\n"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    os.umask(0o022)
    return Box(tmp_path)


def test_all_files_change_and_the_command_runs_once(box: Box) -> None:
    programs = Programs()
    outcome = box.converge(programs)
    assert [change.action for change in outcome.changes] == ["changed", "created", "removed"]
    assert box.is_new()
    assert (box.etc / "changed").stat().st_mode & 0o7777 == 0o640
    assert (box.etc / "deep/er/created").stat().st_mode & 0o7777 == 0o600
    assert programs.ran[-1] == ("reload",)
    assert box.memory() == ["lock"]
    assert box.converge(programs) == files_host.Outcome((), ())
    assert programs.ran.count(("reload",)) == 1


def test_check_mode_touches_nothing(box: Box) -> None:
    programs = Programs()
    outcome = box.converge(programs, check_mode=True)
    assert len(outcome.changes) == 3
    assert outcome.commands == (("reload",),)
    assert box.look() == box.old
    assert programs.ran == []
    assert not Path(box.root).exists()


def test_a_refused_candidate_leaves_nothing_changed(box: Box) -> None:
    with pytest.raises(Refused, match=r"deep/er/created is not accepted by check: check says no; nothing was changed"):
        box.converge(Programs("check"))
    assert box.look() == box.old
    assert box.memory() == ["lock"]


def test_the_candidate_is_shown_under_its_own_name(box: Box) -> None:
    programs = Programs()
    box.converge(programs)
    program, path = programs.ran[0]
    assert program == "check"
    assert Path(path).name == "created"
    assert not Path(path).exists()


def test_a_failing_command_puts_the_files_back_and_runs_again_on_them(box: Box) -> None:
    programs = Programs("reload")
    with pytest.raises(Refused, match="reload failed: reload says no; all files are as they were"):
        box.converge(programs)
    assert box.look() == box.old
    assert programs.ran[-2:] == [("reload",), ("reload",)]
    assert box.memory() == ["lock"]


@pytest.mark.parametrize("planted", ["changed", "deep", "removed"])
def test_a_planted_link_is_refused(box: Box, planted: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir() if planted == "deep" else target.write_text("precious\n")
    if (box.etc / planted).exists():
        (box.etc / planted).unlink()
    (box.etc / planted).symlink_to(target)
    with pytest.raises(Refused, match=rf"{planted} is a symbolic link, which is never written through"):
        box.converge(Programs())
    assert (box.etc / planted).is_symlink()
    assert list(target.iterdir()) == [] if planted == "deep" else target.read_text() == "precious\n"


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_file_that_decides_on_logins_is_refused_with_all_others(box: Box, check_mode: bool) -> None:
    harmful = {"path": "/etc/pam.d/bulwark-no-such-service", "content": "account requisite pam_deny.so\n"}
    harmless = {"path": str(box.etc / "harmless"), "content": "x"}
    with pytest.raises(Refused, match=r"bulwark-no-such-service: access_policy tries it.*nothing was changed"):
        files_host.converge([harmless, harmful], [], check_mode, box.root)
    assert not (box.etc / "harmless").exists()


def test_what_is_no_regular_file_is_refused(box: Box) -> None:
    (box.etc / "changed").unlink()
    os.mkfifo(box.etc / "changed")
    with pytest.raises(Refused, match="changed is not a regular file"):
        box.converge(Programs())


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, number: int, error: BaseException) -> Callable[[], int]:
    """Let the numbered call of a function of os raise; returns how often it was called."""
    real, calls = getattr(os, name), [0]

    def function(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(os, name, function)
    return lambda: calls[0]


POINTS = [("rename", 12), ("unlink", 8), ("link", 4), ("fsync", 24), ("write", 12), ("open", 90), ("mkdir", 8)]


@pytest.mark.parametrize(("name", "most"), [point for point in POINTS if point[0] != "unlink"])
def test_a_full_disk_at_any_point_leaves_all_or_none(name: str, most: int, tmp_path: Path) -> None:
    os.umask(0o022)
    refused = 0
    for number in range(1, most + 1):
        (tmp_path / str(number)).mkdir()
        box = Box(tmp_path / str(number))
        with pytest.MonkeyPatch.context() as monkeypatch:
            fail_at(monkeypatch, name, number, OSError(28, "No space left on device"))
            message = ""
            try:
                box.converge(Programs())
            except Refused as error:
                message = str(error)
                refused += 1
        if message:
            assert "the disk is full" in message
            assert box.look() == box.old, (name, number, message)
        else:
            assert box.is_new(), (name, number)
        box.converge(Programs())
        assert box.is_new(), (name, number)
        assert box.litter() == []
    assert refused


def killed_at(box: Box, name: str, number: int) -> bool:
    """Converge in a process that is killed in the numbered call of a function of os; return whether it was."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    real, calls = getattr(os, name), [0]

    def function(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(os, name, function)
    try:
        box.converge(Programs())
    finally:
        os._exit(0)


@pytest.mark.parametrize(("name", "most"), POINTS)
def test_a_run_that_is_killed_at_any_point_is_put_right_by_the_next(
    name: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.umask(0o022)
    killed, tomorrow = 0, time.time() + 86400
    for number in range(1, most + 1):
        (tmp_path / str(number)).mkdir()
        box = Box(tmp_path / str(number))
        killed += killed_at(box, name, number)
        box.converge(Programs())
        # Candidates that nobody had written down yet are removed once they are old.
        with monkeypatch.context() as later:
            later.setattr(time, "time", lambda: tomorrow)
            assert box.converge(Programs()).changes == ()
        assert box.is_new(), (name, number)
        assert box.memory() == ["lock"]
    assert killed


def test_half_a_set_goes_back_even_if_the_next_wish_is_refused(box: Box) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        real = files_host._install_one
        calls = [0]

        def ends(item: files_host.Item) -> None:
            calls[0] += 1
            if calls[0] == 2:
                raise Interrupted
            real(item)

        monkeypatch.setattr(files_host, "_install_one", ends)
        with pytest.raises(Interrupted):
            box.converge(Programs())
    assert box.look() != box.old
    with pytest.raises(Refused, match="is not accepted"):
        box.converge(Programs("check"))
    assert {name: seen for name, seen in box.look().items() if name != "deep"} == box.old


def test_a_file_that_somebody_changed_after_an_interruption_is_not_put_back(box: Box) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        real = files_host._install_one

        def ends(item: files_host.Item) -> None:
            real(item)
            raise Interrupted

        monkeypatch.setattr(files_host, "_install_one", ends)
        with pytest.raises(Interrupted):
            box.converge(Programs())
    (box.etc / "edited").write_text("by hand\n")
    (box.etc / "edited").rename(box.etc / "changed")
    box.entries = box.entries[1:]
    box.converge(Programs())
    assert (box.etc / "changed").read_text() == "by hand\n"


def test_a_command_that_an_interrupted_run_owes_runs_without_a_change(box: Box) -> None:
    class Ends(Programs):
        def __call__(self, argv: Sequence[str], timeout_seconds: float) -> Done:
            if argv[0] == "reload":
                raise Interrupted
            return super().__call__(argv, timeout_seconds)

    with pytest.raises(Interrupted):
        box.converge(Ends())
    assert box.is_new() is False or not (box.etc / "removed").exists()
    assert box.converge(Programs(), check_mode=True).commands == (("reload",),)
    programs = Programs()
    outcome = box.converge(programs)
    assert outcome.changes == ()
    assert programs.ran == [("reload",)]
    assert box.litter() == []
    assert box.converge(programs).commands == ()


def test_a_memory_that_cannot_be_read_stops_the_run(box: Box) -> None:
    box.converge(Programs())
    Path(box.root, "pending.json").write_text("{")
    (box.etc / "changed").write_text("drift\n")
    with pytest.raises(Refused, match=r"pending.json tells what an interrupted run had in hand and cannot be read"):
        box.converge(Programs())
    assert (box.etc / "changed").read_text() == "drift\n"


def test_a_replacement_for_others_is_all_or_none(box: Box) -> None:
    changes = box.converge(Programs(), check_mode=True).changes
    with pytest.MonkeyPatch.context() as monkeypatch:
        fail_at(monkeypatch, "unlink", 1, OSError(16, "Device or resource busy"))
        with pytest.raises(
            Refused, match="removed cannot be replaced: it is in use, as a mount point is; all files are"
        ):
            files_host.replace(changes)
    assert box.look() == box.old
    files_host.replace(changes)
    assert box.is_new()
