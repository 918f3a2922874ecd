# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What migrations and administrators change behind the policy, and what the host says of it."""

from __future__ import annotations

import pytest

from tests.postgresql.seen_from_outside import Database

SERVICE = "bulwark-postgresql-proof.service"
PROGRAM = "/usr/local/sbin/bulwark-postgresql-proof"
OWNER, SUPERUSER = "jitsudo_owner", ""
# By whom, what, how it is taken back, and what is said about it.
DRIFTS = [
    (
        OWNER,
        "GRANT UPDATE ON audit_events TO jitsudo_app",
        "REVOKE UPDATE ON audit_events FROM jitsudo_app",
        "'jitsudo_app' has UPDATE on",
    ),
    (
        OWNER,
        "GRANT DELETE ON audit_events TO PUBLIC",
        "REVOKE DELETE ON audit_events FROM PUBLIC",
        "REVOKE DELETE ON TABLE",
    ),
    (OWNER, "CREATE TABLE later (a int)", "DROP TABLE later", "has no rule in the policy"),
    (
        OWNER,
        "GRANT UPDATE ON SEQUENCE audit_events_id_seq TO jitsudo_app",
        "REVOKE UPDATE ON SEQUENCE audit_events_id_seq FROM jitsudo_app",
        "REVOKE UPDATE ON SEQUENCE",
    ),
    (
        SUPERUSER,
        "ALTER TABLE audit_events OWNER TO inventory_app",
        "ALTER TABLE audit_events OWNER TO jitsudo_owner",
        'OWNER TO "jitsudo_owner"',
    ),
    (SUPERUSER, "GRANT jitsudo_owner TO jitsudo_app", "REVOKE jitsudo_owner FROM jitsudo_app", "jitsudo_owner"),
    (SUPERUSER, "ALTER ROLE jitsudo_app CREATEROLE", "ALTER ROLE jitsudo_app NOCREATEROLE", "NOCREATEROLE"),
    (
        SUPERUSER,
        "ALTER TABLE elevation_requests DISABLE TRIGGER bulwark_record",
        "ALTER TABLE elevation_requests ENABLE ALWAYS TRIGGER bulwark_record",
        "trigger bulwark_record",
    ),
    (
        SUPERUSER,
        "ALTER EVENT TRIGGER bulwark_record_ddl DISABLE",
        "ALTER EVENT TRIGGER bulwark_record_ddl ENABLE ALWAYS",
        "event trigger",
    ),
]


def told(database: Database) -> str:
    """Return what the service says, as errors in the journal; nothing if it is content."""
    host = database.scenario.host(database.server)
    mark = host.check_output("date +%s.%N")
    done = host.run(f"systemctl start {SERVICE}")
    said = host.check_output(f"journalctl -q -p err _SYSTEMD_UNIT={SERVICE} --since @{mark} -o cat")
    assert bool(said) == (done.rc != 0), done.stderr
    assert host.run(PROGRAM).rc == (1 if said else 0)
    return str(said)


def test_what_is_changed_behind_the_policy_is_told_and_only_while_it_is_so(database: Database) -> None:
    assert told(database) == ""
    for role, change, undo, words in DRIFTS:
        for sql in (change, undo):
            if role:
                done = database.run("administrator", role, sql)
                assert done.rc == 0, done.stderr
            else:
                database.on_host(sql, "jitsudo")
            said = told(database)
            assert (words in said) == (sql == change), (sql, said)
        assert said == "", undo


def test_a_new_column_keeps_the_properties(database: Database) -> None:
    assert database.run("administrator", OWNER, "ALTER TABLE audit_events ADD COLUMN more text").rc == 0
    try:
        assert told(database) == ""
        for sql in ("UPDATE audit_events SET more = 'x'", "INSERT INTO audit_events (more) VALUES ('x')"):
            database.refused("client", "jitsudo_app", "permission denied", sql=sql)
    finally:
        assert database.run("administrator", OWNER, "ALTER TABLE audit_events DROP COLUMN more").rc == 0


def test_a_server_that_cannot_be_asked_is_no_good_news(database: Database) -> None:
    host = database.scenario.host(database.server)
    host.check_output("mv /etc/bulwark/postgresql/proof.json /root/")
    try:
        assert host.run(PROGRAM).rc == 2
    finally:
        host.check_output("mv /root/proof.json /etc/bulwark/postgresql/")
    assert host.run(PROGRAM).rc == 0


@pytest.mark.parametrize("secret", ["runtime-of-jitsudo", "SCRAM-SHA-256"])
def test_what_the_host_keeps_has_no_secret(database: Database, secret: str) -> None:
    host = database.scenario.host(database.server)
    assert host.run(f"grep -r -- '{secret}' /etc/bulwark/postgresql {PROGRAM.rpartition('/')[0]}/*proof.json").rc != 0
    assert host.check_output("stat -c %a /etc/bulwark/postgresql/proof.json") == "600"
