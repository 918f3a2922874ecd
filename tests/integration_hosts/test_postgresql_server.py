# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The session that all else for PostgreSQL stands on, with real servers: who gets one, and what it leaves behind.

Makes its own disposable hosts (root on Linux).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration_hosts.postgresql_cluster import Cluster, clusters
from tests.integration_hosts.test_baseline_modules import RELEASES

PACKAGE = Path(__file__).resolve().parents[2] / "plugins/module_utils"
PLACE = "/root/bulwark-test"
CANARY = "canary-5bb1f0c2"
TALKATIVE = """
shared_preload_libraries = 'pgaudit'
log_statement = 'all'
log_min_duration_statement = 0
pgaudit.log = 'all'
"""
DRIVER = """
import json, sys
sys.path.insert(0, "/root/bulwark-test")
from postgresql.server import Failed, Place, Refused, Server
def answer():
{body}
try:
    print(json.dumps(answer()))
except Refused as error:
    print(json.dumps({{"refused": str(error), "sqlstate": getattr(error, "sqlstate", "")}}))
"""
# Says of itself what CockroachDB does, which has no package in Debian, to the first question.
COCKROACH = r"""
import os, pwd, socket, struct
os.makedirs("/run/cockroach", exist_ok=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind("/run/cockroach/.s.PGSQL.26257")
os.chmod("/run/cockroach/.s.PGSQL.26257", 0o777)
listener.listen()
def message(kind, body):
    return kind + struct.pack("!i", len(body) + 4) + body
client = listener.accept()[0]
client.recv(4096)
settings = {"server_version": "13.0.0", "client_encoding": "UTF8", "standard_conforming_strings": "on",
            "integer_datetimes": "on", "DateStyle": "ISO, MDY", "crdb_version": "CockroachDB CCL v24.1.0"}
hello = message(b"R", struct.pack("!i", 0))
for name, value in settings.items():
    hello += message(b"S", name.encode() + b"\0" + value.encode() + b"\0")
client.sendall(hello + message(b"K", struct.pack("!ii", 1, 2)) + message(b"Z", b"I"))
words = b"CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu)"
while client.recv(4096):
    column = b"version\0" + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0)
    client.sendall(
        message(b"T", struct.pack("!h", 1) + column) + message(b"D", struct.pack("!hi", 1, len(words)) + words)
        + message(b"C", b"SELECT 1\0") + message(b"Z", b"I")
    )
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root")


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, Cluster]]:
    with clusters("postgresql-server", ["postgresql-VERSION-pgaudit"]) as made:
        pack = subprocess.run(
            ["tar", "-C", str(PACKAGE), "--exclude=__pycache__", "-cf", "-", "postgresql"],
            capture_output=True, check=True,
        ).stdout  # fmt: skip
        for cluster in made.values():
            unpack = [*cluster._ssh, f"root@{cluster.name}", f"mkdir -p {PLACE} && tar -C {PLACE} -xf -"]
            subprocess.run(unpack, input=pack, check=True, timeout=60)
            cluster.script(f"cat > {cluster.configuration}/conf.d/talkative.conf", TALKATIVE)
            cluster.shell(f"systemctl restart {cluster.unit}")
        yield made


@pytest.fixture(params=RELEASES)
def cluster(hosts: dict[str, Cluster], request: pytest.FixtureRequest) -> Cluster:
    return hosts[str(request.param)]


def drive(cluster: Cluster, *lines: str) -> Any:
    """Run lines of Python on the host, the last of which returns something; a refusal is a dictionary."""
    body = "\n".join(f"    {line}" for line in lines)
    return json.loads(cluster.script("python3 -", DRIVER.format(body=body)).stdout)


def logged(cluster: Cluster) -> str:
    return cluster.shell(f"cat {cluster.log}")


def test_a_session_knows_whom_it_talks_to(cluster: Cluster) -> None:
    seen = drive(
        cluster,
        "with Server(Place()) as server:",
        "    before = server.round_trips",
        "    value = server.value('SELECT %s::int + 1', [41])",
        "    trips = server.round_trips - before",
        "    return [server.major, server.user, server.encoding, server.in_recovery, value, trips]",
    )
    assert seen == [int(cluster.version), "postgres", "UTF8", False, 42, 1]


def test_the_process_is_root_again_afterwards(cluster: Cluster) -> None:
    assert drive(cluster, "import os", "Server(Place()).close()", "return [os.geteuid(), os.getuid()]") == [0, 0]


def test_a_transaction_is_all_or_nothing(cluster: Cluster) -> None:
    failed = drive(
        cluster,
        "with Server(Place()) as server, server.transaction():",
        "    server.rows('CREATE TABLE public.half (a int)')",
        "    server.rows('SELECT 1 / 0')",
    )
    assert failed == {"refused": "division by zero", "sqlstate": "22012"}
    assert cluster.sql("SELECT to_regclass('half') IS NULL") == "t"
    drive(
        cluster,
        "with Server(Place()) as server, server.transaction():",
        "    server.rows('CREATE TABLE public.whole (a int)')",
    )
    assert cluster.sql("SELECT to_regclass('whole') IS NULL; DROP TABLE whole") == "f"


@pytest.mark.parametrize("secret", [True, False])
def test_a_secret_stays_out_of_the_log_even_when_its_statement_fails(cluster: Cluster, secret: bool) -> None:
    mark = f"{CANARY}-{secret}"
    for statement in (
        f"SELECT '{mark}'",
        f"CREATE ROLE secretive PASSWORD '{mark}'",
        f'ALTER ROLE nobody RENAME TO "{mark}"',
    ):
        answer = drive(
            cluster,
            f"with Server(Place()) as server, server.transaction(secret={secret}):",
            f"    server.rows({statement!r})",
        )
        assert answer is None or mark not in answer["refused"]
    cluster.sql("DROP ROLE secretive")
    assert (mark in logged(cluster)) is not secret


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("port=6000", "no session at /var/run/postgresql/.s.PGSQL.6000 for the role 'postgres'"),
        ("socket_directory='/nowhere'", "no session at /nowhere/.s.PGSQL.5432"),
        ("system_user='nobody-here'", "no user of this host; name the one that the server runs as"),
        ("system_user='games'", "no superuser; run 'ALTER ROLE games SUPERUSER'"),
    ],
)
def test_who_gets_no_session_is_told_why(cluster: Cluster, place: str, words: str) -> None:
    cluster.sql("DROP ROLE IF EXISTS games; CREATE ROLE games LOGIN")
    answer = drive(cluster, f"Server(Place({place}))")
    assert words in answer["refused"], answer
    assert "\n" not in answer["refused"]


@pytest.mark.parametrize("constraint", ["CHECK (length(secret) < 3)", "UNIQUE"])
def test_the_row_that_a_constraint_refuses_is_not_repeated(cluster: Cluster, constraint: str) -> None:
    cluster.sql(f"DROP TABLE IF EXISTS guarded; CREATE TABLE guarded (secret text {constraint})")
    insert = "server.rows('INSERT INTO public.guarded VALUES (%s)', [secret])"
    answer = drive(cluster, f"secret = '{CANARY}'", "server = Server(Place())", insert, insert)
    assert "violates" in answer["refused"]
    assert CANARY not in answer["refused"]


def test_what_depends_on_a_thing_is_told(cluster: Cluster) -> None:
    cluster.sql("CREATE TABLE base (a int); CREATE VIEW above AS SELECT a FROM base")
    answer = drive(cluster, "server = Server(Place())", "server.rows('DROP TABLE public.base')")
    cluster.sql("DROP TABLE base CASCADE")
    assert "other objects depend on it (view public.above depends on table public.base)" in answer["refused"]


def test_an_unknown_database_is_named(cluster: Cluster) -> None:
    answer = drive(cluster, "Server(Place(), 'nothing_here')")
    assert "in database 'nothing_here'" in answer["refused"]
    assert "does not exist" in answer["refused"]


def test_a_session_that_breaks_is_a_sentence(cluster: Cluster) -> None:
    answer = drive(
        cluster,
        "server = Server(Place())",
        "server.rows('SELECT pg_terminate_backend(pg_backend_pid())')",
    )
    assert "server closed the connection unexpectedly" in answer["refused"]


def test_cockroachdb_is_recognised_before_anything_is_asked_of_it(cluster: Cluster) -> None:
    cluster.script("cat > /root/cockroach.py", COCKROACH)
    cluster.shell("rm -rf /run/cockroach; systemd-run --quiet --unit=cockroach python3 /root/cockroach.py")
    cluster.shell("for n in $(seq 100); do test -S /run/cockroach/.s.PGSQL.26257 && break; sleep 0.1; done")
    answer = drive(cluster, "Server(Place('/run/cockroach', 26257))")
    cluster.shell("systemctl stop cockroach.service 2>/dev/null", check=False)
    assert "is CockroachDB, not PostgreSQL" in answer["refused"]
    assert "zitadel mirror" in answer["refused"]


def test_a_standby_is_told_from_a_primary(cluster: Cluster) -> None:
    cluster.shell(f"touch {cluster.data}/standby.signal && systemctl restart {cluster.unit}")
    try:
        answer = drive(cluster, "with Server(Place()) as server:", "    server.require_primary()")
    finally:
        cluster.shell(f"rm {cluster.data}/standby.signal && systemctl restart {cluster.unit}")
    assert "is a read-only standby; run this on its primary" in answer["refused"]
