# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL seen from the host of a service, from an administrator's, and from a stranger's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

SERVERS = {"database12": 15, "database13": 17}
WRONG = "not-the-password"
# What each role logs in with, and where to, from which host.
LOGINS = {
    "jitsudo_app": ("runtime-of-jitsudo", "jitsudo", "client"),
    "inventory_app": ("runtime-of-inventory", "inventory", "client"),
    "jitsudo_owner": ("owner-of-jitsudo", "jitsudo", "administrator"),
    "jitsudo_auditor": ("auditor-of-jitsudo", "jitsudo", "administrator"),
    "backup": ("backup-of-all", "jitsudo", "administrator"),
    "responder": ("responder-to-incidents", "postgres", "administrator"),
}
OUTSIDE = ("client", "administrator", "stranger")


@pytest.fixture(params=sorted(SERVERS))
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass(frozen=True)
class Database:
    """A server as other hosts see it."""

    scenario: Any
    server: str

    def run(self, source: str, role: str, sql: str = "SELECT 1", *, database: str = "", **more: str) -> Any:
        """Return what psql on another host says; `more` are options of the connection."""
        password, usual, _home = LOGINS.get(role, (WRONG, "postgres", ""))
        options = {
            "host": self.scenario.address(self.server),
            "dbname": database or usual,
            "user": role,
            "sslmode": "verify-full",
            "sslrootcert": "/root/root.pem",
            "connect_timeout": "10",
            **more,
        }
        secret = options.pop("password", password)
        words = " ".join(f"{name}={value}" for name, value in options.items())
        return self.scenario.host(source).run("PGPASSWORD=%s psql -XqAtw -d %s -c %s", secret, words, sql)

    def refused(self, source: str, role: str, words: str = "", **more: str) -> str:
        done = self.run(source, role, **more)
        assert done.rc != 0, done.stdout
        assert words in done.stderr
        return str(done.stderr)

    def on_host(self, sql: str, database: str = "postgres") -> str:
        command = "runuser -u postgres -- psql -XqAt -v ON_ERROR_STOP=1 -d %s -c %s"
        return str(self.scenario.host(self.server).check_output(command, database, sql))


@pytest.fixture
def database(scenario: Any, server: str) -> Database:
    return Database(scenario, server)


@pytest.mark.parametrize("role", LOGINS)
def test_who_may_log_in_does_so_from_his_host_by_tls_and_password(database: Database, role: str) -> None:
    home = LOGINS[role][2]
    sql = "SELECT current_user, ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    done = database.run(home, role, sql)
    assert done.rc == 0, done.stderr
    assert done.stdout.strip() in {f"{role}|t|TLSv1.3", f"{role}|t|TLSv1.2"}


@pytest.mark.parametrize("role", LOGINS)
def test_nobody_gets_in_with_another_password_without_one_or_without_tls(database: Database, role: str) -> None:
    home = LOGINS[role][2]
    database.refused(home, role, "password authentication failed", password=WRONG)
    database.refused(home, role, "no password supplied", password="")
    database.refused(home, role, "no encryption", sslmode="disable")


@pytest.mark.parametrize("role", LOGINS)
def test_nobody_gets_in_from_another_host_or_into_another_database(database: Database, role: str) -> None:
    _password, usual, home = LOGINS[role]
    for source in set(OUTSIDE) - {home}:
        database.refused(source, role, "no pg_hba.conf entry")
    for other in {"jitsudo", "inventory", "postgres", "template1"} - {usual}:
        database.refused(home, role, "no pg_hba.conf entry", database=other)


@pytest.mark.parametrize("source", OUTSIDE)
def test_no_superuser_gets_in_from_elsewhere(database: Database, source: str) -> None:
    for name in ("postgres", "jitsudo", "template1"):
        database.refused(source, "postgres", "pg_hba.conf rejects connection", database=name)


@pytest.mark.parametrize("source", OUTSIDE)
def test_replication_is_for_nobody_here(database: Database, source: str) -> None:
    done = database.run(source, "jitsudo_app", "IDENTIFY_SYSTEM", replication="true")
    assert done.rc != 0
    assert "no pg_hba.conf entry" in done.stderr


def test_a_server_with_a_certificate_of_another_ca_would_not_be_believed(database: Database) -> None:
    database.refused("client", "jitsudo_app", "certificate verify failed", sslrootcert="/root/unknown.pem")
    database.refused("client", "jitsudo_app", "does not match host name", host="database", hostaddr=database.scenario.address(database.server))


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1.1"])
def test_old_tls_is_refused(database: Database, version: str) -> None:
    """The client's own OpenSSL would not offer it, so its limit is lifted for this."""
    address = database.scenario.address(database.server)
    old = version.lower().replace("tlsv", "tls").replace(".", "_").replace("tls1_", "tls1_")
    said = database.scenario.host("client").run(
        f"openssl s_client -starttls postgres -connect {address}:5432 -{old} -cipher DEFAULT@SECLEVEL=0 </dev/null 2>&1"
    )
    assert said.rc != 0
    assert "protocol version" in said.stdout or "handshake failure" in said.stdout


def test_a_password_that_is_stored_as_md5_lets_nobody_in(database: Database) -> None:
    database.on_host("DROP ROLE IF EXISTS old_fashioned")
    database.on_host(f"CREATE ROLE old_fashioned LOGIN PASSWORD 'md5{'0' * 32}'")
    # Under a name that the rules admit, since it is the password that must not do.
    before = database.on_host("SELECT rolpassword FROM pg_authid WHERE rolname = 'inventory_app'")
    try:
        database.on_host("UPDATE pg_authid SET rolpassword = md.rolpassword FROM pg_authid md WHERE"
                         " md.rolname = 'old_fashioned' AND pg_authid.rolname = 'inventory_app'")  # fmt: skip
        database.refused("client", "inventory_app", "authentication failed")
    finally:
        database.on_host(f"UPDATE pg_authid SET rolpassword = '{before}' WHERE rolname = 'inventory_app'")
        database.on_host("DROP ROLE old_fashioned")
    assert database.run("client", "inventory_app").rc == 0


INSERT = (
    'INSERT INTO audit_events ("timestamp", actor_identity, action, request_id, provider, resource_scope, outcome,'
    " details_json, prev_hash, hash) VALUES (now(), 'a', 'request.created', 'r', 'aws', '', 'ok', '{}', 'h0', 'h1')"
)
DOES = {
    "jitsudo_app": ["SELECT count(*) FROM elevation_requests", "SELECT count(*) FROM audit_events", INSERT],
    "jitsudo_owner": ["CREATE TABLE scratch (a int)", "DROP TABLE scratch"],
    "jitsudo_auditor": ["SELECT count(*) FROM audit_events", "SELECT state FROM elevation_requests"],
    "backup": ["SELECT count(*) FROM elevation_requests", "COPY audit_events TO STDOUT"],
    "responder": ["SELECT count(*) FROM pg_stat_activity"],
    "inventory_app": ["SELECT current_database()"],
}
DOES_NOT = {
    "jitsudo_app": [
        "UPDATE audit_events SET actor_identity = 'x'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "CREATE TABLE mine (a int)",
        "INSERT INTO policies (name) VALUES ('mine')",
        "SET ROLE jitsudo_owner",
        "CREATE TEMPORARY TABLE audit_events (a int)",
    ],
    "jitsudo_owner": ["UPDATE audit_events SET actor_identity = 'x'", "DELETE FROM audit_events", "TRUNCATE audit_events"],
    "jitsudo_auditor": [INSERT, "DELETE FROM audit_events", "SELECT credentials_json FROM elevation_requests"],
    "backup": [INSERT, "DELETE FROM audit_events", "CREATE TABLE mine (a int)"],
    "responder": ["CREATE TABLE mine (a int)", "CREATE DATABASE mine", "SET ROLE postgres"],
    "inventory_app": ["CREATE TABLE mine (a int)", "SET ROLE inventory_owner"],
}


@pytest.mark.parametrize("role", DOES)
def test_each_does_what_it_should(database: Database, role: str) -> None:
    for sql in DOES[role]:
        done = database.run(LOGINS[role][2], role, sql)
        assert done.rc == 0, (sql, done.stderr)


@pytest.mark.parametrize("role", DOES_NOT)
def test_and_nothing_else(database: Database, role: str) -> None:
    for sql in DOES_NOT[role]:
        done = database.run(LOGINS[role][2], role, sql)
        assert done.rc != 0, sql
        # Something in the way, such as a guard of the log, or want of a privilege; but no slip of the statement.
        assert "permission denied" in done.stderr or "append-only" in done.stderr, done.stderr


def test_each_change_is_recorded(database: Database) -> None:
    database.on_host("DELETE FROM elevation_requests WHERE id = 'seen'", "jitsudo")
    insert = (
        "INSERT INTO elevation_requests (id, requester_identity, provider, role, duration_seconds)"
        " VALUES ('seen', 'a@example.org', 'aws', 'admin', 60)"
    )
    assert database.run("client", "jitsudo_app", insert).rc == 0
    seen = database.on_host(
        "SELECT operation, session_user_name, client_address FROM bulwark_audit.transition WHERE row_key = 'seen'"
        " ORDER BY id DESC LIMIT 1",
        "jitsudo",
    )
    assert seen == f"INSERT|jitsudo_app|{database.scenario.address('client')}"


def test_the_server_listens_where_it_is_told_to(database: Database) -> None:
    listening = database.on_host("SELECT string_agg(DISTINCT setting, '') FROM pg_settings WHERE name = 'listen_addresses'")
    assert "*" not in listening
    assert database.scenario.tries("client", database.server, 5432, family=6) in {"refused", "closed"}


def test_a_responder_gets_in_when_all_connections_are_taken(database: Database) -> None:
    """From PostgreSQL 16 on; before, only the superuser on the host does."""
    address = database.scenario.address(database.server)
    program = (
        "import os, subprocess, sys, time\n"
        "options = f'host={sys.argv[1]} sslmode=require connect_timeout=10 '\n"
        "names = [('jitsudo_app', 'jitsudo', 'runtime-of-jitsudo'), ('inventory_app', 'inventory', 'runtime-of-inventory')]\n"
        "held = [subprocess.Popen(['psql', '-XqAtw', f'{options} user={user} dbname={database}'], stdin=subprocess.PIPE,\n"
        "                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, 'PGPASSWORD': secret})\n"
        "        for user, database, secret in names for _number in range(18)]\n"
        "print('held', flush=True); sys.stdin.readline()\n"
        "for process in held: process.kill()\n"
    )
    client = database.scenario.host("client")
    client.check_output("cat > /root/hold.py <<'END'\n%s\nEND" % program)
    client.check_output(f"systemd-run --quiet --unit=hold-{database.server} --property=StandardInput=null"
                        f" sh -c 'sleep 60 | python3 /root/hold.py {address}'")  # fmt: skip
    try:
        full = "remaining connection slots|too many clients|too many connections"
        assert database.scenario.eventually(lambda: _says(database.run("client", "inventory_app"), full))
        assert database.on_host("SELECT 1") == "1"
        if SERVERS[database.server] >= 16:
            assert database.run("administrator", "responder").rc == 0
    finally:
        client.run(f"systemctl stop hold-{database.server}")
    assert database.scenario.eventually(lambda: database.run("client", "inventory_app").rc == 0)


def _says(done: Any, words: str) -> bool:
    return done.rc != 0 and any(word in done.stderr for word in words.split("|"))
