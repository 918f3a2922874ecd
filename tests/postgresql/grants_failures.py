# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host with a cluster, beside the package `postgresql`: what must be refused, and must leave all as it was.

Prints one line of JSON for each case: its name, and what is wrong with it, if anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import typing as t
from collections.abc import Callable, Iterator

from postgresql import server as server_module
from postgresql.grants import change, model
from postgresql.server import Place, Refused, Server

from tests.postgresql.grants_driver import PLACE, run, state

DATABASE = "failing"
Wish = dict[str, t.Any]
CASES: dict[str, Callable[[], t.ContextManager[tuple[t.Any, ...]]]] = {}
UNIT = f"postgresql@{next(pathlib.Path('/etc/postgresql').iterdir()).name}-main.service"


def case(function: t.Any) -> t.Any:
    CASES[function.__name__.replace("_", " ")] = contextlib.contextmanager(function)
    return function


def wish(tables: t.Sequence[Wish] = (), roles: t.Sequence[Wish] = (), **database: t.Any) -> Wish:
    """Return a wish that changes something: a new role, and who owns the table `data`."""
    schema = {"name": "public", "tables": list(tables), "objects_owner": "f_owner"}
    return {
        "roles": [{"name": "f_owner"}, {"name": "f_app", "login": True}, {"name": "f_new"}, *roles],
        "databases": [{"name": DATABASE, "schemas": [schema], **database}],
    }


def audited(*roles: Wish, privileges: t.Sequence[str] = ("SELECT", "INSERT"), to: str = "f_app", **rule: t.Any) -> Wish:
    grants = [{"roles": [to], "privileges": list(privileges), **rule}]
    made = wish([{"names": ["data"], "append_only": True, "grants": grants}])
    made["roles"] = [*(role for role in made["roles"] if role["name"] not in [r["name"] for r in roles]), *roles]
    return made


@contextlib.contextmanager
def sql(before: str, after: str = "SELECT 1", database: str = DATABASE) -> Iterator[None]:
    """Have something in the cluster for the time of a case."""
    with Server(PLACE, database) as server:
        run(server, before)
        try:
            yield
        finally:
            run(server, "ROLLBACK; " + after)


@contextlib.contextmanager
def unit(*arguments: str) -> Iterator[None]:
    subprocess.run(["systemctl", *arguments, UNIT], check=True)
    try:
        yield
    finally:
        subprocess.run(["systemctl", "start", UNIT], check=True)


@case
def the_server_is_down() -> Iterator[tuple[t.Any, ...]]:
    with unit("stop"):
        yield wish(), "no session at /var/run/postgresql/.s.PGSQL.5432 for the role 'postgres'"


@case
def nothing_listens_on_the_port() -> Iterator[tuple[t.Any, ...]]:
    yield wish(), "no session at /var/run/postgresql/.s.PGSQL.5999", Place(port=5999)


@case
def the_socket_is_elsewhere() -> Iterator[tuple[t.Any, ...]]:
    yield wish(), "no session at /nowhere/.s.PGSQL.5432", Place(socket_directory="/nowhere")


@case
def the_system_user_is_unknown() -> Iterator[tuple[t.Any, ...]]:
    yield wish(), "system_user is 'nobody-here', and no user of this host", Place(system_user="nobody-here")


@case
def the_role_of_the_session_is_no_superuser() -> Iterator[tuple[t.Any, ...]]:
    with sql("CREATE ROLE games LOGIN", "DROP ROLE games"):
        yield wish(), "the role 'games'", Place(system_user="games")


@case
def psycopg2_is_missing() -> Iterator[tuple[t.Any, ...]]:
    found, server_module.psycopg2 = server_module.psycopg2, None
    try:
        yield wish(), "install the package python3-psycopg2"
    finally:
        server_module.psycopg2 = found


@case
def a_standby_is_asked_to_change() -> Iterator[tuple[t.Any, ...]]:
    with Server(PLACE) as server:
        signal = pathlib.Path(str(server.value("SHOW data_directory")), "standby.signal")
    signal.touch()
    os.chown(signal, signal.parent.stat().st_uid, signal.parent.stat().st_gid)
    subprocess.run(["systemctl", "restart", UNIT], check=True)
    try:
        yield wish(), "is a read-only standby; run this on its primary"
    finally:
        signal.unlink()
        subprocess.run(["systemctl", "restart", UNIT], check=True)


@case
def somebody_locks_the_catalogue() -> Iterator[tuple[t.Any, ...]]:
    with sql("BEGIN; LOCK TABLE pg_default_acl IN ACCESS EXCLUSIVE MODE"):
        yield wish(), "another session has held a lock for more than 1 s"


@case
def somebody_locks_the_table() -> Iterator[tuple[t.Any, ...]]:
    with sql("BEGIN; LOCK TABLE public.data IN ACCESS SHARE MODE"):
        yield wish(), "another session has held a lock for more than 1 s"


@case
def the_session_is_ended_from_outside() -> Iterator[tuple[t.Any, ...]]:
    def end() -> None:
        with Server(PLACE) as other:
            for _attempt in range(200):
                ended = other.rows(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND application_name = 'bulwark grants'"
                )
                if ended:
                    return
                time.sleep(0.02)

    with sql("BEGIN; LOCK TABLE public.data IN ACCESS SHARE MODE"):
        helper = threading.Thread(target=end)
        helper.start()
        yield wish(), "the connection broke, so run this again", PLACE, 30
        helper.join()


@case
def the_database_takes_no_connections() -> Iterator[tuple[t.Any, ...]]:
    with sql(
        "ALTER DATABASE failing ALLOW_CONNECTIONS false", "ALTER DATABASE failing ALLOW_CONNECTIONS true", "postgres"
    ):
        yield wish(), 'database "failing" is not currently accepting connections'


@case
def an_event_trigger_refuses_grants() -> Iterator[tuple[t.Any, ...]]:
    function = "CREATE FUNCTION public.no() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''not today''; END'"
    trigger = "CREATE EVENT TRIGGER no ON ddl_command_start EXECUTE FUNCTION public.no()"
    with sql(f"{function}; {trigger}", "DROP EVENT TRIGGER no; DROP FUNCTION public.no()"):
        yield wish(), "not today"


@case
def the_disk_is_full() -> Iterator[tuple[t.Any, ...]]:
    place = pathlib.Path("/mnt/small")
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=0777", "tmpfs", str(place)], check=True)
    shutil.chown(place, "postgres", "postgres")
    many = [f"f_many_{number}" for number in range(40)]
    try:
        with Server(PLACE) as server:
            run(server, f"CREATE TABLESPACE small LOCATION '{place}'")
            run(server, "CREATE DATABASE full_disk TABLESPACE small TEMPLATE template0")
        with Server(PLACE, "full_disk") as server:
            run(server, *[f"CREATE TABLE public.t{number} ()" for number in range(120)])
            run(server, *[f"CREATE ROLE {role}" for role in many], "CREATE TABLE public.fill (x text)")
            text = "INSERT INTO public.fill SELECT repeat(md5(random()::text), 60) FROM generate_series(1, %s)"
            for size in (100000, 3000, 300, 10, 1, 1):
                with contextlib.suppress(Refused):
                    while True:
                        server.rows(text, [size])
        grants = [{"roles": many, "privileges": ["SELECT"]}]
        schema = {"name": "public", "tables": [{"names": ["*"], "grants": grants}]}
        yield {"databases": [{"name": "full_disk", "schemas": [schema]}]}, "No space left on device"
    finally:
        with Server(PLACE) as server:
            run(server, "DROP DATABASE IF EXISTS full_disk WITH (FORCE)", "DROP TABLESPACE IF EXISTS small")
            run(server, *[f"DROP ROLE IF EXISTS {role}" for role in many])
        subprocess.run(["umount", str(place)], check=True)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _pretend(listener: socket.socket) -> None:
    """Answer one session as CockroachDB answers the question for its version."""
    session, _address = listener.accept()
    with session:
        session.recv(4096)
        ready = _message(b"Z", b"I")
        told = {
            "server_version": "13.0.0",
            "client_encoding": "UTF8",
            "server_encoding": "UTF8",
            "DateStyle": "ISO, MDY",
        }
        told |= {"standard_conforming_strings": "on", "integer_datetimes": "on", "TimeZone": "UTC"}
        said = b"".join(_message(b"S", f"{name}\0{value}\0".encode()) for name, value in told.items())
        session.sendall(_message(b"R", struct.pack("!i", 0)) + said + ready)
        words = b"CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu)"
        row = b"version\0" + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0)
        value = struct.pack("!hi", 1, len(words)) + words
        while session.recv(4096)[:1] == b"Q":
            answer = _message(b"T", struct.pack("!h", 1) + row) + _message(b"D", value) + _message(b"C", b"SELECT 1\0")
            session.sendall(answer + ready)


@case
def the_server_is_cockroachdb() -> Iterator[tuple[t.Any, ...]]:
    name = pathlib.Path("/tmp/cockroach/.s.PGSQL.26257")
    name.parent.mkdir(exist_ok=True)
    name.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(name))
        shutil.chown(name, "postgres")
        listener.listen()
        threading.Thread(target=_pretend, args=[listener], daemon=True).start()
        yield wish(), "is CockroachDB, not PostgreSQL", Place("/tmp/cockroach", 26257)


@case
def a_table_does_not_exist() -> Iterator[tuple[t.Any, ...]]:
    yield wish([{"names": ["nothing"]}]), 'database \'failing\' has no table "public"."nothing"; create them first'


@case
def a_column_does_not_exist() -> Iterator[tuple[t.Any, ...]]:
    grants = [{"roles": ["f_app"], "privileges": ["SELECT"], "columns": ["none"]}]
    yield wish([{"names": ["data"], "grants": grants}]), 'has no column "none" of "public"."data"'


@case
def a_schema_does_not_exist() -> Iterator[tuple[t.Any, ...]]:
    yield wish(schemas=[{"name": "nowhere"}]), "database 'failing' has no schema \"nowhere\""


@case
def a_database_does_not_exist() -> Iterator[tuple[t.Any, ...]]:
    made = wish()
    made["databases"].append({"name": "nowhere"})
    yield made, "there is no database 'nowhere'; give it an owner, and it is made"


@case
def a_role_does_not_exist() -> Iterator[tuple[t.Any, ...]]:
    grants = [{"roles": ["f_nobody"], "privileges": ["SELECT"]}]
    yield wish([{"names": ["*"], "grants": grants}]), "the role 'f_nobody' of a grant does not exist; add it to roles"


@case
def the_role_is_the_administrator() -> Iterator[tuple[t.Any, ...]]:
    yield wish(roles=[{"name": "postgres"}]), "'postgres' is the administrator's role, which is never changed"


@case
def the_role_would_be_a_superuser_by_membership() -> Iterator[tuple[t.Any, ...]]:
    yield (
        wish(roles=[{"name": "f_two", "member_of": ["postgres"]}]),
        "'f_two' would be a member of 'postgres', a superuser",
    )


@case
def the_role_is_somebody_elses() -> Iterator[tuple[t.Any, ...]]:
    with sql(
        "CREATE TABLE public.theirs (); ALTER TABLE public.theirs OWNER TO f_owner",
        "DROP TABLE public.theirs",
        "postgres",
    ):
        yield wish(), "'f_owner' owns objects in 'postgres', which the wish does not name"


@case
def the_version_lacks_a_privilege() -> Iterator[tuple[t.Any, ...]]:
    grants = [{"roles": ["f_app"], "privileges": ["MAINTAIN"]}]
    with Server(PLACE) as server:
        newer = server.major >= 17
    # A later PostgreSQL takes it, and the case is another.
    other = {"roles": ["f_nobody"], "privileges": ["MAINTAIN"]}
    yield (
        wish([{"names": ["*"], "grants": [other] if newer else grants}]),
        "'f_nobody' of a grant does not exist"
        if newer
        else "MAINTAIN is wished for 'f_app', and PostgreSQL 15 has it not",
    )


@case
def the_owner_would_be_the_runtime_role() -> Iterator[tuple[t.Any, ...]]:
    made = audited()
    made["databases"][0]["owner"] = "f_app"
    yield made, "'f_app', which works with it, owns the schema 'public'"


@case
def the_runtime_role_is_a_member_of_the_owner() -> Iterator[tuple[t.Any, ...]]:
    member = {"name": "f_app", "login": True, "inherit": False, "member_of": ["f_owner"]}
    yield audited(member), "'f_app', which works with it, is a member of 'f_owner'"


@case
def the_runtime_role_is_a_member_in_two_steps() -> Iterator[tuple[t.Any, ...]]:
    between = {"name": "f_between", "member_of": ["f_owner"]}
    yield (
        audited(between, {"name": "f_app", "member_of": ["f_between"]}),
        "'f_app', which works with it, is a member of",
    )


@case
def the_runtime_role_may_make_roles() -> Iterator[tuple[t.Any, ...]]:
    yield audited({"name": "f_app", "createrole": True}), "'f_app', which works with it, has CREATEROLE"


@case
def the_runtime_role_bypasses_row_security() -> Iterator[tuple[t.Any, ...]]:
    yield audited({"name": "f_app", "bypassrls": True}), "'f_app', which works with it, has BYPASSRLS"


@case
def the_runtime_role_replicates() -> Iterator[tuple[t.Any, ...]]:
    yield audited({"name": "f_app", "replication": True}), "'f_app', which works with it, has REPLICATION"


@case
def rows_could_be_updated() -> Iterator[tuple[t.Any, ...]]:
    yield audited(privileges=["SELECT", "UPDATE"]), "'f_app' would have UPDATE on it; accepted are SELECT, INSERT"


@case
def a_column_could_be_updated() -> Iterator[tuple[t.Any, ...]]:
    yield audited(privileges=["UPDATE"], columns=["x"]), "'f_app' would have UPDATE on it"


@case
def everybody_could_read() -> Iterator[tuple[t.Any, ...]]:
    yield audited(privileges=["SELECT"], to="PUBLIC"), "PUBLIC would have SELECT on it; name roles"


@case
def the_sequence_could_be_set_back() -> Iterator[tuple[t.Any, ...]]:
    made = audited()
    grants = [{"roles": ["f_app"], "privileges": ["USAGE", "UPDATE"]}]
    made["databases"][0]["schemas"][0]["sequences"] = [{"names": ["*"], "grants": grants}]
    yield made, '\'f_app\' would have UPDATE on "public"."data_id_seq", which numbers its rows'


@case
def a_stranger_writes_to_everything() -> Iterator[tuple[t.Any, ...]]:
    with sql("CREATE ROLE f_stranger IN ROLE pg_write_all_data", "DROP ROLE f_stranger"):
        yield audited(), "'f_stranger' is a member of pg_write_all_data, which writes to every append-only table"


@case
def a_stranger_is_a_member_of_the_owner() -> Iterator[tuple[t.Any, ...]]:
    with sql("CREATE ROLE f_stranger IN ROLE f_owner", "DROP ROLE f_stranger"):
        yield audited(), "'f_stranger', which the wish does not know, is a member of 'f_owner'"


def attempt(name: str) -> str:
    """Return what is wrong with the case; empty if it was refused as it should, and nothing has changed."""

    def seen() -> str:
        with Server(PLACE, DATABASE) as server:
            found: str = state(server)
        return found

    with CASES[name]() as (arguments, expected, *rest):
        place = rest[0] if rest else PLACE
        reachable = not any(words in name for words in ("is down", "psycopg2", "no connections", "catalogue"))
        before = seen() if reachable else ""
        try:
            change.converge(place, model.parse(arguments), lock_timeout_seconds=rest[1] if len(rest) > 1 else 1)
        except Refused as error:
            if expected not in str(error):
                return f"it says: {error}"
        else:
            return "it was not refused"
        if reachable and seen() != before:
            return "something has changed"
    return ""


def main() -> None:
    with Server(PLACE) as server:
        run(server, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)", f"CREATE DATABASE {DATABASE}")
        for role in ("f_app", "f_owner"):
            run(server, f"DROP ROLE IF EXISTS {role}", f"CREATE ROLE {role}")
    with Server(PLACE, DATABASE) as server:
        run(server, "CREATE TABLE public.data (id bigserial, x text)")
    for name in CASES if len(sys.argv) < 2 else sys.argv[1:]:
        try:
            wrong = attempt(name)
        except Exception as error:  # whatever is no Refused is what this looks for
            wrong = f"{type(error).__name__}: {error}"
        print(json.dumps([name, wrong]), flush=True)


if __name__ == "__main__":
    main()
