# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left when a service has taken all connections; no other test can run beside this."""

from __future__ import annotations

from typing import Any

from tests.postgresql.seen_from_outside import SERVERS, Database

HOLD = """
import os, subprocess, sys, time
names = [("jitsudo_app", "jitsudo", "runtime-of-jitsudo"), ("inventory_app", "inventory", "runtime-of-inventory")]
for user, database, secret in names:
    for number in range(18):
        words = f"host={sys.argv[1]} sslmode=require user={user} dbname={database}"
        command = ["psql", "-XqAtw", "-d", words]
        subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, "PGPASSWORD": secret})
time.sleep(100)
"""


def test_a_responder_gets_in_when_all_connections_are_taken(database: Database) -> None:
    """From PostgreSQL 16 on; before, only the superuser on the host does."""
    address = database.scenario.address(database.server)
    client = database.scenario.host("client")
    client.check_output(f"cat > /root/hold.py <<'END'\n{HOLD}\nEND")
    unit = f"systemd-run --quiet --unit=hold-{database.server}"
    client.check_output(f"{unit} python3 /root/hold.py {address}")
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
