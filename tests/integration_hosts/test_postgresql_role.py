# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole role on PostgreSQL 15 and 17: what crosses the connection, and that no secret is ever seen.

Makes its own disposable hosts (root on Linux).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration_hosts.postgresql_cluster import Cluster, clusters

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = str(Path(sys.executable).with_name("ansible-playbook"))
CALLS_OF_A_CONVERGED_HOST = 14
TABLES = (ROOT / "tests/postgresql/statements/jitsudo.sql").read_text("utf-8")
CANARIES = {name: f"canary-{name}-5f0c9d" for name in ("owner", "runtime", "auditor", "later", "wrong")}
STORE = "/etc/bulwark/tls/database"
# Everything that a server can be made to say of its statements, for the role that the modules log in as.
TALKATIVE = """
ALTER ROLE postgres SET log_statement = 'all';
ALTER ROLE postgres SET log_min_duration_statement = 0;
ALTER ROLE postgres SET log_min_error_statement = 'debug5';
ALTER ROLE postgres SET log_error_verbosity = 'verbose';
"""
CERTIFICATE = f"""
set -e
mkdir -p {STORE}/v1 && cd {STORE}/v1
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=localhost" -keyout key.pem -out full_chain.pem 2>/dev/null
chgrp -R postgres . && chmod 0640 key.pem && ln -sfn v1 {STORE}/current
"""
SAMPLER = """
while :; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' >> /root/titles; echo >> /root/titles; sleep 0.1; done
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root")


def policy(**passwords: str) -> dict[str, Any]:
    """Return the variables of a host with all parts of the role."""
    words = {name: CANARIES[name] for name in ("owner", "runtime", "auditor")}
    words.update(passwords)
    return {
        "postgresql_services": [
            {"profile": "jitsudo_strict", "roles": {name: {"password": word} for name, word in words.items()}}
        ],
        "postgresql_transition_logs": [{"profile": "jitsudo", "database": "jitsudo"}],
        "postgresql_hba_rules": [
            {"type": "local", "databases": ["jitsudo"], "users": ["jitsudo_app"]},
            {"databases": ["jitsudo"], "users": ["jitsudo_app"], "addresses": ["127.0.0.1"]},
        ],
        "postgresql_hba_probes": [
            {
                "name": "jitsudo",
                "user": "jitsudo_app",
                "database": "jitsudo",
                "address": "127.0.0.1",
                "expect": "allowed",
                "password": words["runtime"],
            }
        ],
        "postgresql_pgbouncer": {
            "databases": [{"name": "jitsudo"}],
            "users": ["jitsudo_app"],
            "client_tls_certificate": "database",
            "listen_addresses": ["127.0.0.1"],
            "probes": [{"user": "jitsudo_app", "database": "jitsudo", "password": words["runtime"]}],
        },
    }


@dataclass(frozen=True)
class Run:
    """One run of the role: exit code, all that was printed, remote calls by action."""

    code: int
    output: str
    calls: list[dict[str, Any]]

    @property
    def changed(self) -> int:
        return int(self.output.rpartition("PLAY RECAP")[2].partition("changed=")[2].split()[0])


def role(cluster: Cluster, folder: Path, variables: dict[str, Any], *options: str) -> Run:
    """Run the role as a user does, printing all there is to print."""
    playbook, given, calls = (folder / f"{cluster.name}.{what}" for what in ("yml", "json", "calls"))
    playbook.write_text(
        "- hosts: all\n  gather_facts: false\n  become: true\n  roles: [bulwark.hardening.postgresql]\n", "utf-8"
    )
    given.write_text(json.dumps(variables), encoding="utf-8")
    calls.write_text("", encoding="utf-8")
    done = subprocess.run(
        [PLAYBOOK, "-i", cluster.inventory, "--limit", cluster.name, "-e", f"@{given}", "-vvvv", "--diff", *options,
         str(playbook)],
        cwd=ROOT,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            # A host that is busy with other tests answers late.
            "ANSIBLE_TIMEOUT": "60",
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests/benchmark/callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "remote_calls",
            "REMOTE_CALLS_FILE": str(calls),
        },
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    made = [json.loads(line) for line in calls.read_text("utf-8").splitlines()]
    return Run(done.returncode, done.stdout + done.stderr, made)


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Cluster]]:
    with clusters("pg-role", ["postgresql-VERSION-pgaudit", "pgbouncer"]) as found:
        yield list(found.values())


def test_the_whole_role(hosts: list[Cluster], tmp_path: Path) -> None:
    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(lambda cluster: whole_role(cluster, tmp_path), hosts))


def whole_role(cluster: Cluster, folder: Path) -> None:
    """From a fresh cluster to a converged one, through failures; then look for the secrets everywhere."""
    cluster.sql(TALKATIVE)
    cluster.script("bash -s", CERTIFICATE)
    cluster.shell("systemctl stop pgbouncer")
    cluster.script("cat > /root/sampler", SAMPLER)
    cluster.shell("systemd-run --quiet --unit=sampler bash /root/sampler")
    first_policy = {**policy(), "postgresql_missing_objects": "report", "postgresql_restart": True}
    runs = [role(cluster, folder, first_policy)]
    assert runs[0].code == 0, runs[0].output[-3000:]
    assert "+hostssl jitsudo jitsudo_app 127.0.0.1/32 scram-sha-256" in runs[0].output
    cluster.sql(f"SET ROLE jitsudo_owner;\n{TABLES}", "jitsudo")
    runs.append(role(cluster, folder, policy()))
    assert runs[1].code == 0, runs[1].output[-3000:]
    runs.append(role(cluster, folder, policy()))
    assert (runs[2].code, runs[2].changed) == (0, 0), runs[2].output[-3000:]
    actions = [call["action"] for call in runs[2].calls]
    print(f"{cluster.name}: {len(actions)} remote calls of a converged host: {chr(44).join(actions)}")
    assert len(actions) <= CALLS_OF_A_CONVERGED_HOST, actions
    runs += failing_runs(cluster, folder)
    # The old password holds after each failure; a new one comes by the whole way.
    runs.append(role(cluster, folder, policy(runtime=CANARIES["later"])))
    assert runs[-1].code == 0, runs[-1].output[-3000:]
    no_secret_is_seen(cluster, runs)


def failing_runs(cluster: Cluster, folder: Path) -> list[Run]:
    """Let the role fail where it holds secrets, and see that what worked goes on."""
    wrong_probe = policy()
    wrong_probe["postgresql_pgbouncer"] = {
        **wrong_probe["postgresql_pgbouncer"],
        "query_wait_timeout_seconds": 20,
        "probes": [{"user": "jitsudo_app", "database": "jitsudo", "password": CANARIES["wrong"]}],
    }
    cluster.sql("CREATE TABLE IF NOT EXISTS elsewhere (a int); ALTER TABLE elsewhere OWNER TO jitsudo_auditor")
    owned_elsewhere = role(cluster, folder, policy(auditor=CANARIES["wrong"]))
    cluster.sql("DROP TABLE elsewhere")
    cluster.shell(f"systemctl stop {cluster.unit}; systemctl mask --runtime {cluster.unit}")
    down = role(cluster, folder, policy(runtime=CANARIES["wrong"]))
    cluster.shell(f"systemctl unmask --runtime {cluster.unit}; systemctl start {cluster.unit}")
    pooled = role(cluster, folder, wrong_probe)
    for run, words in (
        (owned_elsewhere, "owns objects in"),
        (down, "mask"),
        (pooled, "could not log in"),
    ):
        assert run.code == 2, run.output[-2000:]
        assert words in run.output, run.output[-2000:]
    login = f"PGPASSWORD={CANARIES['runtime']} psql -XAtc 'SELECT current_user'"
    for port in (5432, 6432):
        target = f"host=127.0.0.1 port={port} user=jitsudo_app dbname=jitsudo sslmode=require"
        assert cluster.shell(f"{login} '{target}'") == "jitsudo_app"
    return [owned_elsewhere, down, pooled]


def no_secret_is_seen(cluster: Cluster, runs: list[Run]) -> None:
    cluster.shell("systemctl stop sampler")
    verifiers = cluster.sql("SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL").splitlines()
    assert len(verifiers) == len(CANARIES) - 2
    # What identifies a verifier is its salt and keys.
    secrets = [*CANARIES.values(), *(verifier.partition(":")[2] for verifier in verifiers)]
    for number, run in enumerate(runs):
        assert [secret for secret in secrets if secret in run.output] == [], f"run {number}"
    log = cluster.shell(f"cat {cluster.log}")
    # They really were logged, and so were the statements around the secrets.
    assert "statement: " in log
    assert "AUDIT: SESSION" in log
    cluster.script("cat > /root/secrets", "\n".join(secrets) + "\n")
    places = "/var/log /root/titles /etc/bulwark /var/lib/bulwark /run /tmp /var/tmp /etc/postgresql"
    found = cluster.shell(f"grep -rlsFf /root/secrets {places} --exclude-dir=credentials", check=False)
    # The way back of the engine, which root alone may read, keeps the list of users as it was.
    kept = [path for path in found.splitlines() if not path.startswith("/var/lib/bulwark/transactions/")]
    assert kept == []
    assert cluster.shell("journalctl --no-pager | grep -cFf /root/secrets", check=False) == "0"
    assert int(cluster.shell("wc -c < /root/titles")) > 1000
