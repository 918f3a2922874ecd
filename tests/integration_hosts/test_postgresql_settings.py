# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of real servers: in force or as before, one restart or none, and nothing half done.

A case that spoils something says little of Debian, so the releases take turns with these.
Makes its own disposable hosts (root on Linux).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.filter.postgresql_policy import postgresql_policy
from ansible_collections.bulwark.hardening.plugins.plugin_utils import catalogue
from tests.integration_hosts.postgresql_cluster import Cluster, clusters
from tests.integration_hosts.test_baseline_modules import RELEASES

PACKAGE = Path(__file__).resolve().parents[2] / "plugins/module_utils"
DRIVER = "postgresql_settings_driver.py"
MODULE = "postgresql_settings"
FILE = "conf.d/zz-bulwark.conf"
PACKAGES = ("postgresql-VERSION-pgaudit",)
KILLS = 3
CONF = "/etc/postgresql/V/main"
SQL = "cd /; runuser -u postgres -- psql -XAtqc"
OBSERVED = ("PG-01", "PG-05", "PG-06", "PG-07", "CRDB-01")
CASES_AT_LEAST = 20
Wish = dict[str, Any]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root")


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, Cluster]]:
    with clusters("pg-settings", PACKAGES) as found:
        for host in found.values():
            install_driver(host)
        yield found


def on_each(hosts: dict[str, Cluster], part: Callable[[Cluster], None]) -> None:
    """Do this on all releases at once: most of it is waiting for servers that restart."""
    with ThreadPoolExecutor(len(hosts)) as pool:
        for done in [pool.submit(part, host) for host in hosts.values()]:
            done.result()


def install_driver(host: Cluster) -> None:
    place = "/root/bulwark-test/ansible_collections/bulwark/hardening/plugins/module_utils"
    pack = subprocess.run(
        ["tar", "-C", str(PACKAGE), "--exclude=__pycache__", "-cf", "-", "transaction", "postgresql",
         "-C", str(Path(__file__).parent), DRIVER],
        capture_output=True, check=True,
    )  # fmt: skip
    unpack = f"mkdir -p {place} && tar -C {place} -xf - && mv {place}/{DRIVER} /root/bulwark-test"
    subprocess.run([*host._ssh, f"root@{host.name}", unpack], input=pack.stdout, check=True, timeout=60)


def drive(host: Cluster, wish: Wish, kill_at: int = -1) -> dict[str, Any] | None:
    """Call the package itself; None if it was killed."""
    arguments = {"given": {}, "libraries": [], "restart": True, **wish}
    done = host.script(f"python3 /root/bulwark-test/{DRIVER} {kill_at}", json.dumps(arguments), check=False)
    if kill_at >= 0 and done.returncode != 0:
        return None
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def look(host: Cluster) -> str:
    """Return all that must stay as it was, in one text: files, when the server started, and that nothing is left."""
    return host.shell(
        f"find /etc/postgresql {host.data}/postgresql.auto.conf -type f -exec sha256sum {{}} + | sort;"
        " cd /; runuser -u postgres -- psql -XAtc 'SELECT pg_postmaster_start_time()'; ls -d /run/bulwark-postgresql-*;"
        " ls /var/lib/bulwark/postgresql | grep json",
        check=False,
    )


def shown(host: Cluster, name: str) -> str:
    return host.sql(f"SELECT current_setting('{name}')")


def starts(host: Cluster) -> int:
    return int(host.shell(f"journalctl --unit={host.unit} --output=cat | grep -c ^Started", check=False))


def reset(host: Cluster) -> None:
    assert not host.module(MODULE, {"settings": {}, "restart": True})["failed"]


def test_a_hardened_server_after_one_restart(hosts: dict[str, Cluster]) -> None:
    on_each(hosts, harden)


def harden(host: Cluster) -> None:
    policy = postgresql_policy({"postgresql_max_connections": 60}, int(host.version))
    assert policy["problems"] == []
    wish = {"settings": policy["settings"], "preload_libraries": policy["preload_libraries"]}
    before = look(host)
    checked = host.module(MODULE, wish, "--check")
    assert (checked["changed"], look(host)) == (True, before)
    # Without leave to restart, what can be done is done, and the rest is told.
    started, count = host.sql("SELECT pg_postmaster_start_time()"), starts(host)
    done = host.module(MODULE, wish)
    waiting = {"max_connections", "shared_preload_libraries", "pgaudit.log", "pgaudit.log_catalog"}
    assert done["restarted"] is False
    assert waiting <= set(done["restart_required"]) == set(checked["restart_required"])
    assert host.sql("SELECT pg_postmaster_start_time()") == started
    assert (shown(host, "statement_timeout"), shown(host, "max_connections")) == ("5min", "100")
    again = host.module(MODULE, wish)
    assert (again["changed"], again["restart_required"]) == (False, done["restart_required"])
    # With it, once.
    done = host.module(MODULE, {**wish, "restart": True})
    assert (done["changed"], done["restarted"], done["restart_required"]) == (True, True, [])
    assert host.sql("SELECT pg_postmaster_start_time()") != started
    assert starts(host) == count + 1
    assert (shown(host, "max_connections"), shown(host, "pgaudit.log")) == ("60", "ddl, role")
    assert {entry["source"] for entry in done["settings"]} == {done["file"]} == {f"{host.configuration}/{FILE}"}
    assert host.shell(f"stat -c '%a %U %G' {done['file']}") == "640 postgres postgres"
    before = look(host)
    for options in ((), ("--check",)):
        assert host.module(MODULE, {**wish, "restart": True}, *options)["changed"] is False
    assert look(host) == before
    controls_fail_alone(host)
    # What is no longer wished goes back, by a reload where that is enough.
    settings = {name: value for name, value in policy["settings"].items() if name != "statement_timeout"}
    done = host.module(MODULE, {**wish, "settings": settings, "restart": True})
    assert (done["changed"], done["restarted"], shown(host, "statement_timeout")) == (True, False, "0")
    # The audit log and the log of connections are there.
    host.sql("CREATE TABLE audited (); DROP TABLE audited")
    log = host.shell(f"cat {host.log}")
    assert "AUDIT: SESSION,1,1,DDL,CREATE TABLE" in log
    assert "connection authorized: user=postgres" in log
    reset(host)


# A control, what breaks it and nothing else, and what mends that.
RELOADED = "systemctl reload postgresql@V-main; sleep 0.5"
BREAKAGES = [
    ("PG-01", f"echo 'hostssl all all 192.0.2.0/24 scram-sha-256' >> {CONF}/pg_hba.conf; {RELOADED}",
     f"sed -i '/192.0.2.0/d' {CONF}/pg_hba.conf; {RELOADED}"),
    ("PG-01", f"echo 'host app app 192.0.2.0/24 md5' >> {CONF}/pg_hba.conf; {RELOADED}",
     f"sed -i '/192.0.2.0/d' {CONF}/pg_hba.conf; {RELOADED}"),
    ("PG-05", f"{SQL} 'ALTER SYSTEM SET log_connections = off'; {RELOADED}",
     f"{SQL} 'ALTER SYSTEM RESET log_connections'; {RELOADED}"),
    ("PG-06", f"{SQL} 'ALTER SYSTEM SET statement_timeout = 0'; {RELOADED}",
     f"{SQL} 'ALTER SYSTEM RESET statement_timeout'; {RELOADED}"),
    ("CRDB-01", "cp /bin/sleep /usr/local/bin/cockroach; systemd-run --quiet --unit=roach cockroach 600; sleep 0.2",
     "systemctl stop roach; rm /usr/local/bin/cockroach"),
]  # fmt: skip


def controls_fail_alone(host: Cluster) -> None:
    rows = [row for row in catalogue.load() if row.role == "postgresql" and row.id in OBSERVED]
    controls = [{"id": row.id, "title": row.title, "readers": list(row.check)} for row in rows]

    def verdicts() -> dict[str, str]:
        done = host.module("controls", {"controls": controls})
        return {entry["id"]: entry["verdict"] for entry in done["controls"]}

    sound = dict.fromkeys(OBSERVED, "pass")
    # What is below a container cannot be seen from inside.
    sound["PG-07"] = "unknown"
    assert verdicts() == sound
    for control, spoil, mend in BREAKAGES:
        host.shell(here(host, spoil))
        try:
            assert verdicts() == {**sound, control: "fail"}
        finally:
            host.shell(here(host, mend))
    assert verdicts() == sound


def here(host: Cluster, text: str) -> str:
    """Return a command for this host's cluster."""
    if "-K." in text:
        key = hashlib.sha256(b"/var/run/postgresql/.s.PGSQL.5432").hexdigest()[:16]
        text = text.replace("-K.", f"-{key}.")
    return text.replace(CONF, host.configuration).replace("@V-", f"@{host.version}-")


def test_every_setting_can_be_wished_as_it_is(hosts: dict[str, Cluster]) -> None:
    """So that no value that the server shows is taken for another one."""
    on_each(hosts, wish_all)


def wish_all(host: Cluster) -> None:
    rows = host.rows(
        "SELECT name, setting FROM pg_settings WHERE context IN ('user', 'superuser', 'sighup', 'backend',"
        " 'superuser-backend') AND name NOT IN ('transaction_isolation', 'transaction_read_only',"
        " 'transaction_deferrable', 'session_authorization', 'role', 'is_superuser', 'seed', 'in_hot_standby',"
        " 'archive_library') AND source <> 'client' AND (setting <> '' OR vartype = 'string')"
        " AND category NOT LIKE 'Developer%' AND name NOT LIKE 'recovery%'"
    )
    wish = {"settings": {row["name"]: row["setting"] for row in rows}}
    assert len(rows) > 200
    done = host.module(MODULE, wish)
    assert not done["failed"], done["msg"]
    assert (done["restarted"], done["restart_required"]) == (False, [])
    assert host.module(MODULE, wish)["changed"] is False
    reset(host)


def test_what_a_role_has_of_its_own_is_told(hosts: dict[str, Cluster]) -> None:
    on_each(hosts, override_by_role)


def override_by_role(host: Cluster) -> None:
    host.sql("CREATE ROLE batch; ALTER ROLE batch SET lock_timeout = '1h'; ALTER ROLE postgres SET lock_timeout = '9s'")
    try:
        done = host.module(MODULE, {"settings": {"lock_timeout": "7s"}})
        assert [(entry["role"], entry["name"]) for entry in done["overridden_for"]] == [
            ("batch", "lock_timeout"),
            ("postgres", "lock_timeout"),
        ]
        # Its own session has another value, which is not the server's.
        assert done["settings"][0]["source"] == done["file"]
        assert host.module(MODULE, {"settings": {"lock_timeout": "7s"}})["changed"] is False
    finally:
        host.sql("DROP ROLE batch; ALTER ROLE postgres RESET ALL")
        reset(host)


@dataclass(frozen=True)
class Case:
    """What is spoiled on the host, what is wished, and words of the sentence that must come of it."""

    name: str
    words: str
    settings: Wish
    spoil: str = ""
    mend: str = ""
    more: tuple[tuple[str, Any], ...] = ()
    # What takes the server away or changes files by itself.
    looked_at: bool = True


CASES = [
    Case("unknown setting", "no_such_setting is no setting of PostgreSQL", {"no_such_setting": 1}),
    Case("a value of another kind", "fsync: 'perhaps' is neither on nor off", {"fsync": "perhaps"}),
    Case("a unit of nothing", "'5 parsecs' is not accepted; accepted is a whole", {"statement_timeout": "5 parsecs"}),
    Case("a value out of range", "9 is outside the valid range", {"max_locks_per_transaction": 9}),
    Case("a choice that is none", "accepted are minimal, replica, logical", {"wal_level": "some"}),
    Case("another port", "port is not changed here: change the port in postgresql.conf", {"port": 5433}),
    Case("a setting that is fixed", "block_size cannot be set", {"block_size": 1}),
    Case("an injected line", "contains a control character", {"log_line_prefix": "%m\nssl = off"}),
    Case(
        "a library that is not installed", 'could not access file "no_such_library"',
        {"shared_preload_libraries": "no_such_library"},
    ),
    Case("both ways to name libraries", "give one of the two", {"shared_preload_libraries": "pgaudit"},
         more=(("preload_libraries", ["pgaudit"]),)),
    Case("a class of nothing", "pgaudit.log: 'dll' is no class", {"pgaudit.log": "dll"},
         more=(("preload_libraries", ["pgaudit"]),)),
    Case("a library that is not loaded", "belongs to nothing that the server loads", {"pgaudit.log": "ddl"}),
    Case("a certificate that is missing", 'could not load server certificate file "/no/such.pem"',
         {"ssl_cert_file": "/no/such.pem"}),
    Case("a key that others read", "has group or world access",
         {"ssl_key_file": "/etc/bulwark-test.key"},
         "install -m 644 -o postgres /etc/ssl/private/ssl-cert-snakeoil.key /etc/bulwark-test.key"),
    Case("a key of another certificate", "key values mismatch", {"ssl_key_file": "/etc/bulwark-test.key"},
         "openssl genrsa 2048 2>/dev/null > /etc/bulwark-test.key; chown postgres /etc/bulwark-test.key;"
         " chmod 600 /etc/bulwark-test.key"),
    Case("limits that contradict", "must be less than", {"max_connections": 10, "superuser_reserved_connections": 10}),
    Case("more memory than there is", "MB of shared memory, and this host has", {"shared_buffers": "900GB"}),
    Case("an address of another host", "listen_addresses names '192.0.2.1', where this host cannot listen",
         {"listen_addresses": ["localhost", "192.0.2.1"]}),
    Case("a broken line of somebody else", f"{CONF}/conf.d/other.conf line 2 is broken (syntax error)",
         {"work_mem": "8MB"}, f"printf '\\nwhat is this\\n' > {CONF}/conf.d/other.conf",
         f"rm {CONF}/conf.d/other.conf"),
    Case("a wrong value of somebody else", f"{CONF}/conf.d/other.conf line 1", {"work_mem": "8MB"},
         f"echo max_connections = many > {CONF}/conf.d/other.conf", f"rm {CONF}/conf.d/other.conf"),
    Case("ALTER SYSTEM", "postgresql.auto.conf line 3 sets '1MB' after it; run 'ALTER SYSTEM RESET work_mem'",
         {"work_mem": "8MB"}, f"{SQL} \"ALTER SYSTEM SET work_mem = '1MB'\"", f"{SQL} 'ALTER SYSTEM RESET work_mem'"),
    Case("a later file", f"{CONF}/conf.d/zzz.conf line 1 sets '2MB' after it; remove that line", {"work_mem": "8MB"},
         f"echo work_mem = 2MB > {CONF}/conf.d/zzz.conf", f"rm {CONF}/conf.d/zzz.conf"),
    Case("a directory that is not read", "put the line \"include_dir = 'conf.d'\"", {"work_mem": "8MB"},
         f"sed -i 's/^include_dir/#include_dir/' {CONF}/postgresql.conf",
         f"sed -i 's/^#include_dir/include_dir/' {CONF}/postgresql.conf"),
    Case("a planted link", "is a symbolic link, which is not followed", {"work_mem": "8MB"},
         f"rm -f {CONF}/{FILE}; ln -s /etc/shadow {CONF}/{FILE}", f"rm {CONF}/{FILE}"),
    Case("a full disk", "No space left on device", {"work_mem": "8MB"},
         f"mount -t tmpfs -o size=4k,mode=755,uid=postgres tmpfs {CONF}/conf.d; echo > {CONF}/conf.d/full",
         f"umount {CONF}/conf.d"),
    Case("a server that is down", "nothing was changed", {"work_mem": "8MB"},
         "systemctl stop postgresql@V-main", "systemctl start postgresql@V-main", looked_at=False),
    Case("no such cluster", "no session at /var/run/postgresql/.s.PGSQL.5999", {"work_mem": "8MB"},
         more=(("port", 5999),)),
    Case("a memory that cannot be read", "holds what an interrupted run had replaced, and cannot be read",
         {"work_mem": "8MB"}, "echo nonsense > /var/lib/bulwark/postgresql/settings-K.json",
         "rm /var/lib/bulwark/postgresql/settings-K.json"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("release", "case"), list(zip(itertools.cycle(RELEASES), CASES)), ids=[case.name for case in CASES]
)
def test_what_cannot_be_is_refused_in_a_sentence(hosts: dict[str, Cluster], release: str, case: Case) -> None:
    host = hosts[release]

    try:
        if case.spoil:
            host.shell(here(host, case.spoil))
        before = look(host)
        message = host.refuses(MODULE, {"settings": case.settings, **dict(case.more), "restart": True})
        assert here(host, case.words) in message
        assert message.endswith(("nothing was changed", "then remove it", "the old file is back and in force"))
        if case.looked_at:
            assert look(host) == before
    finally:
        if case.mend:
            host.shell(here(host, case.mend))


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= CASES_AT_LEAST


def test_a_server_that_does_not_come_up_is_started_with_the_old_file(hosts: dict[str, Cluster]) -> None:
    on_each(hosts, fail_to_start)


def fail_to_start(host: Cluster) -> None:
    kept = {"settings": {"work_mem": "6MB", "max_connections": 70}, "restart": True}
    assert not host.module(MODULE, kept)["failed"]
    before = look(host).splitlines()
    if host.release == "debian12":
        broken, words = {"huge_pages": "on"}, "could not map anonymous shared memory"
    else:
        # Free when it is looked at, and taken when the server comes.
        host.shell("systemd-run --unit=squatter python3 -m http.server --bind 127.0.0.9 5432")
        host.shell("until ss -ltn | grep -q 127.0.0.9:5432; do sleep 0.1; done")
        broken, words = {"listen_addresses": "127.0.0.9"}, "could not create any TCP/IP sockets"
    message = host.refuses(MODULE, {"settings": {"work_mem": "7MB", **broken}, "restart": True})
    assert words in message
    assert message.endswith("the old file is back and in force")
    # The time of the start is another one, of course.
    assert [line for line in look(host).splitlines() if "/" in line] == [line for line in before if "/" in line]
    assert (shown(host, "work_mem"), shown(host, "max_connections")) == ("6MB", "70")
    assert host.shell(f"systemctl is-active {host.unit}") == "active"
    assert host.module(MODULE, kept)["changed"] is False
    reset(host)


GOOD: list[Wish] = [
    {"given": {"work_mem": "9MB", "max_connections": 55}, "libraries": ["pgaudit"]},
    {"given": {"work_mem": "8MB", "max_connections": 66}},
]
BAD: Wish = {"given": {"work_mem": "5MB", "huge_pages": "on"}}


def test_a_run_that_is_killed_is_finished_by_the_next(hosts: dict[str, Cluster]) -> None:
    on_each(hosts, lambda host: killed_at(host, random.Random(host.release), KILLS))


def killed_at(host: Cluster, choice: random.Random, kills: int, told: Callable[[str], None] = lambda _: None) -> None:
    """Kill runs with good and with bad settings before so many of their steps each, all if there are fewer.

    The next run brings the good ones, one more changes nothing, and nothing is left.
    """
    turns = itertools.cycle(GOOD)
    drive(host, next(turns))
    wish = next(turns)
    steps = {"good": drive(host, wish)["steps"], "bad": drive(host, BAD)["steps"]}  # type: ignore[index]
    points = [(kind, at) for kind, count in steps.items() for at in choice.sample(range(count), min(kills, count))]
    for kind, at in points:
        wish = next(turns)
        what = f"{host.release}: {kind} settings, killed before step {at} of {steps[kind]}"
        assert drive(host, wish if kind == "good" else BAD, at) is None, what
        done = drive(host, wish)
        assert done is not None
        assert done.get("msg", "") == "", f"{what}: {done}"
        wanted = wish["given"]
        assert (shown(host, "work_mem"), shown(host, "max_connections")) == tuple(map(str, wanted.values())), what
        again = drive(host, wish)
        assert again is not None
        assert (again["changed"], again["waiting"]) == (False, []), what
        assert "json" not in look(host), what
        told(what)
    reset(host)


def test_a_standby_takes_settings_too(hosts: dict[str, Cluster]) -> None:
    on_each(hosts, standby)


def standby(host: Cluster) -> None:
    host.shell(f"systemctl stop {host.unit}; install -o postgres /dev/null {host.data}/standby.signal")
    host.shell(f"systemctl start {host.unit}")
    try:
        assert host.sql("SELECT pg_is_in_recovery()") == "t"
        wish = {"settings": {"work_mem": "11MB"}, "restart": True}
        assert host.module(MODULE, wish)["changed"] is True
        assert host.module(MODULE, wish)["changed"] is False
        assert host.sql("SELECT pg_is_in_recovery(), current_setting('work_mem')") == "t|11MB"
        reset(host)
    finally:
        host.shell(f"rm -f {host.data}/standby.signal; systemctl restart {host.unit}")
