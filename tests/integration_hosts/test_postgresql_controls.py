# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls of roles, privileges, audit tables and guards on PostgreSQL 15 and 17: each breakage fails its own alone.

Makes its own disposable hosts (root on Linux).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from ansible_collections.bulwark.hardening.plugins.plugin_utils import catalogue
from tests.integration_hosts.postgresql_cluster import Cluster, clusters

ROOT = Path(__file__).resolve().parents[2]
OBSERVED = ("PG-02", "PG-03", "PG-04", "AUD-03", "JIT-06")
TABLES = (ROOT / "tests/postgresql/statements/jitsudo.sql").read_text("utf-8")
LOG = yaml.safe_load((ROOT / "roles/postgresql/transition_logs/jitsudo.yml").read_text("utf-8"))
# Written by hand, so that nothing of the product decides what is sound.
ROLES = """
CREATE ROLE jitsudo_owner;
CREATE ROLE jitsudo_app;
CREATE ROLE jitsudo_app_1 LOGIN IN ROLE jitsudo_app;
CREATE DATABASE jitsudo OWNER jitsudo_owner TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE jitsudo FROM PUBLIC;
GRANT CONNECT ON DATABASE jitsudo TO jitsudo_app;
"""
GRANTS = """
RESET ROLE;
GRANT SELECT, INSERT ON audit_events TO jitsudo_app;
GRANT SELECT, INSERT, UPDATE ON elevation_requests TO jitsudo_app;
"""
APPROVED = """
INSERT INTO elevation_requests (id, state, requester_identity, provider, role, duration_seconds, approver_identity,
 updated_at) VALUES ('lying', 'APPROVED', 'a@example.org', 'aws', 'admin', 60, 'b@example.org', now() - interval '1 h')
"""
# What breaks a control and nothing else, and what mends that; statements in the database of the service.
BREAKAGES = [
    ("PG-02", "GRANT SELECT ON policies TO jitsudo_app_1", "REVOKE SELECT ON policies FROM jitsudo_app_1"),
    (
        "PG-02",
        "GRANT SELECT (name) ON policies TO jitsudo_app_1",
        "REVOKE SELECT (name) ON policies FROM jitsudo_app_1",
    ),
    ("PG-02", "CREATE SCHEMA private AUTHORIZATION jitsudo_app_1", "DROP SCHEMA private"),
    ("PG-03", "GRANT SELECT ON policies TO PUBLIC", "REVOKE SELECT ON policies FROM PUBLIC"),
    ("PG-03", "GRANT CREATE ON SCHEMA public TO PUBLIC", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"),
    ("PG-03", "GRANT TEMPORARY ON DATABASE jitsudo TO PUBLIC", "REVOKE TEMPORARY ON DATABASE jitsudo FROM PUBLIC"),
    ("PG-03", "ALTER ROLE jitsudo_app_1 CREATEDB", "ALTER ROLE jitsudo_app_1 NOCREATEDB"),
    ("PG-03", "GRANT pg_execute_server_program TO jitsudo_app", "REVOKE pg_execute_server_program FROM jitsudo_app"),
    ("PG-04", "GRANT DELETE ON audit_events TO jitsudo_app", "REVOKE DELETE ON audit_events FROM jitsudo_app"),
    (
        "PG-04",
        "GRANT UPDATE (outcome) ON audit_events TO jitsudo_app",
        "REVOKE UPDATE (outcome) ON audit_events FROM jitsudo_app",
    ),
    ("PG-04", "GRANT jitsudo_owner TO jitsudo_app", "REVOKE jitsudo_owner FROM jitsudo_app"),
    (
        "PG-04",
        "CREATE RULE swallow AS ON INSERT TO audit_events DO INSTEAD NOTHING",
        "DROP RULE swallow ON audit_events",
    ),
    (
        "AUD-03",
        "ALTER TABLE elevation_requests DISABLE TRIGGER bulwark_record",
        "ALTER TABLE elevation_requests ENABLE ALWAYS TRIGGER bulwark_record",
    ),
    (
        "AUD-03",
        "ALTER TABLE elevation_requests ENABLE TRIGGER bulwark_record",
        "ALTER TABLE elevation_requests ENABLE ALWAYS TRIGGER bulwark_record",
    ),
    (
        "AUD-03",
        "ALTER EVENT TRIGGER bulwark_record_drop DISABLE",
        "ALTER EVENT TRIGGER bulwark_record_drop ENABLE ALWAYS",
    ),
    (
        "JIT-06",
        "ALTER TABLE elevation_requests DISABLE TRIGGER bulwark_four_eyes",
        "ALTER TABLE elevation_requests ENABLE ALWAYS TRIGGER bulwark_four_eyes",
    ),
    ("JIT-06", APPROVED, "UPDATE elevation_requests SET state = 'EXPIRED' WHERE id = 'lying'"),
]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root")


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Cluster]]:
    with clusters("pg-controls") as found:
        yield list(found.values())


def verdicts(cluster: Cluster) -> dict[str, str]:
    rows = [row for row in catalogue.load() if row.role == "postgresql" and row.id in OBSERVED]
    controls = [{"id": row.id, "title": row.title, "readers": list(row.check)} for row in rows]
    done = cluster.module("controls", {"controls": controls})
    return {entry["id"]: entry["verdict"] for entry in done["controls"]}


def test_each_breakage_fails_its_own_control_alone(hosts: list[Cluster]) -> None:
    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(controls_fail_alone, hosts))


def controls_fail_alone(cluster: Cluster) -> None:
    without_service = verdicts(cluster)
    assert without_service["PG-04"] == without_service["AUD-03"] == without_service["JIT-06"] == "not_applicable"
    cluster.sql(ROLES)
    cluster.sql(f"SET ROLE jitsudo_owner;\n{TABLES}\n{GRANTS}", "jitsudo")
    # Without log, guards and timer.
    assert verdicts(cluster) == {"PG-02": "pass", "PG-03": "pass", "PG-04": "fail", "AUD-03": "fail", "JIT-06": "fail"}
    cluster.module("postgresql_transition_log", {"database": "jitsudo", **LOG})
    cluster.module("postgresql_proof", {"transition_logs": [{"database": "jitsudo", **LOG}]})
    sound = dict.fromkeys(OBSERVED, "pass")
    assert verdicts(cluster) == sound
    for control, spoil, mend in BREAKAGES:
        cluster.sql(spoil, "jitsudo")
        try:
            assert verdicts(cluster) == {**sound, control: "fail"}, spoil
        finally:
            cluster.sql(mend, "jitsudo")
    cluster.shell("systemctl stop bulwark-postgresql-proof.timer")
    assert verdicts(cluster) == {**sound, "PG-04": "fail"}
    cluster.shell("systemctl start bulwark-postgresql-proof.timer")
    assert verdicts(cluster) == sound
