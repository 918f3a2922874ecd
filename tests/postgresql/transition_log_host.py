# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests the transition log on a disposable host; transition_log.py copies it there, with the code under test beside it.

transition_log_host.py PART [ARGUMENTS as JSON]: the answer is one JSON object with the cases and their figures.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from postgresql import server as postgresql_server
from postgresql.transition_log import change, model, statements

from tests.postgresql import transition_log_cases as cases

psycopg2: Any = importlib.import_module("psycopg2")

CLIENTS = 4
VERSION = Path("/etc/postgresql").iterdir().__next__().name
UNIT = f"postgresql@{VERSION}-main.service"
DEFAULTS = {"log_schema": "bulwark_audit", "owner_role": "bulwark_audit", "writer_role": "bulwark_audit_writer",
            "reader_role": cases.READER}  # fmt: skip
# What test_decoding writes of one column: name[type]:value.
COLUMN = re.compile(r"""("(?:[^"]|"")+"|[^\s\[]+)\[([^\]]+(?:\[\])?)\]:('(?:[^']|'')*'|\S+)""")
STATES = ("PENDING", "APPROVED", "REJECTED", "ACTIVE", "EXPIRED", "REVOKED")
SLOT = "oracle"


class Results:
    """Cases that passed or failed, and the figures of this part."""

    def __init__(self) -> None:
        self.cases: list[dict[str, Any]] = []
        self.figures: dict[str, Any] = {}

    def add(self, name: str, problem: object = "") -> None:
        self.cases.append({"name": name, "problem": str(problem) if problem else ""})


def superuser(database: str = cases.DATABASE) -> postgresql_server.Server:
    return postgresql_server.Server(postgresql_server.Place(), database, "the tests")


def policy(**changes: Any) -> model.Policy:
    return model.parse({**cases.arguments(), **DEFAULTS, **changes})


def connect(role: str = cases.RUNTIME) -> Any:
    connection = psycopg2.connect(
        host="127.0.0.1", dbname=cases.DATABASE, user=role, password=cases.PASSWORD, application_name="shop",
        sslmode="require", connect_timeout=10,
    )  # fmt: skip
    connection.autocommit = True
    return connection


def systemctl(*arguments: str) -> None:
    subprocess.run(["systemctl", *arguments, UNIT], check=True, timeout=60)


def prepare() -> None:
    """Make the database anew and install the log."""
    with superuser("postgres") as server:
        wanted = {"wal_level": "logical", "password_encryption": "scram-sha-256"}
        restart = server.value("SHOW wal_level") != wanted["wal_level"]
        for name, value in wanted.items():
            server.rows(f"ALTER SYSTEM SET {name} = '{value}'")
        for slot in server.rows("SELECT slot_name FROM pg_replication_slots"):
            server.rows("SELECT pg_drop_replication_slot(%s)", [slot[0]])
    if restart:
        systemctl("restart")
    psql(cases.CLUSTER, "postgres")
    psql(cases.SCHEMA)
    install()


def psql(text: str, database: str = cases.DATABASE) -> None:
    done = subprocess.run(
        ["runuser", "-u", "postgres", "--", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database],
        input=text, text=True, capture_output=True, timeout=60, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def run(text: str) -> None:
    """Run statements as the superuser, as one transaction."""
    with superuser() as server:
        server.rows("SET default_transaction_read_only = off; SET search_path = public")
        if text:
            server.rows(text)


def install(**changes: Any) -> change.Outcome:
    with superuser() as server:
        return change.install(server, policy(**changes), 10, False)


def differing(compare_rows: bool = False, **changes: Any) -> list[str]:
    with superuser() as server:
        outcome = change.verify(server, policy(**changes), compare_rows)
    return [str(difference) for difference in outcome.differences]


# --- every committed change has exactly its records ------------------------------------------------------------------


def client(seed: int, number: int, changes: Any, errors: Any, stop: Any) -> None:
    """Change rows until told to stop; go on after every error with a new connection."""
    chance = random.Random(f"{seed}/{number}/{changes[number]}")
    connection = None
    while not stop.value:
        try:
            if connection is None:
                connection = connect()
            changes[number] += transaction(connection.cursor(), chance)
        except psycopg2.Error as error:
            # Rows that two clients change in opposite order are the workload's own doing.
            if error.pgcode != "40P01":
                errors[number] += 1
            if connection is not None and connection.closed == 0 and error.pgcode:
                with contextlib.suppress(psycopg2.Error):
                    connection.cursor().execute("ROLLBACK")
                    continue
            connection = None
            time.sleep(0.02)


def transaction(cursor: Any, chance: random.Random) -> int:
    """Run one transaction of one to three steps, some of them undone; return how many changes it committed at least."""
    cursor.execute("BEGIN")
    done = 0
    for _step in range(chance.choice((1, 1, 1, 2, 3))):
        undone = chance.random() < 0.1
        if undone:
            cursor.execute("SAVEPOINT here")
        count = step(cursor, chance)
        if undone:
            cursor.execute("ROLLBACK TO SAVEPOINT here")
        else:
            done += count
    if chance.random() < 0.05:
        cursor.execute("ROLLBACK")
        return 0
    cursor.execute("COMMIT")
    return done


def step(cursor: Any, chance: random.Random) -> int:
    kind = chance.random()
    name = f"{chance.getrandbits(32):08x}-{chance.choice('abc')}"
    if kind < 0.25:
        cursor.execute(
            "INSERT INTO elevation_requests (id, requester_identity, provider, role, duration_seconds, reason)"
            " VALUES (%s, 'anna@example.com', 'aws', 'admin', 3600, %s) ON CONFLICT DO NOTHING",
            (name, "it's \\ [a]:'b' " + name),
        )
    elif kind < 0.65:
        cursor.execute(
            "SELECT id, requester_identity FROM elevation_requests WHERE id > %s ORDER BY id LIMIT 1 FOR UPDATE",
            (name,),
        )
        found = cursor.fetchall()
        if not found:
            return 0
        cursor.execute(
            "UPDATE elevation_requests SET state = %s, approver_identity = 'bert@example.com', approver_comment = %s,"
            " credentials_json = %s, updated_at = now() WHERE id = %s",
            (chance.choice(STATES), name, json.dumps({"secret": name}), found[0][0]),
        )
    elif kind < 0.75:
        cursor.execute(
            "INSERT INTO policies (id, name, type, rego) VALUES (%s, %s, 'APPROVAL', 'package x') ON CONFLICT (name)"
            " DO UPDATE SET rego = %s, enabled = %s, updated_at = now()",
            (name, f"policy {chance.randrange(40)}", name, chance.random() < 0.5),
        )
    elif kind < 0.80:
        cursor.execute("DELETE FROM policies WHERE name = %s", (f"policy {chance.randrange(40)}",))
    elif kind < 0.90:
        cursor.execute(
            "INSERT INTO principals (identity) VALUES (%s) ON CONFLICT (identity) DO UPDATE SET last_seen_at = now()",
            (f"user{chance.randrange(60)}@example.com",),
        )
        return 0
    elif kind < 0.95:
        cursor.execute(
            "UPDATE principals SET trust_tier = %s, last_seen_at = now() WHERE identity = %s",
            (chance.randrange(5), f"user{chance.randrange(60)}@example.com"),
        )
    elif kind < 0.97:
        cursor.execute("UPDATE policies SET rego = rego WHERE name = %s", (f"policy {chance.randrange(40)}",))
        return 0
    else:
        cursor.execute(
            "DELETE FROM elevation_requests WHERE id IN"
            " (SELECT id FROM elevation_requests WHERE id > %s ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)",
            (name,),
        )
    return int(cursor.rowcount)


class Load:
    """Clients that change rows, each a process of its own."""

    def __init__(self, seed: int, count: int = CLIENTS) -> None:
        self.seed = seed
        context = multiprocessing.get_context("fork")
        # Without locks, which a killed client would keep.
        self.changes, self.errors = context.RawArray("q", count), context.RawArray("q", count)
        self._stop = context.RawValue("b", 0)
        self._context = context
        self.processes = [self._start(number) for number in range(count)]

    def _start(self, number: int) -> Any:
        process = self._context.Process(
            target=client, args=(self.seed, number, self.changes, self.errors, self._stop), daemon=True
        )
        process.start()
        return process

    def kill(self, number: int) -> None:
        os.kill(self.processes[number].pid, signal.SIGKILL)
        self.processes[number].join()
        self.processes[number] = self._start(number)

    @property
    def done(self) -> int:
        return sum(self.changes)

    def stop(self) -> None:
        self._stop.value = 1
        for process in self.processes:
            process.join(30)


def records(seed: int, changes: int) -> Results:
    """Change rows while clients, server processes and servers are killed, then compare the log with the WAL."""
    results = Results()
    chance = random.Random(seed)
    with superuser() as server:
        server.rows("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", [SLOT])
        start = int(server.value(f"SELECT coalesce(max(id), 0) FROM {cases.LOG}"))
    load = Load(seed)
    counts = dict.fromkeys(("clients killed", "backends ended", "restarts", "immediate restarts", "installs"), 0)
    interruptions: list[tuple[str, Callable[[], None]]] = [
        ("clients killed", lambda: load.kill(chance.randrange(CLIENTS))),
        ("backends ended", end_backend),
        ("restarts", lambda: systemctl("restart")),
        ("immediate restarts", immediate_restart),
        ("installs", lambda: reinstall(counts["installs"])),
    ]
    # One of each at least, however small the sample; restarts take longest.
    plan = [*interruptions, *chance.choices(interruptions, (8, 8, 1, 1, 2), k=max(12, changes // 400))]
    for position, (name, interrupt) in enumerate(plan):
        while load.done < changes * (position + 1) / (len(plan) + 1):
            time.sleep(0.02)
            assert any(process.is_alive() for process in load.processes)
        interrupt()
        counts[name] += 1
    while load.done < changes:
        time.sleep(0.02)
    load.stop()
    wal = dict(committed())
    with superuser() as server:
        logged = by_transaction(server, start)
    in_wal, in_log = sum(map(len, wal.values())), sum(map(len, logged.values()))
    missing = {number: entries for number, entries in wal.items() if logged.get(number) != entries}
    surplus = {number: entries for number, entries in logged.items() if number not in wal}
    results.figures = {"changes": load.done, "in the WAL": in_wal, "in the log": in_log, **counts,
                       "client errors": sum(load.errors)}  # fmt: skip
    results.add(f"at least {changes} changes were committed", "" if in_wal >= changes * 0.95 else in_wal)
    first = next(iter(missing.items()), None)
    results.add(
        "every committed change has exactly its records, in its transaction and in order",
        f"{len(missing)}; first {first}, in the log {logged.get(first[0])}" if first else "",
    )
    results.add("no record is without its change", f"{len(surplus)}: {list(surplus.items())[:1]}" if surplus else "")
    rows = [text for text in differing(compare_rows=True) if text.startswith("rows")]
    results.add("every row is as its newest record says", rows)
    for name, count in counts.items():
        results.add(f"{name} while rows changed", "" if count else "none")
    return results


def end_backend(role: str = cases.RUNTIME, application: str = "shop") -> None:
    with superuser("postgres") as server:
        server.rows(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE usename = %s"
            " AND application_name = %s AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1) AS one",
            [role, application],
        )


def immediate_restart() -> None:
    data = f"/var/lib/postgresql/{VERSION}/main"
    subprocess.run(
        ["runuser", "-u", "postgres", "--", f"/usr/lib/postgresql/{VERSION}/bin/pg_ctl", "stop", "-m", "immediate",
         "-D", data], check=True, timeout=60, stdout=subprocess.DEVNULL, cwd="/",
    )  # fmt: skip
    systemctl("restart")


def reinstall(number: int) -> None:
    """Install a policy with another guard, so that everything is made again; that may be in the midst of a restart."""
    guards = cases.arguments()["guards"]
    more = {"name": f"more{number % 2}", "table": "policies", "check": "length(NEW.rego) > 0"}
    install(guards=[*guards, more])


def committed() -> Iterator[tuple[int, list[tuple[Any, ...]]]]:
    """Yield what each transaction changed, in order, from the server's own write-ahead log."""
    with superuser() as server:
        number = 0
        entries: list[tuple[Any, ...]] = []
        while True:
            rows = server.rows(
                "SELECT data FROM pg_logical_slot_get_changes(%s, NULL, 20000, 'skip-empty-xacts', '1')", [SLOT]
            )
            if not rows:
                return
            for (line,) in rows:
                if line.startswith("BEGIN"):
                    number, entries = int(line.split()[1]), []
                elif line.startswith("COMMIT"):
                    if entries:
                        yield number, entries
                else:
                    entries += change_of(line)


KEYS = {"public.elevation_requests": ("id", "state"), "public.policies": ("name", "enabled"),
        "public.principals": ("identity", "trust_tier")}  # fmt: skip


def change_of(line: str) -> list[tuple[Any, ...]]:
    """Return what the log has to say about one change in the WAL."""
    match = re.match(r"table (\S+): (INSERT|UPDATE|DELETE): (.*)", line, re.DOTALL)
    if match is None or match[1] not in KEYS:
        return []
    relation, operation, rest = match[1], match[2], match[3]
    old, new = "", rest
    if operation == "UPDATE":
        old, new = re.fullmatch(r"old-key: (.*) new-tuple: (.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    elif operation == "DELETE":
        old, new = rest, ""
    before, after = columns(old), columns(new)
    if operation == "UPDATE":
        ignored = {"last_seen_at"} if relation == "public.principals" else set()
        # Columns that are NULL are left out of the old row.
        names = (set(before) | set(after)) - ignored
        if all(before.get(name) == after.get(name) for name in names):
            return []
    key, state = KEYS[relation]
    found = after or before
    return [(relation, operation, found[key], before.get(state), after.get(state))]


def columns(text: str) -> dict[str, str | None]:
    values = {}
    for name, _type, value in COLUMN.findall(text):
        if value != "null":
            values[name.strip('"')] = value[1:-1].replace("''", "'") if value.startswith("'") else value
    return values


def by_transaction(server: postgresql_server.Server, start: int) -> dict[int, list[tuple[Any, ...]]]:
    found: dict[int, list[tuple[Any, ...]]] = {}
    for number, *entry in server.rows(
        f"SELECT (transaction_id::text::numeric %% 4294967296)::bigint, relation, operation, key, old_state, new_state"
        f" FROM {cases.LOG} WHERE id > %s AND operation IN ('INSERT', 'UPDATE', 'DELETE') ORDER BY id",
        [start],
    ):
        found.setdefault(number, []).append(tuple(entry))
    return found


def under_load(seed: int, rounds: int) -> Results:
    """Install, install again and remove while rows change: nobody gets an error."""
    results = Results()
    load = Load(seed)
    slowest = 0
    try:
        for number in range(rounds):
            for name, act in (
                ("install again", functools.partial(reinstall, number)),
                ("remove", remove),
                ("install", install),
            ):
                before = load.done
                act()
                while load.done < before + 20 and not sum(load.errors):
                    time.sleep(0.01)
                slowest += 1
                results.add(f"{name} under load, round {number + 1}", f"errors: {list(load.errors)}" * any(load.errors))
    finally:
        load.stop()
    left = differing()
    results.add("as installed after it", left)
    results.figures = {"changes": load.done, "operations": slowest}
    return results


def remove() -> None:
    with superuser() as server:
        assert change.remove(server, policy(), 10, False).changed


# --- attacks ---------------------------------------------------------------------------------------------------------


def attacks() -> Results:
    results = Results()
    owner = connect(cases.OWNER)
    owner.cursor().execute(cases.SHADOWING)
    owner.close()
    for attack in cases.ATTACKS:
        check = {"refused": refused, "recorded": recorded, "no effect": without_effect}[attack.outcome]
        texts = [named(text) for text in attack.statements]
        results.add(f"{attack.role}: {attack.name}: {attack.outcome}", check(attack, texts))
    for name, value in cases.VALUES.items():
        session = connect()
        results.add(f"value: {name}", "" if recorded_as_is(session, value) else "the record is not the value")
        session.close()
    results.add("there and back in one transaction has two records", there_and_back())
    results.add("a change that is taken back has none", taken_back())
    results.add("the error of a guard quotes no row", quoted())
    results.add("a value that jsonb cannot hold takes its change with it", too_long())
    left = differing()
    results.add("as installed after all attacks", left)
    return results


def named(text: str) -> str:
    recorded_table = policy().recorded[0]
    emptier = next(guard for guard in policy().guards if guard.set_null)
    return text.replace("RECORDER", statements.recorder(recorded_table)).replace("EMPTIER", statements.emptier(emptier))


def count(condition: str, *values: Any) -> int:
    with superuser() as server:
        return int(server.value(f"SELECT count(*) FROM {cases.LOG} WHERE {condition}", values))


def refused(attack: cases.Attack, texts: Sequence[str]) -> str:
    session = connect(attack.role)
    try:
        for text in texts:
            session.cursor().execute(text)
    except psycopg2.Error as error:
        # Not there, not allowed, not like this: all but a slip in the test itself.
        return "" if error.pgcode in ("42501", "0A000", "23514") else f"{error.pgcode} {error}"
    finally:
        session.close()
        run("DROP TABLE IF EXISTS public.mine; DROP FUNCTION IF EXISTS public.evil(request_state)")
    return "nothing refused it"


def recorded(attack: cases.Attack, texts: Sequence[str]) -> str:
    before = count("operation = 'DDL' AND login = %s", attack.role)
    session = connect(attack.role)
    for text in texts:
        session.cursor().execute(text)
    session.close()
    after = count("operation = 'DDL' AND login = %s", attack.role)
    if attack.undo == cases.REPAIR:
        if not differing():
            return "verify does not notice it"
        install()
    else:
        run(attack.undo)
    return "" if after > before else "no record"


def without_effect(attack: cases.Attack, texts: Sequence[str]) -> str:
    session = connect(attack.role)
    try:
        isolation = [text for text in texts if text.startswith("SET TRANSACTION")]
        cursor = session.cursor()
        for text in texts:
            if text not in isolation:
                cursor.execute(text)
        cursor.execute("BEGIN")
        for text in isolation:
            cursor.execute(text)
        value = f"under {attack.name}"
        # Written so that no operator of the caller's path is needed to find the row.
        cursor.execute(
            "UPDATE public.elevation_requests SET reason = %s WHERE id OPERATOR(pg_catalog.=) %s", (value, cases.FIRST)
        )
        cursor.execute("COMMIT")
    finally:
        session.close()
    return "" if last_is(value, attack.role) else "the record is not that of a plain session"


def last_is(reason: str, login: str = cases.RUNTIME) -> bool:
    """Return whether the newest record is the row as it is now, in the text of a plain session, by that login."""
    with superuser() as server, server.transaction():
        for name, value in statements.PLAIN_TEXT.items():
            server.rows("SELECT set_config(%s, %s, true)", [name, value])
        table = policy().recorded[0]
        image = statements.image("found", table)
        return bool(
            server.value(
                f"SELECT l.after = {image} AND l.after ->> 'reason' = %s AND l.login = %s AND l.role = 'none'"
                " AND l.before ->> 'id' = %s AND l.before ->> 'reason' <> %s AND l.operation = 'UPDATE'"
                " AND l.old_state = 'PENDING' AND l.new_state = 'PENDING' AND l.key = found.id"
                " AND l.recorded_at BETWEEN now() - interval '1 hour' AND now() AND l.epoch = 1"
                " AND l.client_address = '127.0.0.1' AND l.transaction_id::text::bigint > 100"
                f" FROM public.elevation_requests AS found, {cases.LOG} AS l WHERE found.id = %s"
                f" AND l.id = (SELECT max(id) FROM {cases.LOG})",
                [reason, login, cases.FIRST, reason, cases.FIRST],
            )
        )


def recorded_as_is(session: Any, value: str) -> bool:
    session.cursor().execute("UPDATE elevation_requests SET reason = %s WHERE id = %s", (value, cases.FIRST))
    return last_is(value)


def there_and_back() -> str:
    before = count("operation = 'UPDATE'")
    session = connect()
    session.autocommit = False
    for reason in ("there", "back"):
        session.cursor().execute("UPDATE elevation_requests SET reason = %s WHERE id = %s", (reason, cases.KEPT))
    session.commit()
    session.close()
    found = count("operation = 'UPDATE'") - before
    return "" if found == 2 else f"{found} records"


def taken_back() -> str:
    before = count("operation = 'UPDATE'")
    session = connect()
    session.autocommit = False
    session.cursor().execute("SAVEPOINT here")
    session.cursor().execute(cases.UPDATE)
    session.cursor().execute("ROLLBACK TO SAVEPOINT here")
    session.commit()
    session.close()
    found = count("operation = 'UPDATE'") - before
    return f"{found} records" if found else ""


def quoted() -> str:
    session = connect()
    try:
        session.cursor().execute(
            "UPDATE elevation_requests SET state = 'ACTIVE', credentials_json = %s WHERE id = %s",
            ('"canary"', cases.KEPT),
        )
    except psycopg2.Error as error:
        right = error.pgcode == "23514" and error.diag.constraint_name == "bulwark_four_eyes"
        return "" if right and "canary" not in str(error) else str(error)
    finally:
        session.close()
    return "it was taken"


def too_long() -> str:
    session = connect()
    try:
        session.cursor().execute(
            "UPDATE elevation_requests SET reason = repeat('x', 268435456) WHERE id = %s", (cases.KEPT,)
        )
    except psycopg2.Error:
        kept = superuser()
        with kept:
            size = kept.value("SELECT length(reason) FROM public.elevation_requests WHERE id = %s", [cases.KEPT])
        return "" if size < 100 else "the change is there"
    finally:
        session.close()
    return "it was taken"


# --- deviations, failures --------------------------------------------------------------------------------------------


def breakages() -> Results:
    results = Results()
    for breakage in cases.BREAKAGES:
        run(named(breakage.statements))
        found = differing()
        # Found alone: what is named, and nothing else.
        problem = [text for text in found if not text.startswith(breakage.found)]
        problem += [text for text in breakage.found if not any(entry.startswith(text) for entry in found)]
        if breakage.undo == cases.REPAIR:
            with contextlib.suppress(postgresql_server.Refused):
                install()
        else:
            run(named(breakage.undo))
        left = differing()
        results.add(f"{breakage.name}: found alone", problem)
        results.add(f"{breakage.name}: put right", left)
        run("DROP TABLE IF EXISTS public.mine")
    changed = cases.arguments()["tables"]
    changed[0]["hidden"] = ["credentials_json"]
    found = differing(tables=changed)
    results.add(
        "other arguments: found", "" if len(found) == 1 and found[0].startswith(cases.RECORD_FUNCTION) else found
    )
    for name, statement in cases.BEHIND.items():
        results.add(f"{name}: no false alarm before", differing(compare_rows=True))
        run(f"ALTER TABLE policies DISABLE TRIGGER bulwark_record; {statement};"
            " ALTER TABLE policies ENABLE ALWAYS TRIGGER bulwark_record")  # fmt: skip
        found = differing(compare_rows=True)
        right = len(found) == 1 and found[0].startswith("rows of public.policies: 1 not as their newest record")
        results.add(f"{name}: found", "" if right else found)
        with superuser() as server:
            change.install(server, policy(), 10, False, baseline=True)
    return results


def objects() -> str:
    """Return all of the catalogue that an installation could leave half done."""
    with superuser() as server:
        return str(
            server.rows(
                "SELECT 'p', oid::regprocedure::text, xmin::text FROM pg_proc WHERE oid >= 16384 UNION ALL"
                " SELECT 't', tgname || tgrelid::text, xmin::text FROM pg_trigger UNION ALL"
                " SELECT 'k', conname || conrelid::text, xmin::text FROM pg_constraint WHERE oid >= 16384 UNION ALL"
                " SELECT 'e', evtname, xmin::text FROM pg_event_trigger UNION ALL"
                " SELECT 'r', rolname, '' FROM pg_roles UNION ALL"
                " SELECT 'n', nspname, '' FROM pg_namespace WHERE nspname !~ '^pg_' UNION ALL"
                " SELECT 'c', relname, relacl::text FROM pg_class WHERE relnamespace = to_regnamespace('bulwark_audit')"
                " ORDER BY 1, 2"
            )
        )


@contextlib.contextmanager
def done(do: str, undo: str) -> Iterator[None]:
    run(do)
    try:
        yield
    finally:
        run(undo)


@contextlib.contextmanager
def locked(statement: str) -> Iterator[None]:
    with superuser() as server, server.transaction():
        server.rows(statement)
        yield


def failures() -> Results:
    """What cannot be installed is refused in one sentence, and nothing is half done."""
    results = Results()
    tables, guards = cases.arguments()["tables"], cases.arguments()["guards"]
    others = {role: f"other_{role}" for role in ("owner_role", "writer_role", "reader_role")}
    fresh: dict[str, Any] = {"log_schema": "other_audit", **others}

    def guard(**more: Any) -> dict[str, Any]:
        return {"guards": [*guards, {"name": "more", "table": "policies", **more}]}

    def table(**more: Any) -> dict[str, Any]:
        return {"tables": [*tables, {"key": "id", **more}]}

    plain = contextlib.nullcontext
    attempts: list[tuple[str, str, Any, dict[str, Any]]] = [
        ("no such table", "table public.nowhere: nothing", plain(), table(name="nowhere")),
        ("a view", "not a plain table", done("CREATE VIEW seen AS SELECT 1 AS id", "DROP VIEW seen"),
         table(name="seen")),
        ("a partitioned table", "not a plain table",
         done("CREATE TABLE parts (id int) PARTITION BY LIST (id)", "DROP TABLE parts"), table(name="parts")),
        ("an unlogged table", "not permanent", done("CREATE UNLOGGED TABLE fast (id int)", "DROP TABLE fast"),
         table(name="fast")),
        ("a table with children", "children",
         done("CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent)", "DROP TABLE parent CASCADE"),
         table(name="parent")),
        ("no such column", "columns missing in public.policies: secret",
         plain(), {"tables": [tables[0], {"name": "policies", "key": "name", "hidden": ["secret"]}, *tables[2:]]}),
        ("a cast to json", "casts to json: public.request_state",
         done(f"{cases.CAST[0]}; {cases.CAST[1]}", "DROP FUNCTION evil(request_state) CASCADE"), guard(check="true")),
        ("a condition that names no column", "nowhere", plain(), guard(check="NEW.nowhere = 1")),
        ("a condition that is no SQL", "syntax error", plain(), guard(check="NEW.rego = = 1")),
        ("a state that does not exist", "invalid input value for enum", plain(),
         {"guards": [*guards, {"name": "more", "table": "elevation_requests", "when": "OLD.state = 'CLOSED'",
                               "set_null": ["approver_comment"]}]}),
        ("a condition with a second statement", "outside of quotes", plain(), guard(check="true; DROP TABLE policies")),
        ("a role that can log in", "attributes of role other_owner_role: LOGIN",
         done("CREATE ROLE other_owner_role LOGIN", "DROP ROLE other_owner_role"), fresh),
        ("a role with members", "members of role other_owner_role",
         done(f"CREATE ROLE other_owner_role; GRANT other_owner_role TO {cases.RUNTIME}", "DROP ROLE other_owner_role"),
         fresh),
        ("a schema with another table in it", "columns of other_audit.transition",
         done("CREATE SCHEMA other_audit CREATE TABLE transition (a int)", "DROP SCHEMA other_audit CASCADE"), fresh),
        ("a schema with something else in it", "function other_audit.more",
         done("CREATE SCHEMA other_audit; CREATE FUNCTION other_audit.more() RETURNS int LANGUAGE sql AS 'SELECT 1';"
              " CREATE VIEW other_audit.uses AS SELECT other_audit.more() AS a", "DROP SCHEMA other_audit CASCADE"),
         {**fresh, "lock_timeout": 1}),
        ("the same role twice", "three different roles", plain(), {"writer_role": "bulwark_audit"}),
        ("a table of the log", "part of the log itself", plain(), table(schema="bulwark_audit", name="transition")),
        ("a locked table", "held by process", locked("LOCK TABLE public.policies IN ROW EXCLUSIVE MODE"),
         guard(check="true")),
        ("a locked catalogue", "held by process", locked("LOCK TABLE pg_cast IN ROW EXCLUSIVE MODE"),
         guard(check="true")),
        ("a server that takes no changes", "read-only transaction",
         done(f"ALTER DATABASE {cases.DATABASE} SET default_transaction_read_only = on",
              f"ALTER DATABASE {cases.DATABASE} RESET default_transaction_read_only"), guard(check="true")),
    ]  # fmt: skip
    for name, words, circumstances, wish in attempts:
        with circumstances:
            before = objects()
            results.add(name, attempt(words, wish) or ("something has changed" if objects() != before else ""))
    results.add("an installation whose session is ended is done or undone", interrupted())
    results.add("still as installed", differing())
    psql(
        "DROP DATABASE IF EXISTS ascii; CREATE DATABASE ascii TEMPLATE template0 ENCODING SQL_ASCII LOCALE 'C'",
        "postgres",
    )
    results.add("a database that is not UTF8", attempt("SQL_ASCII", {}, "ascii"))
    psql("DROP DATABASE ascii", "postgres")
    results.add("no such database", attempt("does not exist", {}, "nowhere"))
    results.add("nothing to record", attempt("tables is empty", {"tables": [], "guards": []}))
    results.add("a log whose disk is full stops the change", full_disk())
    results.add("as installed, with room again", differing())
    signal_file = Path(f"/var/lib/postgresql/{VERSION}/main/standby.signal")
    signal_file.touch()
    systemctl("restart")
    results.add("a standby", attempt("read-only standby", {}))
    results.add("a standby can be verified", differing())
    signal_file.unlink()
    systemctl("restart")
    systemctl("stop")
    results.add("a server that is down", attempt("no session", {}))
    systemctl("start")
    return results


def full_disk() -> str:
    """Change a row until its records find no more room; return what was committed without one, or was not stopped."""
    place = Path("/mnt/small")
    place.mkdir(exist_ok=True)
    with superuser() as server:
        size = int(server.value(f"SELECT pg_table_size('{cases.LOG}')"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={(size >> 20) + 3}m", "tmpfs", str(place)], check=True)
    shutil.chown(place, "postgres", "postgres")
    request = (
        "INSERT INTO elevation_requests (id, requester_identity, provider, role, duration_seconds, reason)"
        " VALUES ('full', 'a@example.org', 'aws', 'admin', 60, '0')"
    )
    committed, said = 0, ""
    # A tablespace is made outside of a transaction.
    psql(f"CREATE TABLESPACE small LOCATION '{place}'; ALTER TABLE {cases.LOG} SET TABLESPACE small")
    try:
        with contextlib.closing(connect()) as session, session.cursor() as cursor:
            cursor.execute(request)
            while committed < 20_000:
                cursor.execute(
                    "UPDATE elevation_requests SET approver_comment = %s, updated_at = now() WHERE id = 'full'",
                    (f"{committed + 1} {'x' * 400}",),
                )
                committed += 1
    except psycopg2.Error as error:
        said = str(error)
    finally:
        psql(f"ALTER TABLE {cases.LOG} SET TABLESPACE pg_default; DROP TABLESPACE small")
        subprocess.run(["umount", str(place)], check=True)
    with superuser() as server:
        comment = server.value("SELECT approver_comment FROM public.elevation_requests WHERE id = 'full'")
    records = count("key = 'full'")
    if "No space left on device" not in said:
        return f"after {committed} changes the disk was not full: {said}"
    if (int(comment.split()[0]), records) != (committed, committed + 1):
        return f"{committed} changes came to their end, the row says {comment[:8]}, and there are {records} records"
    return ""


def interrupted() -> str:
    """End the session of installations at various moments; return what was left half done, or that none was ended."""
    ended = 0
    for milliseconds in range(2, 62, 4):
        before = objects()
        guards = [*cases.arguments()["guards"], {"name": "more", "table": "policies", "check": f"{milliseconds} > 0"}]
        timer = threading.Timer(milliseconds / 1000, end_backend, ["postgres", "the tests"])
        timer.start()
        try:
            install(guards=guards)
        except postgresql_server.Refused:
            ended += 1
        timer.join()
        if objects() != before and differing(guards=guards):
            return f"after {milliseconds} ms: {differing(guards=guards)}"
    install()
    return "" if ended else "no session was ended in time"


def attempt(words: str, wish: dict[str, Any], database: str = cases.DATABASE) -> str:
    """Return what is wrong about how an installation is refused; empty if it is as it should be."""
    try:
        with superuser(database) as server:
            change.install(server, policy(**{k: v for k, v in wish.items() if k != "lock_timeout"}), 1, False)
    except postgresql_server.Refused as refusal:
        text = str(refusal)
        return "" if words in text and "\n" not in text else text
    return "it was installed"


# --- cost ------------------------------------------------------------------------------------------------------------


def cost(pairs: int, size: int) -> Results:
    """Compare blocks of transitions with and without the triggers, in turn.

    A transition is a transaction of its own, as a client does it, over TCP and TLS: BEGIN, SELECT ... FOR UPDATE,
    UPDATE, COMMIT. A commit is only durable if the disk has it, and fdatasync() in a disposable host may return before
    that; so the WAL is written with O_DSYNC, which waits. The figure with fdatasync is for comparison.
    """
    results = Results()
    rounds: dict[str, list[tuple[float, float]]] = {}
    for method in ("open_datasync", "fdatasync"):
        with superuser() as server:
            server.rows(f"ALTER SYSTEM SET wal_sync_method = '{method}'")
            server.rows("SELECT pg_reload_conf()")
            server.rows("CHECKPOINT")
        time.sleep(0.2)
        session = connect()
        cursor = session.cursor()
        cursor.execute("SELECT id FROM elevation_requests ORDER BY id LIMIT 50")
        names = [row[0] for row in cursor.fetchall()]
        block(cursor, names, size)
        for number in range(pairs):
            spent = {}
            for enabled in (number % 2 == 0, number % 2 == 1):
                psql(
                    f"ALTER TABLE elevation_requests {'ENABLE ALWAYS' if enabled else 'DISABLE'} TRIGGER bulwark_record"
                )
                block(cursor, names, 20)
                spent[enabled] = block(cursor, names, size)
            rounds.setdefault(method, []).append((spent[True], spent[False]))
        session.close()
    with superuser() as server:
        server.rows("ALTER SYSTEM RESET wal_sync_method")
        server.rows("SELECT pg_reload_conf()")
    install()
    for method, spent_pairs in rounds.items():
        results.figures[method] = {
            "ratio": round(statistics.median(on / off for on, off in spent_pairs), 3),
            "with, µs": round(statistics.median(on for on, _off in spent_pairs) * 1e6),
            "without, µs": round(statistics.median(off for _on, off in spent_pairs) * 1e6),
        }
    ratio = results.figures["open_datasync"]["ratio"]
    results.add(
        "a durable transition costs at most 1.30 of what it costs without the log", "" if ratio <= 1.3 else ratio
    )
    return results


def block(cursor: Any, names: Sequence[str], size: int) -> float:
    """Return the seconds for one transition, of a block of them."""
    start = time.perf_counter()
    for number in range(size):
        name = names[number % len(names)]
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM elevation_requests WHERE id = %s FOR UPDATE", (name,))
        cursor.fetchall()
        cursor.execute(
            "UPDATE elevation_requests SET state = %s, approver_identity = %s, approver_comment = %s,"
            " updated_at = now() WHERE id = %s",
            (STATES[number % len(STATES)], f"bert{number}@example.com", "approved", name),
        )
        cursor.execute("COMMIT")
    return (time.perf_counter() - start) / size


PARTS: dict[str, Callable[..., Results]] = {
    "records": records, "load": under_load, "attacks": attacks, "breakages": breakages, "failures": failures,
    "cost": cost,
}  # fmt: skip


def main() -> None:
    prepare()
    results = PARTS[sys.argv[1]](**json.loads(sys.argv[2]))
    print(json.dumps({"cases": results.cases, "figures": results.figures}))


if __name__ == "__main__":
    main()
