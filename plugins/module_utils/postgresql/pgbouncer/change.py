# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One change of PgBouncer from plan to proof: what the module calls.

The candidate is run as a second instance, on a socket that nobody else knows, before the first file is replaced. What
the running program then does not prove is taken back.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
import typing as t
from dataclasses import dataclass

from ...transaction import files
from ...transaction.commands import NotStarted, run_command, start_command, telling_line
from ...transaction.engine import Engine
from ...transaction.state import Command, TransactionError
from .. import server as postgresql
from ..hba import wire
from ..hba.match import LOCAL, PLAINTEXT, TLS, Connection
from ..server import Place, Refused, Server, acting_as
from ..settings_host import unreachable_addresses
from ..undo import taken_back
from . import model

PROGRAM, UNIT = "/usr/sbin/pgbouncer", "pgbouncer.service"
RUN = "/run"
MODE = 0o640
SECONDS = 15.0
COMMAND_SECONDS = 60.0
POLL_SECONDS = 0.05
# What belongs to the one instance, and not to what it is told.
OF_AN_INSTANCE = ("conffile", "service_name")
NO_PATH = frozenset({wire.UNTRUSTED, wire.NO_TLS, wire.UNREACHABLE, wire.ERROR})
Shown = dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Outcome:
    """What the call did, and what holds now."""

    changed: bool
    before: str
    after: str
    users: t.Sequence[str]
    users_before: t.Sequence[str]
    without_login: t.Sequence[str]
    restart_required: t.Sequence[str]
    restarted: bool
    logins: int


@dataclass(frozen=True)
class Console:
    """Where a running PgBouncer answers whoever runs as its own system user."""

    directory: str
    port: int
    system_user: str

    def shown(self) -> Shown:
        """Return value and changeability of every setting. Raises Refused."""
        return {row["key"]: (str(row["value"]), str(row["changeable"])) for row in self._ask("SHOW CONFIG")}

    def databases(self) -> set[str]:
        """Return the databases that clients can name."""
        return {str(row["name"]) for row in self._ask("SHOW DATABASES")} - {model.CONSOLE}

    def _ask(self, statement: str) -> list[dict[str, t.Any]]:
        try:
            with acting_as(pwd.getpwnam(self.system_user).pw_uid):
                connection = postgresql.psycopg2.connect(
                    host=self.directory,
                    port=self.port,
                    user=model.CONSOLE,
                    dbname=model.CONSOLE,
                    connect_timeout=postgresql.CONNECT_SECONDS,
                )
            with contextlib.closing(connection):
                connection.set_session(autocommit=True)
                with connection.cursor() as cursor:
                    cursor.execute(statement)
                    names = [column[0] for column in cursor.description]
                    return [dict(zip(names, row)) for row in cursor.fetchall()]
        except postgresql.psycopg2.Error as error:
            raise Refused(f"PgBouncer does not answer at {self.directory}: {postgresql.in_words(error)}") from error


def converge(
    place: Place,
    wish: t.Mapping[str, t.Any],
    restart: bool,
    window_seconds: int,
    check_mode: bool,
    engine: Engine | None = None,
) -> Outcome:
    """Bring PgBouncer to the wish, or in check mode find out whether that could be. Raises Refused."""
    if os.geteuid() != 0:
        raise Refused("PgBouncer can be changed by root only; set become to true")
    found = model.problems(wish)
    if found:
        raise Refused("; ".join([*found, "nothing was changed"]))
    if not os.access(PROGRAM, os.X_OK):
        raise Refused(f"{PROGRAM} is not there; install the package pgbouncer")
    engine = engine or Engine()
    try:
        if not check_mode:
            # An earlier run may have died with its files in place: look only after its rollback.
            engine.settle()
        return _Change(place, wish).run(restart, window_seconds, check_mode, engine)
    except TransactionError as error:
        raise Refused(str(error)) from error
    finally:
        engine.close()


class _Change:
    """One call on one host."""

    def __init__(self, place: Place, wish: t.Mapping[str, t.Any]) -> None:
        self.place, self.wish = place, wish
        with Server(place) as server, server.transaction(secret=True):
            rows = server.rows(
                "SELECT rolname, rolpassword, rolcanlogin, coalesce(rolvaliduntil > now(), true) FROM pg_authid"
                " WHERE rolname = ANY(%s)",
                [list(wish["users"])],
            )
        self.verifiers, self.without_login = model.who_may(rows, wish["users"])
        self.own = model.settings(wish, place.socket_directory)
        self.after = {
            model.CONFIGURATION: model.render(wish, self.own, place.socket_directory, place.port),
            model.USERS: model.users(self.verifiers),
        }
        self.before = {path: _read(path) for path in self.after}
        self.console = Console(place.socket_directory, wish["listen_port"], place.system_user)

    def run(self, restart: bool, window_seconds: int, check_mode: bool, engine: Engine) -> Outcome:
        active = _is("is-active")
        expected = self._expected()
        differing = model.differing(expected, self._running()) if active else {}
        waiting = sorted(name for name, changeable in differing.items() if not changeable)
        restarts = bool(waiting) and restart
        written = all(self.before[path] == text and _owned(path, self._gid()) for path, text in self.after.items())
        if written and active and _is("is-enabled") and not restarts and len(waiting) == len(differing):
            return self._outcome(False, waiting, False, 0)
        self._judge(not active or "listen_addr" in waiting)
        logins = 0
        if not check_mode:
            logins = self._apply(expected, active, restarts, waiting, window_seconds, engine)
        return self._outcome(True, () if restarts else waiting, restarts, logins)

    def _expected(self) -> dict[str, str]:
        """Return every setting as PgBouncer itself shows it with the candidate. Raises Refused if it does not run."""
        with _Rehearsal(self.after, self.place.system_user) as rehearsal:
            shown = {name: value for name, (value, _changeable) in rehearsal.console.shown().items()}
        elsewhere = {name: self.own.get(name) for name in (*rehearsal.own, *OF_AN_INSTANCE)}
        return {
            **{name: value for name, value in shown.items() if name not in elsewhere},
            **{name: value for name, value in elsewhere.items() if value is not None},
        }

    def _running(self) -> Shown:
        """Return the settings of the running program, which may listen at another port; nothing if it does not say."""
        for port in dict.fromkeys((self.wish["listen_port"], *_ports(self.place.socket_directory))):
            console = Console(self.place.socket_directory, port, self.place.system_user)
            with contextlib.suppress(Refused):
                found = console.shown()
                self.console = console
                return found
        return {}

    def _gid(self) -> int:
        return grp.getgrgid(pwd.getpwnam(self.place.system_user).pw_gid).gr_gid

    def _judge(self, listens_anew: bool) -> None:
        """Raise Refused for what can be known before anything changes."""
        found = unreachable_addresses(self.own["listen_addr"]) if listens_anew else []
        for entry in self.wish["databases"]:
            found += self._path_problem(entry)
        if found:
            raise Refused("; ".join([*found, "nothing was changed"]))

    def _path_problem(self, entry: t.Mapping[str, t.Any]) -> list[str]:
        """Ask the server for a login over the way that PgBouncer will take."""
        host, port = entry.get("host") or self.place.socket_directory, entry.get("port") or self.place.port
        database, user = entry.get("database") or entry["name"], min(self.verifiers)
        if model.by_socket(entry):
            answer = wire.ask(wire.socket_of(host, port), Connection(LOCAL, user, database))
        else:
            try:
                context = wire.verified(self.wish["server_tls_ca_file"])
            except OSError as error:
                return [f"server_tls_ca_file: {self.wish['server_tls_ca_file']} cannot be used: {error}"]
            answer = wire.ask(wire.Target(host, port), Connection(TLS, user, database), context)
        if answer.kind not in NO_PATH:
            return []
        return [f"databases: the server of {entry['name']!r} at {host} port {port} cannot be used: {answer.detail}"]

    def _apply(
        self,
        expected: t.Mapping[str, str],
        active: bool,
        restarts: bool,
        waiting: t.Sequence[str],
        window_seconds: int,
        engine: Engine,
    ) -> int:
        forth = "restart" if restarts or not active else "reload"
        back = "restart" if restarts else "reload" if active else "stop"
        transaction = engine.begin(
            "postgresql_pgbouncer",
            list(self.after),
            [Command(("systemctl", back, UNIT), COMMAND_SECONDS)],
            window_seconds=window_seconds,
        )
        by_hand = f"restart {UNIT} after putting the old files back"
        with taken_back(transaction, lambda _moment: _left(active), by_hand):
            transaction.arm()
            transaction.applying()
            for path, text in self.after.items():
                files.write_file(path, text.encode("utf-8", "surrogateescape"), MODE, 0, self._gid())
            _systemctl("reset-failed", UNIT)
            _required(forth, UNIT)
            logins = self._prove(expected, () if restarts or not active else waiting)
            if not _is("is-enabled"):
                _required("enable", UNIT)
            transaction.applied()
            transaction.commit(transaction.nonce, [], lambda: None, minimum_logins=0)
        return logins

    def _prove(self, expected: t.Mapping[str, str], waiting: t.Sequence[str]) -> int:
        """Ask the running program what it has, and log in. Raises Refused, else returns how many logins there were."""
        wished = {name: value for name, value in expected.items() if name not in waiting}
        console = self.console
        if "listen_port" not in waiting:
            console = Console(self.place.socket_directory, self.wish["listen_port"], self.place.system_user)
        until = time.monotonic() + SECONDS
        while True:
            try:
                shown, databases = console.shown(), console.databases()
                problem = _not_as(model.differing(wished, shown), databases, self.wish)
            except Refused as error:
                problem = str(error)
            if not problem:
                break
            if time.monotonic() > until:
                raise Refused(problem)
            time.sleep(POLL_SECONDS)
        if {"listen_addr", "listen_port"} & set(waiting):
            return 0
        for address in self.wish["listen_addresses"]:
            self._ask(address)
        return sum(self._log_in(probe) for probe in self.wish["probes"])

    def _ask(self, address: str) -> None:
        """From outside: plaintext is refused, and over TLS a password is asked for, by SCRAM."""
        target = wire.Target(address, self.wish["listen_port"])
        user, database = min(self.verifiers), self.wish["databases"][0]["name"]
        plain = wire.ask(target, Connection(PLAINTEXT, user, database))
        if plain.kind not in (wire.ERROR, wire.REFUSED) or "SSL" not in plain.detail:
            raise Refused(f"PgBouncer at {address} answered a client without TLS with {plain.kind} ({plain.detail})")
        encrypted = wire.ask(target, Connection(TLS, user, database))
        if encrypted.kind != wire.SCRAM:
            raise Refused(f"PgBouncer at {address} answered {user!r} with {encrypted.kind} ({encrypted.detail})")

    def _log_in(self, probe: t.Mapping[str, t.Any]) -> int:
        try:
            connection = postgresql.psycopg2.connect(
                host=self.wish["listen_addresses"][0],
                port=self.wish["listen_port"],
                user=probe["user"],
                dbname=probe["database"],
                password=probe["password"],
                sslmode="require",
                connect_timeout=postgresql.CONNECT_SECONDS,
                application_name="bulwark",
            )
            with contextlib.closing(connection), connection.cursor() as cursor:
                # PgBouncer asks the server for a session only now.
                cursor.execute("SELECT 1")
        except postgresql.psycopg2.Error as error:
            said = postgresql.in_words(error)
            raise Refused(f"{probe['user']!r} could not log in to {probe['database']!r}: {said}") from error
        return 1

    def _outcome(self, changed: bool, waiting: t.Sequence[str], restarted: bool, logins: int) -> Outcome:
        return Outcome(
            changed,
            self.before[model.CONFIGURATION] or "",
            self.after[model.CONFIGURATION],
            sorted(self.verifiers),
            sorted(model.names(self.before[model.USERS] or "")),
            self.without_login,
            list(waiting),
            restarted,
            logins,
        )


def _not_as(differing: t.Mapping[str, bool], databases: set[str], wish: t.Mapping[str, t.Any]) -> str:
    if differing:
        return f"the running PgBouncer did not take {', '.join(sorted(differing))}"
    wished = {entry["name"] for entry in wish["databases"]}
    if databases != wished:
        return f"the running PgBouncer has the databases {', '.join(sorted(databases)) or 'none'}"
    return ""


class _Rehearsal:
    """The candidate as a second instance: its own socket, no address, the same user."""

    def __init__(self, candidate: t.Mapping[str, str], system_user: str) -> None:
        self.candidate, self.system_user = candidate, system_user
        self.folder = ""
        self.own: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Rehearsal:
        account = pwd.getpwnam(self.system_user)
        self.folder = tempfile.mkdtemp(prefix="bulwark-pgbouncer-", dir=RUN)
        try:
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self.own = {
                "listen_addr": "",
                "unix_socket_dir": self.folder,
                "auth_file": f"{self.folder}/userlist.txt",
                "logfile": "",
                "pidfile": f"{self.folder}/pid",
            }
            # What is named twice is taken as it is named last.
            text = self.candidate[model.CONFIGURATION] + "".join(
                f"{name} = {value}\n" for name, value in self.own.items()
            )
            configuration = f"{self.folder}/pgbouncer.ini"
            for path, content in ((configuration, text), (self.own["auth_file"], self.candidate[model.USERS])):
                files.write_file(
                    path, content.encode("utf-8", "surrogateescape"), 0o600, account.pw_uid, account.pw_gid
                )
            self._start(configuration)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, configuration: str) -> None:
        port = next(
            line.partition("=")[2].strip()
            for line in self.candidate[model.CONFIGURATION].splitlines()
            if line.startswith("listen_port")
        )
        self.console = Console(self.folder, int(port), self.system_user)
        with tempfile.TemporaryFile() as output:
            argv = ("runuser", "-u", self.system_user, "--", PROGRAM, configuration)
            try:
                self.process = start_command(Command(argv, SECONDS), output.fileno())
            except NotStarted as error:
                raise Refused(str(error)) from error
            until = time.monotonic() + SECONDS
            while True:
                try:
                    self.console.shown()
                    return
                except Refused as error:
                    ended = self.process.poll() is not None
                    if ended or time.monotonic() > until:
                        output.seek(0)
                        said = telling_line(output.read().decode(errors="replace")) or str(error)
                        said = said.replace(self.folder, os.path.dirname(model.CONFIGURATION))
                        raise Refused(
                            f"PgBouncer does not run with the new file: {said}; nothing was changed"
                        ) from error
                    time.sleep(POLL_SECONDS)

    def __exit__(self, *_problem: object) -> None:
        if self.process is not None:
            # runuser hands the signal on to the program.
            self.process.terminate()
            try:
                self.process.wait(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _left(active: bool) -> str:
    """Say what the rollback left."""
    if active and not _is("is-active"):
        return f"the old files are back, BUT {UNIT} DOES NOT RUN: look at its journal"
    return "the old files are back in force" if active else f"the old files are back, and {UNIT} is stopped as before"


def _ports(directory: str) -> list[int]:
    """Return the ports of all sockets in a directory."""
    prefix = ".s.PGSQL."
    names = os.listdir(directory) if os.path.isdir(directory) else []
    return [int(name[len(prefix) :]) for name in names if name.startswith(prefix) and name[len(prefix) :].isdigit()]


def _read(path: str) -> str | None:
    try:
        return files.read_file(path).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        what = "is a symbolic link, which is not followed" if os.path.islink(path) else error.strerror or error
        raise Refused(f"{path} cannot be read: {what}; remove it; nothing was changed") from error


def _owned(path: str, gid: int) -> bool:
    found = os.stat(path, follow_symlinks=False)
    return (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (MODE, 0, gid)


def _is(question: str) -> bool:
    return _systemctl(question, UNIT)[0]


def _systemctl(*words: str) -> tuple[bool, str]:
    return run_command(Command(("systemctl", *words), COMMAND_SECONDS))


def _required(*words: str) -> None:
    done, line = _systemctl(*words)
    if not done:
        raise Refused(f"systemctl {' '.join(words)} fails: {line}")
