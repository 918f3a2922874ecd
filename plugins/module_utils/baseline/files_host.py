# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a set of files to a host: validated together, replaced together or not at all.

Every candidate lies complete and synced beside the file that it replaces before the first one is replaced, and each old
file keeps a second name until the last step is done. So neither a full disk nor a refused validation leaves a half, and
going back needs no space. `pending.json` says what an interrupted run had in hand: the next run puts a set back that is
not complete, and runs the commands that had not run yet.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import time
import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from ..transaction import files as safe_files
from ..transaction.clock import Clock
from ..transaction.locks import Lock
from . import files, way_in
from .files import Change, Found
from .host import Done, Refused, foreseen_group_id, foreseen_user_id, group_id, in_words, link_in, run, user_id

ROOT = "/var/lib/bulwark/files"
CANDIDATES = "candidates"
LOCK_SECONDS = 60.0
COMMAND_SECONDS = 900.0
VALIDATE_SECONDS = 60.0
# Nobody needs such a name for longer than moments; others than this module make them as well.
LEFT_SECONDS = 3600.0

Run = Callable[[Sequence[str], float], Done]


@dataclass(frozen=True)
class Item:
    """One replacement on its way: the candidate's and the old file's second name in the file's own directory."""

    path: str
    temporary: str = ""
    backup: str = ""
    inode: int = 0
    made: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What was or would be done."""

    changes: tuple[Change, ...]
    commands: tuple[tuple[str, ...], ...]


def read(path: str) -> Found | None:
    """Return the regular file at path, None where there is nothing. Raises Refused for all else, links included."""
    parent, name = safe_files.split(path)
    try:
        with safe_files.directory(parent) as descriptor:
            opened = os.open(name, safe_files.READ, dir_fd=descriptor)
            try:
                facts = os.fstat(opened)
                if not stat.S_ISREG(facts.st_mode):
                    raise Refused(f"{path} is not a regular file; move it away or name another path")
                content = safe_files.read_descriptor(opened)
            finally:
                os.close(opened)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(_no_file(path, error)) from error
    return Found(content, stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid)


def _no_file(path: str, error: OSError) -> str:
    link = link_in(path)
    if link:
        return f"{path} is refused: {link} is a symbolic link, which is never written through; name the file itself"
    return f"{path} cannot be read: {in_words(error)}"


def validate(changes: Sequence[Change], folder: str, runner: Run = run) -> None:
    """Have the programs that will read the files look at all candidates, each a copy below folder, an absolute path.

    Raises Refused with what each program says; nothing outside of folder is touched.
    """
    problems = []
    for number, change in enumerate(changes):
        if change.after is None or not change.validate:
            continue
        place = os.path.join(folder, str(number))
        copy = os.path.join(place, os.path.basename(change.path))
        try:
            os.mkdir(place, 0o700)
            safe_files.write_file(copy, change.after.content, change.after.mode, change.after.uid, change.after.gid)
        except OSError as error:
            raise Refused(f"{folder} cannot hold the candidates: {in_words(error)}; nothing was changed") from error
        for argv in change.validate:
            done = runner([word.replace("%s", copy) for word in argv], VALIDATE_SECONDS)
            if not done.ok:
                said = done.said.replace(copy, change.path)
                problems.append(f"{change.path} is not accepted by {argv[0]}: {said}")
    if problems:
        raise Refused("; ".join([*problems, "nothing was changed"]))


def stage(changes: Sequence[Change]) -> list[Item]:
    """Lay every candidate beside its file. Raises Refused, and leaves nothing behind then."""
    items: list[Item] = []
    try:
        for change in changes:
            items.append(Item(change.path, made=_missing_parents(change)))
            if items[-1].made:
                safe_files.make_directories(items[-1].made[-1])
            items[-1] = _staged(change, items[-1].made)
    except OSError as error:
        tidy(items, remove_made=True)
        link = link_in(changes[len(items) - 1].path) if items else ""
        cause = f"{link} is a symbolic link, which is never written through" if link else in_words(error)
        raise Refused(f"{items[-1].path} cannot be written: {cause}; nothing was changed") from error
    return items


def _missing_parents(change: Change) -> tuple[str, ...]:
    """Return the directories above a file that have to be created, outermost first."""
    parent, _name = safe_files.split(change.path)
    missing: list[str] = []
    while change.after is not None and not os.path.lexists(parent):
        missing.insert(0, parent)
        parent = os.path.dirname(parent)
    return tuple(missing)


def _staged(change: Change, made: tuple[str, ...]) -> Item:
    parent, name = safe_files.split(change.path)
    temporary, backup, inode = "", "", 0
    with safe_files.directory(parent) as descriptor:
        try:
            if change.after is not None:
                after = change.after
                labels = _labels(descriptor, name)
                temporary = safe_files.create_temporary(
                    descriptor, after.content, after.mode, after.uid, after.gid, None, labels
                )
                inode = os.stat(temporary, dir_fd=descriptor, follow_symlinks=False).st_ino
            if change.before is not None:
                backup = _second_name(descriptor, name, change.before)
        except OSError:
            for left in filter(None, (temporary, backup)):
                safe_files.remove_at(descriptor, left)
            raise
    return Item(change.path, temporary, backup, inode, made)


def _labels(parent: int, name: str) -> dict[str, bytes]:
    """Return the attributes that a replacement inherits: the SELinux label and an administrator's own."""
    try:
        descriptor = os.open(name, safe_files.READ, dir_fd=parent)
    except OSError:
        return {}
    try:
        names = [key for key in os.listxattr(descriptor) if key == "security.selinux" or key.startswith("user.")]
        return {key: os.getxattr(descriptor, key) for key in names}
    except OSError:
        return {}
    finally:
        os.close(descriptor)


def _second_name(parent: int, name: str, before: Found) -> str:
    backup = f".bulwark-{secrets.token_hex(8)}"
    try:
        os.link(name, backup, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
    except PermissionError:
        # A file system without second names, such as that of an EFI partition.
        return safe_files.create_temporary(parent, before.content, before.mode, before.uid, before.gid)
    return backup


def install(items: Sequence[Item]) -> None:
    """Replace all files. Raises Refused at the first that cannot be; the caller has to put back then."""
    for item in items:
        try:
            _install_one(item)
        except OSError as error:
            raise Refused(f"{item.path} cannot be replaced: {in_words(error)}") from error


def _install_one(item: Item) -> None:
    parent, name = safe_files.split(item.path)
    with safe_files.directory(parent) as descriptor:
        if item.temporary:
            os.rename(item.temporary, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        else:
            os.unlink(name, dir_fd=descriptor)
        os.fsync(descriptor)


def put_back(items: Sequence[Item]) -> list[str]:
    """Undo install() and stage(), repeatable, and return a sentence for each file that could not be put back.

    A file that somebody else replaced in the meantime is not touched.
    """
    problems: list[str] = []
    done: list[Item] = []
    for item in reversed(items):
        parent, name = safe_files.split(item.path)
        try:
            with safe_files.directory(parent) as descriptor:
                if _installed(item, descriptor, name):
                    if item.backup:
                        with contextlib.suppress(FileNotFoundError):
                            os.rename(item.backup, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
                    elif item.temporary:
                        safe_files.remove_at(descriptor, name)
                    os.fsync(descriptor)
        except FileNotFoundError:
            pass
        except OSError as error:
            # Its second name stays, for the next run and for whoever repairs it by hand.
            problems.append(f"{item.path} could not be put back, it is kept as {item.backup}: {in_words(error)}")
            continue
        done.append(item)
    tidy(done, remove_made=True)
    return problems


def _installed(item: Item, parent: int, name: str) -> bool:
    """Return whether what is at the path is what this item brought there."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False).st_ino == item.inode
    except FileNotFoundError:
        return not item.temporary


def complete(items: Sequence[Item]) -> bool:
    """Return whether every file is the one that its item brought."""
    for item in items:
        parent, name = safe_files.split(item.path)
        try:
            with safe_files.directory(parent) as descriptor:
                if not _installed(item, descriptor, name):
                    return False
        except OSError:
            return False
    return True


def tidy(items: Sequence[Item], remove_made: bool = False) -> None:
    """Remove the second names, and with remove_made also the directories that were created and are empty."""
    for item in items:
        parent, _name = safe_files.split(item.path)
        with contextlib.suppress(OSError), safe_files.directory(parent) as descriptor:
            for left in filter(None, (item.temporary, item.backup)):
                safe_files.remove_at(descriptor, left)
    if remove_made:
        for made in sorted({made for item in items for made in item.made}, reverse=True):
            with contextlib.suppress(OSError):
                os.rmdir(made)


def replace(changes: Sequence[Change]) -> None:
    """Bring the changes to the host, all or none, for a caller that keeps its own way back. Raises Refused."""
    items = stage(changes)
    try:
        install(items)
    except Refused as error:
        raise Refused("; ".join([str(error), *(put_back(items) or ["all files are as they were"])])) from error
    tidy(items)


# The whole call, with the memory of an interrupted one.


def converge(
    entries: Sequence[Mapping[str, t.Any]],
    commands_after: Sequence[Mapping[str, t.Any]],
    check_mode: bool,
    root: str = ROOT,
    runner: Run = run,
) -> Outcome:
    """Make the files what the entries say and run the commands that this makes due. Raises Refused."""
    parsed = files.parse(entries)
    commands = files.parse_commands(commands_after)
    problems = [problem for entry in parsed for problem in [way_in.file_problem(entry.path)] if problem]
    if problems:
        raise Refused("; ".join([*dict.fromkeys(problems), "nothing was changed"]))
    if check_mode:
        changes = files.plan(parsed, read, foreseen_user_id, foreseen_group_id)
        owed = _Pending(root).owed()
        return Outcome(changes, tuple(files.due(commands, [change.path for change in changes], owed)))
    with _locked(root) as pending:
        pending.settle()
        _sweep({safe_files.split(entry.path)[0] for entry in parsed})
        changes = files.plan(parsed, read, user_id, group_id)
        owed = pending.owed()
        wanted = files.due(commands, [change.path for change in changes], owed)
        if changes:
            _bring(changes, wanted, pending, root, runner)
        for argv in () if changes else wanted:
            _run_one(argv, runner, " (it is owed since a run that was interrupted)")
        pending.leave([argv for argv in owed if argv not in wanted])
    return Outcome(changes, tuple(wanted))


def _bring(
    changes: Sequence[Change], wanted: Sequence[tuple[str, ...]], pending: _Pending, root: str, runner: Run
) -> None:
    folder = os.path.join(root, CANDIDATES)
    try:
        with _folder(root, CANDIDATES):
            validate(changes, folder, runner)
    except OSError as error:
        raise Refused(f"{folder} cannot be written: {in_words(error)}; nothing was changed") from error
    items = stage(changes)
    owed = pending.owed()
    try:
        pending.remember(items, wanted)
    except OSError as error:
        tidy(items, remove_made=True)
        raise Refused(f"{root} cannot be written: {in_words(error)}; nothing was changed") from error
    started: list[tuple[str, ...]] = []
    try:
        install(items)
        for argv in wanted:
            started.append(argv)
            _run_one(argv, runner)
    except Refused as error:
        problems = put_back(items)
        # What the commands made of the new files has to be made of the old ones.
        for argv in started:
            runner(argv, COMMAND_SECONDS)
        if not problems:
            pending.leave(owed)
        raise Refused("; ".join([str(error), *(problems or ["all files are as they were"])])) from None
    tidy(items)


def _sweep(parents: Iterable[str]) -> None:
    """Remove the second names that a run left which ended before it could write down what it had in hand."""
    for parent in parents:
        with contextlib.suppress(OSError), safe_files.directory(parent) as descriptor:
            for name in filter(safe_files.TEMPORARY.fullmatch, os.listdir(descriptor)):
                age = time.time() - os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_ctime
                if age > LEFT_SECONDS:
                    safe_files.remove_at(descriptor, name)


def _run_one(argv: Sequence[str], runner: Run, why: str = "") -> None:
    done = runner(argv, COMMAND_SECONDS)
    if not done.ok:
        raise Refused(f"{' '.join(argv)} failed{why}: {done.said}")


class _Pending:
    """What an interrupted run had in hand, and which commands are still owed."""

    def __init__(self, root: str) -> None:
        self.path = os.path.join(root, "pending.json")

    def _load(self) -> tuple[list[Item], list[tuple[str, ...]]]:
        try:
            data = json.loads(safe_files.read_file(self.path))
            items = [Item(**{**item, "made": tuple(item["made"])}) for item in data["items"]]
            return items, [tuple(argv) for argv in data["commands"]]
        except FileNotFoundError:
            return [], []
        except OSError as error:
            raise Refused(f"{self.path} cannot be read: {in_words(error)}; nothing was changed") from error
        except (ValueError, TypeError, KeyError) as error:
            raise Refused(
                f"{self.path} tells what an interrupted run had in hand and cannot be read ({error}); compare the "
                "files that it names with their .bulwark-* neighbours, then remove it and run again"
            ) from error

    def owed(self) -> list[tuple[str, ...]]:
        return self._load()[1]

    def settle(self) -> None:
        """Undo a set that an interrupted run left half done; of a complete one only the commands are owed."""
        self._clear_folder()
        items, commands = self._load()
        if not items:
            return
        if complete(items):
            tidy(items)
        else:
            problems = put_back(items)
            if problems:
                raise Refused("; ".join(problems))
        self.leave(commands)

    def _clear_folder(self) -> None:
        """Remove what an interrupted run left beside its memory; the lock says that nobody is at it now."""
        with contextlib.suppress(OSError), safe_files.directory(os.path.dirname(self.path)) as descriptor:
            for name in os.listdir(descriptor):
                if name == CANDIDATES or safe_files.TEMPORARY.fullmatch(name):
                    safe_files.remove_at(descriptor, name)

    def remember(self, items: Sequence[Item], commands: Sequence[tuple[str, ...]]) -> None:
        self._write(items, list(dict.fromkeys([*self.owed(), *commands])))

    def leave(self, commands: Sequence[tuple[str, ...]]) -> None:
        """Keep only these commands."""
        try:
            if os.path.lexists(self.path) or commands:
                self._write([], commands)
        except OSError as error:
            raise Refused(f"{self.path} cannot be written: {in_words(error)}; run again to finish") from error

    def _write(self, items: Sequence[Item], commands: Sequence[tuple[str, ...]]) -> None:
        if not items and not commands:
            parent, name = safe_files.split(self.path)
            # Should it come back after a power cut, commands run once more: no harm, so no sync.
            with safe_files.directory(parent) as descriptor:
                safe_files.remove_at(descriptor, name)
            return
        text = json.dumps({"items": [asdict(item) for item in items], "commands": [list(argv) for argv in commands]})
        safe_files.write_file(self.path, text.encode(), 0o600, os.geteuid(), os.getegid())


@contextlib.contextmanager
def _locked(root: str) -> Iterator[_Pending]:
    try:
        for folder in (os.path.dirname(root), root):
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
        os.chmod(root, 0o700)
        lock = Lock(os.path.join(root, "lock"))
        taken = lock.acquire(Clock(), LOCK_SECONDS)
    except OSError as error:
        raise Refused(f"{root} cannot be written: {in_words(error)}; nothing was changed") from error
    if not taken:
        holder = lock.holder()
        who = f"process {holder.process}" if holder else "another process"
        raise Refused(f"{who} is changing files of this host; run again when it is done")
    try:
        yield _Pending(root)
    finally:
        lock.release()


@contextlib.contextmanager
def _folder(root: str, name: str) -> Iterator[None]:
    """Have an empty directory for the time of the block."""
    with safe_files.directory(root) as descriptor:
        safe_files.remove_at(descriptor, name)
        os.mkdir(name, 0o700, dir_fd=descriptor)
        try:
            yield
        finally:
            safe_files.remove_at(descriptor, name)
