# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PgBouncer before PostgreSQL 15 and 17 on real hosts: who gets in, and what a failure leaves behind.

Makes its own disposable hosts (root on Linux).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration_hosts.postgresql_cluster import Cluster, clusters

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root"),
    pytest.mark.usefixtures("pooled"),
]

PASSWORD, OTHER = "canary-pooled-password", "canary-password-that-is-wrong"
MODULE = "postgresql_pgbouncer"
DIRECTORY = "/etc/pgbouncer"
FILES = f"sha256sum {DIRECTORY}/pgbouncer.ini {DIRECTORY}/userlist.txt"
SETUP = f"""
CREATE ROLE app LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE retired NOLOGIN PASSWORD '{PASSWORD}';
CREATE ROLE expired LOGIN PASSWORD '{PASSWORD}' VALID UNTIL '2001-01-01';
CREATE ROLE keyless LOGIN;
CREATE DATABASE app OWNER app;
SET password_encryption = 'md5';
CREATE ROLE antique LOGIN PASSWORD '{PASSWORD}';
"""
CERTIFICATES = """
set -e
mkdir -p /etc/tls-test && cd /etc/tls-test
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=Test CA" -keyout ca.key -out ca.pem 2>/dev/null
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=Other" -keyout other.key -out other.pem 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout server.key -out server.csr 2>/dev/null
echo "subjectAltName=DNS:localhost,IP:127.0.0.1" > extension
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extension \\
    -out server.pem 2>/dev/null
chown postgres server.key && chmod 0600 server.key && chmod 0755 . && chmod 0644 *.pem
"""
WISH: dict[str, Any] = {
    "databases": [{"name": "app", "pool_size": 5}],
    "users": ["app", "retired", "expired", "keyless"],
    "listen_addresses": ["127.0.0.1"],
    "client_tls_certificate_file": "/etc/tls-test/server.pem",
    "client_tls_key_file": "/etc/tls-test/server.key",
    "probes": [{"user": "app", "database": "app", "password": PASSWORD}],
}
BY_NAME = {
    **WISH,
    "databases": [{"name": "app", "host": "localhost", "port": 5432}],
    "server_tls_ca_file": "/etc/tls-test/ca.pem",
}


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, Cluster]]:
    with clusters("pgbouncer", ["pgbouncer"]) as found:
        yield found


@pytest.fixture(scope="module", params=["debian12", "debian13"])
def cluster(hosts: dict[str, Cluster], request: pytest.FixtureRequest) -> Cluster:
    return hosts[request.param]


@pytest.fixture(scope="module")
def first(cluster: Cluster) -> dict[str, Any]:
    """Converge a host on which PgBouncer does not run, and return what check mode and the task said."""
    cluster.sql(SETUP)
    cluster.script("bash -s", CERTIFICATES)
    cluster.sql(
        "ALTER SYSTEM SET ssl_cert_file = '/etc/tls-test/server.pem';"
        "ALTER SYSTEM SET ssl_key_file = '/etc/tls-test/server.key'; SELECT pg_reload_conf();"
    )
    places = ("local app app", "hostssl app app 127.0.0.1/32", "hostssl app app ::1/128")
    rules = "\\n".join(f"{place} scram-sha-256" for place in places)
    cluster.shell(f"sed -i '1i {rules}' {cluster.configuration}/pg_hba.conf && systemctl reload postgresql")
    cluster.shell("systemctl stop pgbouncer")
    before = cluster.shell(FILES)
    foreseen = cluster.module(MODULE, WISH, "--check")
    assert cluster.shell(FILES) == before
    assert cluster.shell("systemctl is-active pgbouncer", check=False) == "inactive"
    return {"foreseen": foreseen, "done": cluster.module(MODULE, WISH, "--diff", "-vvvv")}


@pytest.fixture(scope="module")
def pooled(first: dict[str, Any]) -> None:
    assert first["done"]["changed"] is True


def psql(cluster: Cluster, statement: str, password: str = PASSWORD, **wishes: str) -> str:
    """Return what a client of PgBouncer sees."""
    words = {"host": "127.0.0.1", "port": "6432", "user": "app", "dbname": "app", "sslmode": "require", **wishes}
    target = " ".join(f"{name}={value}" for name, value in words.items())
    return cluster.shell(f"PGPASSWORD={password} psql -XAtc '{statement}' '{target}' 2>&1", check=False)


def test_first_run(cluster: Cluster, first: dict[str, Any]) -> None:
    assert first["foreseen"]["changed"] is True
    done = first["done"]
    assert (done["users"], done["logins"]) == (["app"], 1)
    assert done["without_login"] == ["retired", "expired", "keyless"]
    again = cluster.module(MODULE, WISH)
    assert (again["changed"], again["logins"]) == (False, 0)
    assert cluster.shell("systemctl is-enabled pgbouncer; systemctl is-active pgbouncer") == "enabled\nactive"
    assert cluster.shell(f"stat -c %a:%U:%G {DIRECTORY}/userlist.txt") == "640:root:postgres"


def test_nothing_secret_is_told(cluster: Cluster, first: dict[str, Any]) -> None:
    verifier = cluster.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")
    for secret in (PASSWORD, verifier, verifier.rpartition(":")[2]):
        assert secret not in first["done"]["words"]
    logs = f"journalctl --no-pager | grep -c {PASSWORD}; grep -c {PASSWORD} {cluster.log} /var/log/postgresql/pgb*.log"
    assert {line.rpartition(":")[2] for line in cluster.shell(logs, check=False).splitlines()} == {"0"}


def test_clients(cluster: Cluster) -> None:
    assert psql(cluster, "SELECT current_user") == "app"
    assert psql(cluster, "SELECT current_user", sslrootcert="/etc/tls-test/ca.pem", sslmode="verify-full") == "app"
    refused = {
        "SSL required": psql(cluster, "SELECT 1", sslmode="disable"),
        "certificate verify failed": psql(
            cluster, "SELECT 1", sslrootcert="/etc/tls-test/other.pem", sslmode="verify-full"
        ),
        "auth": psql(cluster, "SELECT 1", OTHER),
        "no such database": psql(cluster, "SELECT 1", dbname="postgres"),
    }
    assert {words: words in said for words, said in refused.items()} == dict.fromkeys(refused, True), refused
    for user in ("retired", "expired", "keyless", "postgres", "antique", "stranger"):
        assert "FATAL" in psql(cluster, "SELECT 1", user=user), user
    assert "FATAL" in psql(cluster, "SHOW CONFIG", dbname="pgbouncer")


def test_limit_of_the_pool(cluster: Cluster) -> None:
    """More clients than sessions of the server wait instead of opening more."""
    target = "host=127.0.0.1 port=6432 user=app dbname=app sslmode=require"
    command = f"PGPASSWORD={PASSWORD} psql -XAtc 'SELECT pg_backend_pid(), pg_sleep(0.5)' '{target}'"
    found = cluster.shell(f"for i in 1 2 3 4 5 6 7 8 9 10; do {command} & done; wait").splitlines()
    assert len(found) == 10
    assert len(set(found)) <= 5


def test_server_by_name_has_to_prove_it(cluster: Cluster) -> None:
    with_other = {**BY_NAME, "server_tls_ca_file": "/etc/tls-test/other.pem"}
    assert "its certificate is not accepted" in cluster.refuses(MODULE, with_other)
    by_name = cluster.converges(MODULE, BY_NAME)
    assert by_name["logins"] == 1
    seen = "SELECT ssl, client_addr IS NOT NULL FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
    assert psql(cluster, f"{seen} WHERE pid = pg_backend_pid()") == "t|t"
    cluster.converges(MODULE, WISH)


def test_reload_ends_no_session_and_a_restart_is_asked_for(cluster: Cluster) -> None:
    process = cluster.shell("systemctl show -P MainPID pgbouncer")
    target = "host=127.0.0.1 port=6432 user=app dbname=app sslmode=require"
    script = (
        f"(echo 'SELECT 1;'; sleep 8; echo 'SELECT 2;') | PGPASSWORD={PASSWORD} psql -XAt '{target}' >/tmp/held 2>&1"
    )
    cluster.shell(f'nohup sh -c "{script}" >/dev/null 2>&1 & sleep 1')
    cluster.converges(MODULE, {**WISH, "max_client_connections": 400})
    assert cluster.shell("systemctl show -P MainPID pgbouncer") == process
    assert cluster.shell("sleep 8; cat /tmp/held") == "1\n2"
    # Also for a setting of the user's own that a reload cannot change.
    assert cluster.module(MODULE, {**WISH, "extra_settings": {"pkt_buf": 8192}})["restart_required"] == ["pkt_buf"]
    cluster.module(MODULE, WISH)
    moved = {**WISH, "listen_port": 6433}
    waits = cluster.module(MODULE, moved)
    assert (waits["restart_required"], waits["restarted"]) == (["listen_port"], False)
    assert cluster.module(MODULE, moved)["changed"] is False
    assert psql(cluster, "SELECT 1") == "1"
    done = cluster.module(MODULE, {**moved, "restart": True})
    assert (done["changed"], done["restarted"], done["logins"]) == (True, True, 1)
    assert psql(cluster, "SELECT 1", port="6433") == "1"
    assert cluster.module(MODULE, {**WISH, "restart": True})["restarted"] is True
    assert psql(cluster, "SELECT 1") == "1"


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"client_tls_key_file": "/root/none.key"}, "nothing was changed"),
        ({"client_tls_certificate_file": "/etc/tls-test/other.pem"}, "nothing was changed"),
        ({"extra_settings": {"no_such_setting": "1"}}, "nothing was changed"),
        ({"extra_settings": {"server_round_robin": "perhaps"}}, "nothing was changed"),
        ({"listen_addresses": ["192.0.2.77"], "restart": True}, "cannot listen"),
        ({"users": ["nobody_here"], "probes": []}, "is no role of the server"),
        ({"users": ["antique"], "probes": []}, "not stored for SCRAM"),
        ({"users": ["keyless"], "probes": []}, "can log in at the server"),
        ({"databases": [{"name": "app", "port": 5999}]}, "cannot be used"),
    ],
)
def test_bad_input_that_only_a_host_can_tell_changes_nothing(cluster: Cluster, wish: dict[str, Any], said: str) -> None:
    before = cluster.shell(FILES)
    assert said in cluster.refuses(MODULE, {**WISH, **wish})
    assert cluster.shell(FILES) == before
    assert psql(cluster, "SELECT 1") == "1"
    assert cluster.shell("ls -d /run/bulwark-pgbouncer-* 2>/dev/null | wc -l") == "0"


def test_what_the_running_program_does_not_prove_is_taken_back(cluster: Cluster) -> None:
    before = cluster.shell(FILES)
    probe = {"user": "app", "database": "app", "password": OTHER}
    wish = {**WISH, "query_wait_timeout_seconds": 20, "probes": [probe]}
    message = cluster.refuses(MODULE, wish)
    assert "could not log in" in message
    assert "the old files are back in force" in message
    assert OTHER not in message
    assert cluster.shell(FILES) == before
    assert psql(cluster, "SELECT 1") == "1"


def test_reload_that_fails_is_taken_back(cluster: Cluster) -> None:
    before = cluster.shell(FILES)
    directory = "/etc/systemd/system/pgbouncer.service.d"
    drop_in = f"{directory}/test.conf"
    cluster.shell(
        f"mkdir -p {directory}; printf '[Service]\\nExecReload=\\nExecReload=/bin/false\\n' > {drop_in};"
        " systemctl daemon-reload"
    )
    try:
        message = cluster.refuses(MODULE, {**WISH, "query_wait_timeout_seconds": 20})
    finally:
        cluster.shell(f"rm {drop_in}; systemctl daemon-reload")
    assert "systemctl reload pgbouncer.service fails" in message
    assert cluster.shell(FILES) == before
    assert psql(cluster, "SELECT 1") == "1"


def test_new_password_and_a_user_taken_away(cluster: Cluster) -> None:
    cluster.sql(f"ALTER ROLE app PASSWORD '{OTHER}'")
    wish = {**WISH, "probes": [{"user": "app", "database": "app", "password": OTHER}]}
    assert cluster.module(MODULE, wish)["changed"] is True
    assert psql(cluster, "SELECT 1", OTHER) == "1"
    assert "FATAL" in psql(cluster, "SELECT 1")
    cluster.sql(f"ALTER ROLE app PASSWORD '{PASSWORD}'; ALTER ROLE retired LOGIN")
    both = cluster.module(MODULE, {**WISH, "users": ["app", "retired"]})
    assert both["users"] == ["app", "retired"]
    cluster.sql("ALTER ROLE retired NOLOGIN")
    cluster.module(MODULE, WISH)
    assert "FATAL" in psql(cluster, "SELECT 1", user="retired")


def test_server_that_is_down(cluster: Cluster) -> None:
    before = cluster.shell(FILES)
    cluster.shell(f"systemctl stop {cluster.unit}")
    try:
        assert "no session at" in cluster.refuses(MODULE, {**WISH, "max_client_connections": 300})
    finally:
        cluster.shell(f"systemctl start {cluster.unit}")
    assert cluster.shell(FILES) == before
