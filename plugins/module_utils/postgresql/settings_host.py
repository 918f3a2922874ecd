# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the settings of a cluster to its file and into force, or leave everything as it was.

The way back is written down before the file is replaced, and removed when the new values are seen in force. A run that
finds it was preceded by one that died: it keeps that way back, starts the server with it if need be, and goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import re
import shutil
import socket
import stat
import tempfile
import time
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..transaction import files
from ..transaction.clock import Clock
from ..transaction.commands import run_to_end
from ..transaction.locks import Lock
from ..transaction.state import Command
from . import settings
from .server import Failed, Place, Refused, Server

ROOT = "/var/lib/bulwark/postgresql"
RUN = "/run"
DIRECTORY = "conf.d"
NAME = "zz-bulwark.conf"
MODE = 0o640
LOCK_SECONDS = 60.0
LOAD_SECONDS = 15.0
COMMAND_SECONDS = 60.0
POLL_SECONDS = 0.05
# From here on the server itself can load libraries and certificates, and add up its memory, without starting.
FULL_REHEARSAL = 15
MEMORY_SETTING = "shared_memory_size"
NONCE = "bulwark.rehearsal"
STARTING = "57P03"
# systemd's words for a unit that will not come up by itself.
ENDED = ("failed", "inactive")


@dataclass(frozen=True)
class Seen:
    """The cluster at one moment, asked from a new session."""

    known: Mapping[str, settings.Known]
    lines: Sequence[settings.Line]
    major: int
    directory: str
    data_directory: str
    postmaster: int
    loaded: t.Any
    roles: Sequence[Mapping[str, str]]

    @property
    def path(self) -> str:
        return os.path.join(self.directory, DIRECTORY, NAME)


@dataclass(frozen=True)
class Outcome:
    """What the call did, and what holds now."""

    changed: bool
    path: str
    states: Sequence[settings.State]
    restart_required: Sequence[str]
    restarted: bool
    before: str
    after: str
    roles: Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class WayBack:
    """The file as it was when its values were last known to be in force, and the unit of the server."""

    path: str
    before: str | None
    unit: str


def observe(place: Place) -> Seen:
    """Ask a new session: what belongs to a session does not change in one that is open."""
    with Server(place) as server:
        known = {
            str(row[0]).lower(): settings.Known(
                str(row[0]),
                row[1] or "",
                row[2] or "",
                row[3],
                row[4],
                tuple(row[5] or ()),
                row[6],
                row[7] or "",
                row[8],
            )
            for row in server.rows(
                "SELECT name, setting, unit, context, vartype, enumvals, source, sourcefile, pending_restart"
                " FROM pg_settings"
            )
        }
        lines = [
            settings.Line(row[0] or "", int(row[1] or 0), row[2] or "", row[3] or "", row[4] or "")
            for row in server.rows(
                "SELECT sourcefile, sourceline, name, setting, error FROM pg_file_settings ORDER BY seqno"
            )
        ]
        roles = [
            {"role": row[0] or "", "database": row[1] or "", "name": row[2].partition("=")[0]}
            for row in server.rows(
                "SELECT r.rolname, d.datname, unnest(s.setconfig) FROM pg_db_role_setting s"
                " LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase"
                " ORDER BY 1, 2, 3"
            )
        ]
        data_directory = known["data_directory"].setting
        return Seen(
            known,
            lines,
            server.major,
            os.path.dirname(known["config_file"].setting),
            data_directory,
            _postmaster(data_directory),
            server.value("SELECT pg_conf_load_time()"),
            roles,
        )


def _postmaster(data_directory: str) -> int:
    path = os.path.join(data_directory, "postmaster.pid")
    try:
        return int(files.read_file(os.path.realpath(path)).split()[0])
    except (OSError, ValueError, IndexError) as error:
        raise Refused(f"{path} does not tell the process of the server: {error}; is another cluster there?") from error


def converge(
    place: Place,
    given: Mapping[str, t.Any],
    libraries: Sequence[str],
    restart: bool,
    restart_seconds: float,
    check_mode: bool,
    root: str = ROOT,
) -> Outcome:
    """Make the settings of a cluster what is given. Raises Refused, with the cluster as it was."""
    wished, problems = settings.wishes(given)
    if problems:
        raise Refused("; ".join([*problems, "nothing was changed"]))
    with _locked(root):
        memory = _Memory(os.path.join(root, f"settings-{hashlib.sha256(str(place).encode()).hexdigest()[:16]}.json"))
        return _Change(place, wished, libraries, restart, restart_seconds, memory).run(check_mode)


class _Change:
    """One call on one cluster."""

    def __init__(
        self,
        place: Place,
        wished: Mapping[str, str],
        libraries: Sequence[str],
        restart: bool,
        restart_seconds: float,
        memory: _Memory,
    ) -> None:
        self.place = place
        self.wished = dict(wished)
        self.libraries = libraries
        self.restart = restart
        self.restart_seconds = restart_seconds
        self.memory = memory

    def run(self, check_mode: bool) -> Outcome:
        back = self.memory.recall()
        seen = self._first_look(back, check_mode)
        self._add_libraries(seen)
        found = _read(seen.path)
        after = settings.render(self.wished)
        states = settings.states(self.wished, seen.known, seen.lines)
        waiting = settings.restart_required(states, seen.known)
        loaded = all(state.in_force or state.name in waiting for state in states)
        same = found == after and _owned(seen.path, self.place.system_user)
        due = bool(waiting) and self.restart
        if same and loaded and not due and back is None:
            return self._outcome(seen, False, False, found, after)
        self._judge(seen, after)
        if check_mode:
            return self._foreseen(seen, states, found, after, not same)
        unit = _unit(seen.postmaster)
        if self.restart and not unit and (waiting or not same):
            raise Refused(
                f"the server of {self.place} is not run by a systemd unit, so it cannot be restarted here; "
                "set restart to false, and restart it by what runs it; nothing was changed"
            )
        back = WayBack(seen.path, back.before if back else found, unit)
        self.memory.keep(back)
        restarted = False
        try:
            if not same:
                _write(seen.path, after, self.place.system_user)
            self._check_file(seen.path)
            seen = self._load(seen)
            self._require_in_force(seen)
            if self.restart and self._waiting(seen):
                restarted = True
                self._restart(unit)
                seen = observe(self.place)
                self._require_in_force(seen, restarted=True)
        except (Refused, OSError) as error:
            said = error if isinstance(error, Refused) else f"{seen.path} cannot be written: {error.strerror or error}"
            raise Refused(f"{said}; {self._put_back(back, restarted)}") from error
        self.memory.forget()
        return self._outcome(seen, True, restarted, found, after)

    # Looking

    def _first_look(self, back: WayBack | None, check_mode: bool) -> Seen:
        try:
            return observe(self.place)
        except Refused as error:
            if back is None:
                raise Refused(f"{error}; nothing was changed") from error
            if check_mode:
                raise Refused(
                    f"{error}; an earlier run was interrupted and left the way back in {self.memory.path}; "
                    "run without check mode, which goes it"
                ) from error
        said = _wait_until_up(self.place, back.unit, LOAD_SECONDS)
        if said:
            left = self._put_back(back, restarted=True)
            try:
                return observe(self.place)
            except Refused as error:
                raise Refused(f"the server does not run since an interrupted run: {said}; {left}") from error
        return observe(self.place)

    def _add_libraries(self, seen: Seen) -> None:
        if not self.libraries:
            return
        if settings.PRELOAD in self.wished:
            raise Refused(
                f"{settings.PRELOAD} is in settings, and preload_libraries adds to what the host's files have; "
                "give one of the two; nothing was changed"
            )
        line = settings.last_of(seen.lines, settings.PRELOAD, seen.path)
        self.wished[settings.PRELOAD] = settings.with_libraries(line.setting if line else "", self.libraries)

    def _waiting(self, seen: Seen) -> list[str]:
        return settings.restart_required(settings.states(self.wished, seen.known, seen.lines), seen.known)

    def _require_in_force(self, seen: Seen, restarted: bool = False) -> None:
        states = settings.states(self.wished, seen.known, seen.lines)
        waiting = () if restarted else settings.restart_required(states, seen.known)
        wrong = [state for state in states if not state.in_force and state.name not in waiting]
        if wrong:
            shown = "; ".join(f"{state.name} is {state.observed!r} and not {state.wished!r}" for state in wrong)
            raise Refused(f"the server was told, and still {shown}")

    # Before anything changes

    def _judge(self, seen: Seen, after: str) -> None:
        problems = [
            *settings.broken(seen.lines, seen.known, seen.path),
            *settings.problems(self.wished, seen.known, seen.major),
            *unreachable_addresses(self.wished.get("listen_addresses", "")),
        ]
        if problems:
            raise Refused("; ".join([*problems, "nothing was changed"]))
        try:
            with _Rehearsal(seen, after, self.place.system_user) as rehearsal:
                problems = self._rehearse(seen, rehearsal)
        except OSError as error:
            raise Refused(f"a copy to try cannot be made below {RUN}: {error.strerror or error}") from error
        if problems:
            raise Refused("; ".join([*problems, "nothing was changed"]))

    def _rehearse(self, seen: Seen, rehearsal: _Rehearsal) -> list[str]:
        accepted, said = rehearsal.ask(NONCE)
        if not accepted:
            if NONCE not in said:
                return [f"the server would not read this: {settings.blamed(said, seen.lines, seen.path)}"]
            return [_unread(os.path.dirname(seen.path), seen.known["config_file"].setting)]
        if seen.major >= FULL_REHEARSAL:
            accepted, said = rehearsal.ask(MEMORY_SETTING)
            if not accepted:
                return [f"the server would not start with these settings: {said}"]
            wanted, there = int(said) << 20, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
            if wanted > there:
                return [_too_much_memory(wanted >> 20, there >> 20)]
        problems = []
        for name, text in self.wished.items():
            line = settings.last_of(seen.lines, name, seen.path)
            if line is None or name not in seen.known:
                continue
            accepted, said = rehearsal.ask(name)
            if accepted and not settings.same(seen.known[name], text, said):
                problems.append(settings.overridden(name, text, line))
        return problems

    # Changing

    def _check_file(self, path: str) -> None:
        seen = observe(self.place)
        errors = settings.own_errors(seen.lines, seen.known, path)
        if errors:
            raise Refused(f"the server does not take {path}: {'; '.join(errors)}")

    def _load(self, before: Seen) -> Seen:
        """Have the server read its files, and wait until new sessions have what it read."""
        with Server(self.place) as server:
            server.rows("SELECT pg_reload_conf()")
        until = time.monotonic() + LOAD_SECONDS
        while time.monotonic() < until:
            with Server(self.place) as server:
                if server.value("SELECT pg_conf_load_time()") != before.loaded:
                    return observe(self.place)
            time.sleep(POLL_SECONDS)
        raise Refused(f"the server did not read its files within {LOAD_SECONDS:g} seconds; its log says why")

    def _restart(self, unit: str) -> None:
        said = _start(self.place, unit, self.restart_seconds)
        if said:
            raise Refused(f"the server did not come up with the new settings: {said}")

    def _put_back(self, back: WayBack, restarted: bool) -> str:
        """Return what became of it."""
        try:
            if back.before is None:
                parent, name = files.split(back.path)
                with files.directory(parent) as descriptor:
                    files.remove_at(descriptor, name)
                    os.fsync(descriptor)
            elif _read(back.path) != back.before:
                _write(back.path, back.before, self.place.system_user)
            if restarted:
                said = _start(self.place, back.unit, self.restart_seconds)
                if said:
                    return f"the old file is back, and the server does not come up with it either: {said}"
                observe(self.place)
            else:
                self._load(observe(self.place))
        except (Refused, OSError) as error:
            return f"{back.path} could not be put back: {error}; run again when that is mended"
        self.memory.forget()
        return "the old file is back and in force"

    # Telling

    def _outcome(self, seen: Seen, changed: bool, restarted: bool, before: str | None, after: str) -> Outcome:
        states = settings.states(self.wished, seen.known, seen.lines)
        required = settings.restart_required(states, seen.known)
        return Outcome(changed, seen.path, states, required, restarted, before or "", after, self._roles(seen))

    def _foreseen(
        self, seen: Seen, states: Sequence[settings.State], before: str | None, after: str, writes: bool
    ) -> Outcome:
        waiting = settings.restart_required(states, seen.known)
        gone = [
            line.name.lower()
            for line in seen.lines
            if line.file == seen.path and line.name.lower() not in self.wished and line.name.lower() in seen.known
            if seen.known[line.name.lower()].context == settings.RESTART_CONTEXT
        ]
        required = sorted({*waiting, *(gone if writes else ())})
        restarted = bool(required) and self.restart
        return Outcome(
            True, seen.path, states, () if restarted else required, restarted, before or "", after, self._roles(seen)
        )

    def _roles(self, seen: Seen) -> list[Mapping[str, str]]:
        return [entry for entry in seen.roles if entry["name"].lower() in self.wished]


class _Rehearsal:
    """The candidate in a copy of the configuration, read by the server's own program as its own user.

    The program needs a data directory with three files for that; it starts nothing, and nobody sees it.
    """

    def __init__(self, seen: Seen, after: str, user: str) -> None:
        self.seen, self.after, self.user = seen, after, user
        self.folder = ""
        self.program = os.readlink(f"/proc/{seen.postmaster}/exe").replace(" (deleted)", "")

    def __enter__(self) -> _Rehearsal:
        self.folder = tempfile.mkdtemp(prefix="bulwark-postgresql-", dir=RUN)
        try:
            self._fill()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_problem: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _fill(self) -> None:
        account = pwd.getpwnam(self.user)
        data, configuration = f"{self.folder}/data", f"{self.folder}/configuration"
        for path in (data, configuration, f"{data}/global", f"{configuration}/{DIRECTORY}"):
            os.mkdir(path, 0o700)
            os.chown(path, account.pw_uid, account.pw_gid)
        os.chown(self.folder, account.pw_uid, account.pw_gid)
        # As the user of the server, so that a link leads no further than it could follow itself.
        self._copy(self.seen.data_directory, ("PG_VERSION", "global/pg_control"), data)
        automatic = os.path.join(self.seen.data_directory, "postgresql.auto.conf")
        if os.path.lexists(automatic):
            self._copy(self.seen.data_directory, ("postgresql.auto.conf",), data)
        found = sorted(_configuration_files(self.seen.directory))
        self._copy(self.seen.directory, found, configuration)
        for name in found:
            path = f"{configuration}/{name}"
            text = files.read_file(path).decode("utf-8", "surrogateescape")
            moved = _includes_moved(text, self.seen.directory, configuration)
            if moved != text:
                files.write_file(path, moved.encode("utf-8", "surrogateescape"), 0o600, account.pw_uid, account.pw_gid)
        candidate = f"{self.after}{NONCE} = 'on'\n".encode()
        files.write_file(f"{configuration}/{DIRECTORY}/{NAME}", candidate, 0o600, account.pw_uid, account.pw_gid)

    def _copy(self, source: str, names: Sequence[str], target: str) -> None:
        argv = ("runuser", "-u", self.user, "--", "env", "-C", source, "cp", "--parents", "-L", "--", *names, target)
        done, said = run_to_end(Command(argv, COMMAND_SECONDS))
        if not done:
            raise Refused(f"the configuration cannot be copied to be tried: {said.strip()[-300:]}; nothing was changed")

    def ask(self, name: str) -> tuple[bool, str]:
        """Return (True, value of a setting), or (False, what the program complains about)."""
        data = f"{self.folder}/data"
        file = os.path.basename(self.seen.known["config_file"].setting)
        own = {
            "config_file": f"{self.folder}/configuration/{file}",
            "data_directory": data,
            "log_destination": "stderr",
            "logging_collector": "off",
            "log_line_prefix": "",
            "lc_messages": "C",
        }
        words = [word for key, value in own.items() if key != name for word in ("-c", f"{key}={value}")]
        argv = ("runuser", "-u", self.user, "--", self.program, "-C", name, "-D", data, *words)
        done, said = run_to_end(Command(argv, COMMAND_SECONDS))
        if done:
            return True, (said.splitlines() or [""])[-1]
        return False, settings.complaint(said).replace(f"{self.folder}/configuration", self.seen.directory)


def _configuration_files(directory: str) -> Iterator[str]:
    """Yield what may be included from the directory of the configuration, which may be the data directory itself."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(".conf") and entry.is_file():
                yield entry.name
    for name in os.listdir(os.path.join(directory, DIRECTORY)):
        if name.endswith(".conf"):
            yield f"{DIRECTORY}/{name}"


def _includes_moved(text: str, directory: str, copy: str) -> str:
    """Return the text with the includes below a directory pointing into its copy."""
    pattern = rf"^(\s*include(?:_dir|_if_exists)?\s*=?\s*'){re.escape(directory)}/"
    return re.sub(pattern, lambda found: f"{found[1]}{copy}/", text, flags=re.MULTILINE | re.IGNORECASE)


def unreachable_addresses(listen: str) -> list[str]:
    """Return a sentence for each address that the server could not listen on; with none at all it does not start."""
    problems = []
    for name in settings.listed(listen):
        if name in ("*", "0.0.0.0", "::"):  # noqa: S104 - the user's wish, judged by the filter postgresql_policy
            continue
        try:
            for family, kind, protocol, _name, address in socket.getaddrinfo(
                name, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                with socket.socket(family, kind, protocol) as listener:
                    listener.bind(address)
        except OSError as error:
            problems.append(
                f"listen_addresses names {name!r}, where this host cannot listen ({error.strerror or error}); "
                "name addresses of this host"
            )
    return problems


def _unread(directory: str, main: str) -> str:
    return (
        f"the server does not read {directory}; make the directory if it is missing, and put the line "
        f"\"include_dir = '{DIRECTORY}'\" at the end of {main}"
    )


def _too_much_memory(wanted: int, there: int) -> str:
    return (
        f"the server would take {wanted} MB of shared memory, and this host has {there} MB; "
        "choose a smaller shared_buffers or max_connections"
    )


# The file


def _read(path: str) -> str | None:
    try:
        return files.read_file(path).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        if not os.path.isdir(os.path.dirname(path)):
            raise Refused(f"{_unread(os.path.dirname(path), 'postgresql.conf')}; nothing was changed") from None
        return None
    except OSError as error:
        what = "is a symbolic link, which is not followed" if os.path.islink(path) else error.strerror or error
        raise Refused(f"{path} cannot be read: {what}; remove it; nothing was changed") from error


def _owned(path: str, user: str) -> bool:
    found = os.stat(path, follow_symlinks=False)
    return stat.S_IMODE(found.st_mode) == MODE and found.st_uid == pwd.getpwnam(user).pw_uid


def _write(path: str, text: str, user: str) -> None:
    account = pwd.getpwnam(user)
    files.write_file(path, text.encode("utf-8", "surrogateescape"), MODE, account.pw_uid, account.pw_gid)


# The service


def _unit(postmaster: int) -> str:
    """Return the systemd unit that a process belongs to, empty if none."""
    try:
        with open(f"/proc/{postmaster}/cgroup", encoding="ascii", errors="replace") as file:
            found = re.findall(r"/([^/\s]+\.service)$", file.read(), re.MULTILINE)
    except OSError:
        return ""
    return str(found[-1]) if found else ""


def _systemctl(*words: str, seconds: float = COMMAND_SECONDS) -> tuple[bool, str]:
    done, said = run_to_end(Command(("systemctl", *words), seconds))
    return done, said.strip()


def _start(place: Place, unit: str, seconds: float) -> str:
    """Restart the unit once; return why its server does not answer, empty if it does."""
    # Five starts in ten seconds are all that systemd allows.
    _systemctl("reset-failed", unit)
    since = f"@{int(time.time())}"
    done, said = _systemctl("restart", unit, seconds=seconds)
    problem = said if not done else _wait_until_up(place, unit, seconds)
    if not problem:
        return ""
    _done, journal = run_to_end(
        Command(("journalctl", f"--unit={unit}", f"--since={since}", "--output=cat", "--no-pager"), COMMAND_SECONDS)
    )
    fatal = [line for line in journal.splitlines() if re.search(r"\b(FATAL|PANIC):", line)]
    return settings.complaint(fatal[0]) if fatal else problem


def _wait_until_up(place: Place, unit: str, seconds: float) -> str:
    """Return an empty text when a new session is possible, else why none is."""
    until = time.monotonic() + seconds
    while True:
        try:
            Server(place).close()
        except Refused as error:
            starting = isinstance(error, Failed) and error.sqlstate == STARTING
            if time.monotonic() > until:
                return str(error)
            if not starting and _systemctl("is-active", unit)[1] in ENDED:
                return str(error)
            time.sleep(POLL_SECONDS)
        else:
            return ""


# The way back


class _Memory:
    """The way back of one cluster, on disk while it may be needed."""

    def __init__(self, path: str) -> None:
        self.path = path

    def recall(self) -> WayBack | None:
        try:
            return WayBack(**json.loads(files.read_file(self.path)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise Refused(
                f"{self.path} holds what an interrupted run had replaced, and cannot be read ({error}); look at "
                f"{NAME} by yourself, then remove it"
            ) from error

    def keep(self, back: WayBack) -> None:
        try:
            files.write_file(self.path, json.dumps(vars(back)).encode(), 0o600, os.geteuid(), os.getegid())
        except OSError as error:
            raise Refused(f"{self.path} cannot be written: {error.strerror}; nothing was changed") from error

    def forget(self) -> None:
        parent, name = files.split(self.path)
        try:
            with files.directory(parent) as descriptor:
                files.remove_at(descriptor, name)
        except OSError as error:
            raise Refused(f"{self.path} cannot be removed: {error.strerror}; run again to finish") from error


@contextlib.contextmanager
def _locked(root: str) -> Iterator[None]:
    try:
        for folder in (os.path.dirname(root), root):
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
        lock = Lock(os.path.join(root, "settings.lock"))
        taken = lock.acquire(Clock(), LOCK_SECONDS)
    except OSError as error:
        raise Refused(f"{root} cannot be written: {error.strerror}; nothing was changed") from error
    if not taken:
        raise Refused("another process is changing settings of PostgreSQL here; run again when it is done")
    try:
        yield
    finally:
        lock.release()
