# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Talk to a PostgreSQL server on this host, over its Unix socket, as the system user that it runs as.

That way in needs no password and works even when every network rule is broken. What is not a PostgreSQL server is
refused before anything is asked of it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pwd
import typing as t
from dataclasses import dataclass

psycopg2: t.Any
try:
    psycopg2 = importlib.import_module("psycopg2")
except ImportError:
    psycopg2 = None

SOCKET_DIRECTORY = "/var/run/postgresql"
DEFAULT_PORT = 5432
SYSTEM_USER = "postgres"
CONNECT_SECONDS = 10
OLDEST = 130000
# The class of their SQLSTATE.
CONSTRAINT_VIOLATIONS = "23"
COCKROACHDB = (
    "the server behind {place} is CockroachDB, not PostgreSQL: it has no advisory locks, no pg_hba file and no "
    "transactional DDL to build on, and ZITADEL has not supported it since version 3; move the data with "
    "'zitadel mirror' to PostgreSQL 14 or later, then name that server"
)
# Names are never resolved by a foreign path.
SESSION = "-c search_path=pg_catalog -c client_min_messages=warning"
Row = tuple[t.Any, ...]


class Refused(Exception):
    """Cluster or wish is not what it has to be; the text says what, which value, what is accepted, what to do."""


class Failed(Refused):
    """The server refused a statement; ``sqlstate`` is its code, empty if the connection broke."""

    def __init__(self, text: str, sqlstate: str = "") -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


# Options of every module that talks to a cluster; documented in the fragment postgresql_server.
PLACE_ARGUMENTS: dict[str, t.Any] = {
    "socket_directory": {"type": "path", "default": SOCKET_DIRECTORY},
    "port": {"type": "int", "default": DEFAULT_PORT},
    "system_user": {"type": "str", "default": SYSTEM_USER},
}


@dataclass(frozen=True)
class Place:
    """Where a cluster listens: directory of its socket, port, and the system user that it runs as."""

    socket_directory: str = SOCKET_DIRECTORY
    port: int = DEFAULT_PORT
    system_user: str = SYSTEM_USER

    @classmethod
    def of(cls, parameters: t.Mapping[str, t.Any]) -> Place:
        """Return the place that a module's arguments name."""
        return cls(**{name: parameters[name] for name in PLACE_ARGUMENTS})

    def __str__(self) -> str:
        return f"{self.socket_directory}/.s.PGSQL.{self.port}"


class Server:
    """One session of a superuser. Used with ``with``; every error is a Refused with the server's own words."""

    def __init__(self, place: Place, database: str = "postgres", application_name: str = "bulwark") -> None:
        self.place = place
        self.database = database
        self.round_trips = 0
        self._connection = _connect(place, database, application_name)
        try:
            self._look()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_problem: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session; what was not committed is undone by the server."""
        with contextlib.suppress(psycopg2.Error):
            self._connection.close()

    def _look(self) -> None:
        # Asked before anything that only PostgreSQL knows.
        words = str(self.value("SELECT version()"))
        if "CockroachDB" in words:
            raise Refused(COCKROACHDB.format(place=self.place))
        self.version = int(self._connection.server_version)
        if not words.startswith("PostgreSQL ") or self.version < OLDEST:
            raise Refused(f"the server behind {self.place} says it is {words[:60]!r}; PostgreSQL 13 or later is needed")
        superuser, encoding, recovery = self.row(
            "SELECT r.rolsuper, current_setting('server_encoding'), pg_is_in_recovery()"
            " FROM pg_roles r WHERE r.rolname = current_user"
        )
        if not superuser:
            raise Refused(
                f"the role {self.user!r} of the server behind {self.place} is no superuser; "
                f"run 'ALTER ROLE {self.user} SUPERUSER' in a session of one that is"
            )
        self.encoding, self.in_recovery = str(encoding), bool(recovery)
        # Messages in English, so that this code and its reader understand them; only a superuser may choose.
        self.rows("SET lc_messages = 'C'")

    @property
    def user(self) -> str:
        """The role that is logged in."""
        return str(self._connection.info.user)

    @property
    def major(self) -> int:
        """The major version, such as 17."""
        return self.version // 10000

    def require_primary(self) -> None:
        """Raise Refused on a standby, which takes changes only from its primary."""
        if self.in_recovery:
            raise Refused(
                f"the server behind {self.place} is a read-only standby; run this on its primary, from which it follows"
            )

    def rows(self, statement: str, parameters: t.Sequence[t.Any] = ()) -> list[Row]:
        """Run one statement and return its rows, none for a statement that has no result."""
        with self._talking(), self._connection.cursor() as cursor:
            cursor.execute(statement, tuple(parameters) or None)
            return [] if cursor.description is None else list(cursor.fetchall())

    def row(self, statement: str, parameters: t.Sequence[t.Any] = ()) -> Row:
        """Return the first row. Raises Refused if there is none."""
        found = self.rows(statement, parameters)
        if not found:
            raise Refused(f"the server behind {self.place} answered nothing to: {statement[:200]}")
        return found[0]

    def value(self, statement: str, parameters: t.Sequence[t.Any] = ()) -> t.Any:
        """Return the first column of the first row."""
        return self.row(statement, parameters)[0]

    @contextlib.contextmanager
    def transaction(self, secret: bool = False, isolation: str = "READ COMMITTED") -> t.Iterator[None]:
        """Run what follows as one transaction: all of it, or nothing.

        ``secret`` keeps its statements out of the server's log and of pgaudit's, also when one fails.
        """
        self.rows(f"BEGIN ISOLATION LEVEL {isolation}")
        try:
            if secret:
                self.rows(
                    "SELECT set_config(name, value, true) FROM (VALUES ('log_statement', 'none'),"
                    " ('log_min_error_statement', 'panic'), ('log_min_duration_statement', '-1'),"
                    " ('log_min_duration_sample', '-1'), ('pgaudit.log', 'none')) AS wish(name, value)"
                    " WHERE name IN (SELECT name FROM pg_settings)"
                )
            yield
            self.rows("COMMIT")
        except BaseException:
            with contextlib.suppress(Refused):
                self.rows("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _talking(self) -> t.Iterator[None]:
        self.round_trips += 1
        try:
            yield
        except psycopg2.Error as error:
            raise Failed(in_words(error), error.pgcode or "") from error


def in_words(error: t.Any) -> str:
    """Return the server's own message in one line, without the statement that it quotes."""
    diagnosis = getattr(error, "diag", None)
    message = getattr(diagnosis, "message_primary", None)
    if not message:
        return " ".join(str(error).split()) or error.__class__.__name__
    detail = getattr(diagnosis, "message_detail", None)
    # What is said of a violated constraint quotes the row, and whatever is secret in it.
    quotes_row = str(error.pgcode).startswith(CONSTRAINT_VIOLATIONS)
    return f"{message} ({' '.join(detail.split())})" if detail and not quotes_row else str(message)


def _connect(place: Place, database: str, application_name: str) -> t.Any:
    if psycopg2 is None:
        raise Refused("Python's module psycopg2 is missing on this host; install the package python3-psycopg2")
    try:
        account = pwd.getpwnam(place.system_user)
    except KeyError as error:
        raise Refused(
            f"system_user is {place.system_user!r}, and no user of this host; name the one that the server runs as"
        ) from error
    if os.geteuid() not in (0, account.pw_uid):
        raise Refused(f"the server is reached as {place.system_user!r}, which needs root; set become to true")
    try:
        with acting_as(account.pw_uid):
            connection = psycopg2.connect(
                host=place.socket_directory,
                port=place.port,
                dbname=database,
                user=place.system_user,
                connect_timeout=CONNECT_SECONDS,
                application_name=application_name,
                client_encoding="UTF8",
                options=SESSION,
            )
    except psycopg2.Error as error:
        raise Failed(
            f"no session at {place} for the role {place.system_user!r} in database {database!r}: {in_words(error)}",
            getattr(error, "pgcode", None) or "",
        ) from error
    connection.set_session(autocommit=True)
    return connection


@contextlib.contextmanager
def acting_as(uid: int) -> t.Iterator[None]:
    """Connect as the system user: the server asks the kernel who is at the other end of the socket."""
    before = os.geteuid()
    if before == uid:
        yield
        return
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(before)
