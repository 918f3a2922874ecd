# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a host: files, programs, what the kernel tells. Reads only; everything is asked once.

Readers get a Host and nothing else, so that a test can put a directory and canned answers in its place.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
import subprocess
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Callable

from .model import Unreadable

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/"}
PROGRAM_SECONDS = 60
# Many programs begin with file and line.
PLACE = re.compile(r"\S+:\d+:(\d+:)? ")
PROGRAMS_AT_ONCE = 4
ACCESS_LISTS = ("system.posix_acl_access", "system.posix_acl_default")
MAXIMUM_BYTES = 8 << 20
CHUNK_BYTES = 1 << 16  # the kernel refuses larger reads of its parameters


@dataclass(frozen=True)
class Answer:
    """What a program said."""

    code: int
    output: str
    error: str

    @property
    def ok(self) -> bool:
        return self.code == 0

    def complaint(self) -> str:
        """Return the line in which a program says why it failed: the one with the place of an error, or the last."""
        lines = [line.strip() for line in f"{self.output}\n{self.error}".splitlines() if re.search("[A-Za-z]", line)]
        places = [line for line in lines if PLACE.match(line)]
        return (places or lines)[-1][:300] if lines else f"exit code {self.code}"


@dataclass(frozen=True)
class Status:
    """What a file is; ``kind`` is file, directory, link or other."""

    kind: str
    mode: int
    uid: int
    gid: int
    modified: float = 0.0


def run_program(argv: Sequence[str]) -> Answer:
    """Run a program to its end. Raises Unreadable if it is missing or hangs."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # there is no AnsibleModule here
            list(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROGRAM_SECONDS,
            env=ENVIRONMENT,
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unreadable(f"{argv[0]} did not end within {PROGRAM_SECONDS} seconds") from error
    except FileNotFoundError as error:
        raise Unreadable(f"there is no program {argv[0]} on this host") from error
    except OSError as error:
        raise Unreadable(f"{argv[0]} cannot be run: {error.strerror or error}") from error
    return Answer(done.returncode, _text(done.stdout), _text(done.stderr))


class Host:
    """A host below ``root``, with every answer kept. ``run`` starts a program; tests give their own."""

    def __init__(self, root: str = "/", run: Callable[[Sequence[str]], Answer] = run_program) -> None:
        self._root = root.rstrip("/")
        self._run = run
        self._texts: dict[str, str | None] = {}
        self._statuses: dict[tuple[str, bool], Status | None] = {}
        self._answers: dict[tuple[str, ...], Future[Answer]] = {}
        self._pool = ThreadPoolExecutor(PROGRAMS_AT_ONCE)
        self._jobs: dict[Hashable, Future[Any]] = {}
        self._wishes: dict[str, dict[str, None]] = {}
        self._kept: dict[str, Any] = {}

    def close(self) -> None:
        """Wait for programs that nobody asked after."""
        self._pool.shutdown()

    # What several readers need together, so that it is asked once

    def wish(self, topic: str, names: Iterable[str]) -> None:
        """Note before anything is read that these names of a topic, such as units, will be asked for."""
        self._wishes.setdefault(topic, {}).update(dict.fromkeys(names))

    def wished(self, topic: str) -> list[str]:
        """Return all names of a topic that were wished for, in order."""
        return list(self._wishes.get(topic, {}))

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what ``make`` returned when it was first called under this name."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    # What takes time without a program

    def begin(self, name: Hashable, job: Callable[[], Any]) -> None:
        """Start a job whose result will be needed, beside others. It must not ask for anything else here."""
        if name not in self._jobs:
            self._jobs[name] = self._pool.submit(job)

    def finish(self, name: Hashable, job: Callable[[], Any]) -> Any:
        """Return the result of a job, which is done once under its name."""
        self.begin(name, job)
        return self._jobs[name].result()

    # Programs

    def start(self, *argv: str) -> None:
        """Start a program whose answer will be needed; starting it twice is starting it once."""
        if argv not in self._answers:
            self._answers[argv] = self._pool.submit(self._run, argv)

    def run(self, *argv: str) -> Answer:
        """Return what a program says, under LC_ALL=C. Raises Unreadable if there is no such program, or it hangs."""
        self.start(*argv)
        return self._answers[argv].result()

    def output(self, *argv: str) -> str:
        """Return what a program writes. Raises Unreadable also if it fails."""
        answer = self.run(*argv)
        if not answer.ok:
            raise Unreadable(f"{' '.join(argv[:2])} failed: {answer.complaint()}")
        return answer.output

    # Files

    def path(self, path: str) -> str:
        """Return where a path of the host lies."""
        return f"{self._root}{path}"

    def read(self, path: str) -> str | None:
        """Return a file's text, None if there is no such file. Raises Unreadable if it is there but cannot be read."""
        if path not in self._texts:
            self._texts[path] = self._read(path)
        return self._texts[path]

    def lines(self, path: str) -> list[str]:
        """Return the lines of a file, none if it does not exist."""
        return (self.read(path) or "").splitlines()

    def status(self, path: str, follow: bool = True) -> Status | None:
        """Return what a path is, None if it does not exist."""
        key = (path, follow)
        if key not in self._statuses:
            self._statuses[key] = self._status(path, follow)
        return self._statuses[key]

    def exists(self, path: str) -> bool:
        return self.status(path) is not None

    def names(self, directory: str) -> list[str]:
        """Return what a directory holds, sorted; nothing if it is not there."""
        try:
            return sorted(os.listdir(self.path(directory)))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise Unreadable(f"{directory} cannot be read: {error.strerror}") from error

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that match, sorted; a path without wildcards if it exists."""
        if not glob.has_magic(pattern):
            return [pattern] if self.status(pattern, follow=False) else []
        skipped = len(self._root)
        return [path[skipped:] for path in sorted(glob.glob(glob.escape(self._root) + pattern))]

    def link(self, path: str) -> str:
        """Return where a link points, empty if it is none."""
        try:
            return os.readlink(self.path(path))
        except OSError:
            return ""

    def _read(self, path: str) -> str | None:
        try:
            descriptor = os.open(self.path(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                return _text(_content(descriptor))
            finally:
                os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unreadable(f"{path} cannot be read: {error.strerror or error}") from error

    def _status(self, path: str, follow: bool) -> Status | None:
        try:
            found = os.stat(self.path(path), follow_symlinks=follow)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unreadable(f"{path} cannot be examined: {error.strerror}") from error
        return Status(_kind(found.st_mode), stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime)

    def has_access_list(self, path: str) -> bool:
        """Return whether a file lets in more than its mode says."""
        try:
            return any(name in ACCESS_LISTS for name in os.listxattr(self.path(path), follow_symlinks=False))
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == errno.ENOTSUP:
                return False
            raise Unreadable(f"{path} cannot be examined: {error.strerror}") from error

    # What the host is

    @cached_property
    def container(self) -> str:
        """Return what kind of container this is, empty if the host has a kernel of its own."""
        named = (self.read("/run/systemd/container") or "").strip()
        if named:
            return named
        try:
            environment = self.read("/proc/1/environ") or ""
        except Unreadable:
            environment = ""
        for variable in environment.split("\0"):
            if variable.startswith("container="):
                return variable.partition("=")[2] or "container"
        return "container" if self.exists("/.dockerenv") or self.exists("/run/.containerenv") else ""

    @cached_property
    def processes(self) -> list[int]:
        """Return the ids of all processes."""
        return sorted(int(name) for name in self.names("/proc") if name.isdigit())

    @cached_property
    def users(self) -> dict[str, User]:
        """Return the local accounts by name."""
        found: dict[str, User] = {}
        for line in self.lines("/etc/passwd"):
            fields = line.split(":")
            if len(fields) == 7 and fields[2].isdigit() and fields[3].isdigit():
                found.setdefault(fields[0], User(fields[0], fields[1], int(fields[2]), int(fields[3]), *fields[5:]))
        return found

    @cached_property
    def groups(self) -> dict[str, Group]:
        """Return the local groups by name."""
        found: dict[str, Group] = {}
        for line in self.lines("/etc/group"):
            fields = line.split(":")
            if len(fields) == 4 and fields[2].isdigit():
                members = tuple(member for member in fields[3].split(",") if member)
                found.setdefault(fields[0], Group(fields[0], int(fields[2]), members))
        return found

    def user_name(self, uid: int) -> str:
        """Return the name of a user, the number if there is none."""
        return next((user.name for user in self.users.values() if user.uid == uid), str(uid))

    def group_name(self, gid: int) -> str:
        """Return the name of a group, the number if there is none."""
        return next((group.name for group in self.groups.values() if group.gid == gid), str(gid))


@dataclass(frozen=True)
class User:
    """A line of the account database."""

    name: str
    password: str
    uid: int
    gid: int
    home: str
    shell: str


@dataclass(frozen=True)
class Group:
    """A line of the group database."""

    name: str
    gid: int
    members: tuple[str, ...]


def _content(descriptor: int) -> bytes:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError("it is no regular file")
    chunks: list[bytes] = []
    while sum(map(len, chunks)) < MAXIMUM_BYTES:
        chunk = os.read(descriptor, CHUNK_BYTES)
        if not chunk:
            break
        chunks.append(chunk)
    return b"".join(chunks)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "link"))
    return next((name for test, name in kinds if test(mode)), "other")
