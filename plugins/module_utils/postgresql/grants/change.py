# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a wish to a cluster, or say how the two differ.

What all databases share goes with the first database into one transaction; each further one has its own. Before a
COMMIT everything is read again, and must be as wished.
"""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..server import Failed, Place, Refused, Server
from . import append_only, observe, planner
from .model import Database, Wish
from .planner import ClusterPlan
from .privileges import Statement
from .state import Contents, new_database

LOCK_NOT_AVAILABLE = "55P03"
STATEMENTS_AT_ONCE = 500
# What follows the secrets is logged as the server's settings say; these are what `transaction(secret=True)` turns off.
LOG_AGAIN = (
    "SELECT set_config(name, reset_val, true) FROM pg_settings WHERE name IN ('log_statement',"
    " 'log_min_error_statement', 'log_min_duration_statement', 'log_min_duration_sample', 'pgaudit.log')"
)


@dataclass(frozen=True)
class Outcome:
    """What was changed, or would be; ``missing`` and ``without_rule`` are by database."""

    statements: tuple[Statement, ...]
    missing: t.Mapping[str, t.Sequence[str]]
    without_rule: t.Mapping[str, t.Sequence[str]]


class Run:
    """One look at the cluster, and what follows from it."""

    def __init__(self, place: Place, wish: Wish, lock_timeout_seconds: int, sessions: contextlib.ExitStack) -> None:
        self.place = place
        self.wish = wish
        self.lock_timeout_seconds = lock_timeout_seconds
        self._stack = sessions
        self._sessions: dict[str, Server] = {}
        self.first = self._first_session()
        self.cluster = observe.cluster(self.first, wish, lock_timeout_seconds)
        self.contents = {
            database.name: self._look_into(database)
            if database.name in self.cluster.databases
            else new_database(
                database.name,
                self.cluster.session,
                self.cluster.major,
                any(schema.name == "public" for schema in database.schemas),
            )
            for database in wish.databases
        }

    def _first_session(self) -> Server:
        if self.wish.databases:
            with contextlib.suppress(Failed):
                return self._session(self.wish.databases[0].name)
        # The first database may not exist yet. If this fails too, it says why.
        return self._session("postgres")

    def _session(self, database: str) -> Server:
        if database not in self._sessions:
            server = Server(self.place, database, "bulwark grants")
            self._sessions[database] = self._stack.enter_context(server)
        return self._sessions[database]

    def _look_into(self, database: Database) -> Contents:
        return observe.contents(self._session(database.name), self.wish, database, self.lock_timeout_seconds)

    @property
    def round_trips(self) -> int:
        """How often a server was asked."""
        return sum(server.round_trips for server in self._sessions.values())

    @property
    def new_databases(self) -> list[str]:
        """The databases that have to be made."""
        return [database.name for database in self.wish.databases if database.name not in self.cluster.databases]

    def problems(self) -> list[str]:
        """Return why this wish must not be brought to this cluster."""
        found = planner.problems(self.wish, self.cluster)
        return found or append_only.problems(self.wish, self.cluster, self.contents)

    def missing(self) -> dict[str, list[str]]:
        """Return what the wish names and does not exist, by database."""
        found = {d.name: planner.missing(d, self.contents[d.name]) for d in self.wish.databases}
        return {name: what for name, what in found.items() if what}

    def without_rule(self) -> dict[str, list[str]]:
        """Return the tables that the wish says nothing about, by database."""
        found = {d.name: planner.without_rule(d, self.contents[d.name]) for d in self.wish.databases}
        return {name: what for name, what in found.items() if what}

    def plan_cluster(self) -> ClusterPlan:
        """Return what changes for all databases."""
        return planner.plan_cluster(self.wish, self.cluster)

    def plan_database(self, database: Database) -> tuple[Statement, ...]:
        """Return what changes inside of one database."""
        inside = self.contents[database.name]
        reachable = planner.without_missing_schemas(database, inside)
        return planner.plan_database(self.wish, reachable, self.cluster, inside)

    def plan(self) -> tuple[Statement, ...]:
        """Return all that changes, in order."""
        return (
            *(planner.create_database(name) for name in self.new_databases),
            *self.plan_cluster().statements,
            *(statement for database in self.wish.databases for statement in self.plan_database(database)),
        )

    def effective(self) -> list[str]:
        """Return who may tamper, as the server sees it."""
        return append_only.effective(self.wish, self.cluster, self.contents)

    def make_databases(self) -> list[str]:
        """Make what is missing, each at once and outside of a transaction, and look again."""
        made = self.new_databases
        for name in made:
            self.first.rows(planner.create_database(name).sql)
        if made:
            self.cluster = observe.cluster(self.first, self.wish, self.lock_timeout_seconds)
            self.contents.update({d.name: self._look_into(d) for d in self.wish.databases if d.name in made})
        return made

    def change(self) -> None:
        """Bring everything to the server. Raises Refused that says what is kept."""
        kept: list[str] = []
        try:
            kept += [f"the new database {name!r}" for name in self.make_databases()]
            first, *others = self.wish.databases or [None]
            self._transaction(self._session(first.name) if first else self.first, self.plan_cluster(), first)
            kept.append("roles, owners and privileges of databases" + (f", and all of {first.name!r}" if first else ""))
            for database in others:
                if database:
                    self._transaction(self._session(database.name), ClusterPlan(), database)
                    kept.append(f"all of {database.name!r}")
        except Refused as error:
            raise Refused(f"{_in_words(error, self.lock_timeout_seconds)}; {_kept(kept, error)}") from error

    def _transaction(self, server: Server, shared: ClusterPlan, database: Database | None) -> None:
        inside = self.plan_database(database) if database else ()
        secret = any(statement.secret for statement in shared.roles)
        with server.transaction(secret=secret):
            _run(server, shared.roles)
            if secret:
                server.rows(LOG_AGAIN)
            _run(server, (*shared.rest, *inside))
            self.cluster = observe.cluster(server, self.wish, self.lock_timeout_seconds)
            if database:
                self.contents[database.name] = observe.contents(server, self.wish, database, self.lock_timeout_seconds)
            self._verify(database)

    def _verify(self, database: Database | None) -> None:
        left = [*self.plan_cluster().statements, *(self.plan_database(database) if database else ())]
        if left:
            raise Refused(
                f"after all statements this is still to be done: {left[0].shown}; somebody else changes the same now, "
                "so run this again when they are done"
            )
        only = replace(self.wish, databases=(database,) if database else ())
        tampering = append_only.effective(only, self.cluster, self.contents)
        if tampering:
            raise Refused("; ".join(tampering))


@contextlib.contextmanager
def look(place: Place, wish: Wish, lock_timeout_seconds: int) -> Iterator[Run]:
    """Read the cluster, and keep the sessions for a change."""
    with contextlib.ExitStack() as sessions:
        try:
            run = Run(place, wish, lock_timeout_seconds, sessions)
        except Failed as error:
            raise Refused(f"{_in_words(error, lock_timeout_seconds)}; nothing was changed") from error
        yield run


def converge(
    place: Place, wish: Wish, check_mode: bool = False, lock_timeout_seconds: int = 5, accept_missing: bool = False
) -> Outcome:
    """Make everything as wished. Raises Refused; what it does not name as kept is then as before."""
    with look(place, wish, lock_timeout_seconds) as run:
        found = run.problems()
        if found:
            raise Refused(f"{'; '.join(found)}; nothing was changed")
        missing = run.missing()
        if missing and not accept_missing:
            listed = "; ".join(f"database {name!r} has no {', no '.join(what)}" for name, what in missing.items())
            raise Refused(f"{listed}; create them first, correct the names, or set missing_objects to report")
        statements = run.plan()
        if not statements:
            tampering = run.effective()
            if tampering:
                raise Refused("; ".join(tampering))
        elif not check_mode:
            run.first.require_primary()
            run.change()
        return Outcome(statements, missing, run.without_rule())


def prove(
    place: Place, wish: Wish, lock_timeout_seconds: int = 5, accept_missing: bool = False
) -> tuple[list[str], set[str]]:
    """Return one sentence for each way in which the cluster is not as wished, and databases that lack something.

    Changes nothing, needs no secrets. accept_missing: say nothing of what the wish names and does not exist. Raises
    Refused if the cluster cannot be read.
    """
    with look(place, wish, lock_timeout_seconds) as run:
        found = run.problems()
        missing = run.missing()
        for name, what in missing.items() if not accept_missing else ():
            found += [f"database {name!r} has no {thing}, which the policy names" for thing in what]
        for name, what in run.without_rule().items():
            found += [
                f"{thing} of database {name!r} has no rule in the policy; only its owner has access" for thing in what
            ]
        found += [f"drift: '{statement.shown}' would be needed" for statement in run.plan()]
        return found + run.effective(), set(missing)


def _run(server: Server, statements: Sequence[Statement]) -> None:
    for start in range(0, len(statements), STATEMENTS_AT_ONCE):
        server.rows(";\n".join(statement.sql for statement in statements[start : start + STATEMENTS_AT_ONCE]))


def _in_words(error: Refused, lock_timeout_seconds: int) -> str:
    if isinstance(error, Failed) and error.sqlstate == LOCK_NOT_AVAILABLE:
        return (
            f"another session has held a lock for more than {lock_timeout_seconds} s on what this has to read or "
            "change; look for it in pg_locks and end it, or raise lock_timeout_seconds"
        )
    return str(error)


def _kept(kept: Sequence[str], error: Refused) -> str:
    if isinstance(error, Failed) and not error.sqlstate:
        return "the connection broke, so run this again, which shows what has come and finishes the rest"
    return f"kept: {'; '.join(kept)}; nothing else was changed" if kept else "nothing was changed"
