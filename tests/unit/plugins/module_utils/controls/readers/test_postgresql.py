# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a PostgreSQL server says of itself, and what its data lies on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.host import Answer
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import Unreadable
from ansible_collections.bulwark.hardening.plugins.plugin_utils import catalogue

from ..conftest import FakeHost, MakeHost

SOCKET = {"/var/run/postgresql/.s.PGSQL.5432": ""}
DATA = "/var/lib/postgresql/17/main"
HARDENED: dict[str, Any] = {
    "ssl": "on",
    "ssl_min_protocol_version": "TLSv1.2",
    "ssl_ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-CHACHA20-POLY1305",
    "password_encryption": "scram-sha-256",
    "listen_addresses": "localhost, 192.0.2.1",
    "shared_preload_libraries": "pg_stat_statements, pgaudit",
    "pgaudit.log": "ddl, role",
    "pgaudit.log_parameter": "off",
    "log_connections": "on",
    "log_disconnections": "on",
    "log_statement": "none",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "statement_timeout": "300000",
    "lock_timeout": "30000",
    "idle_in_transaction_session_timeout": "60000",
    "idle_session_timeout": "3600000",
    "authentication_timeout": "30",
    "superuser_reserved_connections": "3",
    "reserved_connections": "3",
}


def rule(number: int, kind: str, users: str, address: str | None, method: str, **more: Any) -> dict[str, Any]:
    """Return a rule as pg_hba_file_rules has it."""
    network, _slash, bits = (address or "").partition("/")
    mask = None
    if bits:
        width = 128 if ":" in network else 32
        number_of = ((1 << width) - 1) ^ ((1 << (width - int(bits))) - 1)
        mask = (
            ".".join(str(number_of >> shift & 255) for shift in (24, 16, 8, 0))
            if width == 32
            else ":".join(f"{number_of >> shift & 0xFFFF:x}" for shift in range(112, -1, -16))
        )
    return {
        "line_number": number, "type": kind, "database": more.get("database", ["all"]), "user_name": [users],
        "address": network or None, "netmask": mask, "auth_method": method, "error": more.get("error"),
        "file_name": "/etc/postgresql/17/main/pg_hba.conf",
    }  # fmt: skip


SOUND = [
    rule(1, "local", "all", None, "peer"),
    rule(2, "host", "postgres", "0.0.0.0/0", "reject"),
    rule(3, "host", "postgres", "::/0", "reject"),
    rule(4, "hostssl", "all", "192.0.2.0/24", "scram-sha-256"),
]


def server(
    make_host: MakeHost,
    settings: dict[str, str] | None = None,
    rules: list[dict[str, Any]] | None = None,
    without: str = "",
    **more: Any,
) -> FakeHost:
    values = {**HARDENED, **(settings or {})}
    values.pop(without, None)
    answer = {
        "settings": {name: [value, "configuration file", value] for name, value in values.items()},
        "files": more.get("files"),
        "rules": SOUND if rules is None else rules,
        "rules_changed": more.get("rules_changed", False),
        "superusers": ["postgres"],
        "groups": [["postgres", "postgres"], ["postgres", "keepers"]],
        "directories": [DATA],
    }
    answer["settings"].update(more.get("shown", {}))
    return make_host({**SOCKET, **more.get("tree", {})}, {"runuser": json.dumps(answer)}, links=more.get("links"))


def verdicts(host: FakeHost, identifier: str) -> list[str]:
    """Return what the readers of a row of the catalogue say."""
    (row,) = (row for row in catalogue.load() if row.id == identifier)
    return [host.observe(check["reader"], **check.get("parameters", {})).verdict.value for check in row.check]


@pytest.mark.parametrize("identifier", ["PG-01", "PG-05", "PG-06"])
def test_a_hardened_server_passes(make_host: MakeHost, identifier: str) -> None:
    assert set(verdicts(server(make_host), identifier)) == {"pass"}


@pytest.mark.parametrize(
    ("identifier", "name", "value"),
    [
        ("PG-01", "ssl", "off"),
        ("PG-01", "ssl_min_protocol_version", "TLSv1"),
        ("PG-01", "ssl_ciphers", "HIGH:MEDIUM:+3DES:!aNULL"),
        ("PG-01", "ssl_ciphers", "ECDHE-RSA-AES256-GCM-SHA384:AES256-SHA"),
        ("PG-01", "password_encryption", "md5"),
        ("PG-01", "listen_addresses", "localhost,*"),
        ("PG-01", "listen_addresses", "0.0.0.0"),
        ("PG-05", "shared_preload_libraries", "pg_stat_statements"),
        ("PG-05", "pgaudit.log", "read, role"),
        ("PG-05", "pgaudit.log", "ddl, role, -role"),
        ("PG-05", "log_connections", "off"),
        ("PG-05", "log_statement", "all"),
        ("PG-05", "log_parameter_max_length", "-1"),
        ("PG-06", "statement_timeout", "0"),
        ("PG-06", "idle_session_timeout", "0"),
        ("PG-06", "authentication_timeout", "600"),
        ("PG-06", "superuser_reserved_connections", "0"),
    ],
)
def test_one_setting_that_is_weaker_fails_its_own_control_only(
    make_host: MakeHost, identifier: str, name: str, value: str
) -> None:
    host = server(make_host, {name: value})
    for control in ("PG-01", "PG-05", "PG-06"):
        assert ("fail" in verdicts(host, control)) == (control == identifier)
    (observed,) = {host.observe("postgresql_settings", values={name: {"one_of": ["x"]}}).observed}
    assert observed == f"{name} {value!r}"


def test_a_library_that_is_named_and_not_loaded_has_no_settings(make_host: MakeHost) -> None:
    assert verdicts(server(make_host, without="pgaudit.log"), "PG-05") == ["fail"]


def test_what_an_older_version_lacks_is_passed_over(make_host: MakeHost) -> None:
    assert verdicts(server(make_host, without="reserved_connections"), "PG-06") == ["pass"]
    assert verdicts(server(make_host, without="lock_timeout"), "PG-06") == ["fail"]


def test_a_value_of_the_role_that_asks_says_nothing_of_the_server(make_host: MakeHost) -> None:
    host = server(make_host, shown={"lock_timeout": ["0", "user", "0"]})
    seen = host.observe("postgresql_settings", values={"lock_timeout": {"at_least": 1}})
    assert (seen.verdict, "by ALTER ROLE" in seen.reason) == ("unknown", True)


def test_keepalives_are_read_from_the_files_since_a_socket_shows_none(make_host: MakeHost) -> None:
    host = server(make_host, {"tcp_keepalives_count": "0"}, files=[["tcp_keepalives_count", "6"]])
    assert host.observe("postgresql_settings", values={"tcp_keepalives_count": 6}).verdict == "pass"


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([rule(1, "local", "all", None, "trust")], "line 1 has trust"),
        ([rule(1, "hostssl", "app", "192.0.2.0/24", "md5")], "line 1 has md5"),
        ([rule(1, "hostssl", "app", "192.0.2.0/24", "password")], "line 1 has password"),
        ([rule(1, "host", "app", "192.0.2.0/24", "scram-sha-256")], "line 1 takes connections of type host without"),
        ([rule(1, "hostnossl", "app", "all", "scram-sha-256")], "type hostnossl without TLS"),
        ([rule(7, "host", "x", None, "", error="invalid connection type")], "line 7 invalid connection type"),
        ([rule(1, "hostssl", "postgres", "192.0.2.0/24", "scram-sha-256")], "postgres from another host is admitted"),
        ([rule(1, "hostssl", "all", "192.0.2.0/24", "scram-sha-256")], "is admitted by pg_hba.conf line 1"),
        ([rule(1, "hostssl", "+keepers", "all", "cert")], "is admitted by"),
        ([rule(1, "hostssl", "/^post", "all", "cert")], "is admitted by"),
        ([rule(1, "hostssl", "/(", "all", "cert")], "is admitted by"),
        ([SOUND[1], rule(3, "hostssl", "all", "2001:db8::/32", "cert")], "is admitted by pg_hba.conf line 3"),
        ([rule(1, "host", "postgres", "192.0.2.0/24", "reject"), SOUND[3]], "is admitted by pg_hba.conf line 4"),
        ([rule(1, "hostssl", "postgres", "all", "reject"), rule(2, "hostssl", "all", "all", "cert")], "line 2"),
        ([rule(1, "host", "postgres", "all", "reject", database=["app"]), SOUND[3]], "line 4"),
    ],
)
def test_a_rule_that_lets_in_too_much_is_named(make_host: MakeHost, rules: list[dict[str, Any]], words: str) -> None:
    seen = server(make_host, rules=rules).observe("postgresql_authentication_rules")
    assert seen.verdict == "fail"
    assert words in seen.observed


@pytest.mark.parametrize(
    "rules",
    [
        SOUND,
        [],
        [rule(1, "host", "all", "127.0.0.1/32", "scram-sha-256"), rule(2, "host", "all", "::1/128", "scram-sha-256")],
        [rule(1, "host", "postgres", "all", "reject"), rule(2, "hostssl", "all", "all", "scram-sha-256")],
        [rule(1, "host", "all", "samehost", "scram-sha-256"), rule(2, "hostssl", "app", "all", "cert")],
        [rule(1, "hostssl", "+others", "all", "cert"), rule(2, "hostssl", "/^app", "all", "cert")],
    ],
)
def test_rules_that_keep_superusers_on_their_host_pass(make_host: MakeHost, rules: list[dict[str, Any]]) -> None:
    assert server(make_host, rules=rules).observe("postgresql_authentication_rules").verdict == "pass"


def test_loopback_that_is_wider_than_the_host_is_not_the_host(make_host: MakeHost) -> None:
    rules = [rule(1, "host", "all", "127.0.0.0/7", "scram-sha-256")]
    assert server(make_host, rules=rules).observe("postgresql_authentication_rules").verdict == "fail"


def test_rules_that_the_server_has_not_read_are_no_evidence(make_host: MakeHost) -> None:
    seen = server(make_host, rules_changed=True).observe("postgresql_authentication_rules")
    assert (seen.verdict, seen.observed) == ("fail", "pg_hba.conf was changed since it was loaded")


def test_a_host_without_a_server_has_nothing_of_this(make_host: MakeHost) -> None:
    host = make_host({}, {})
    for control in ("PG-01", "PG-05", "PG-06", "PG-07", "CRDB-01"):
        assert set(verdicts(host, control)) == {"not_applicable"}
    assert host.started == []


def test_a_server_that_is_down_or_says_something_else_is_unknown(make_host: MakeHost) -> None:
    down = make_host({"/etc/postgresql/17/main/postgresql.conf": ""}, {})
    with pytest.raises(Unreadable, match="does not listen at /var/run/postgresql, port 5432"):
        down.observe("postgresql_encryption_at_rest")
    strange = make_host(SOCKET, {"runuser": "welcome"})
    with pytest.raises(Unreadable, match="something else than JSON"):
        strange.observe("postgresql_settings", values={"ssl": "on"})
    shut = make_host(SOCKET, {"runuser": Answer(2, "", "psql: error: FATAL: no\n")})
    with pytest.raises(Unreadable, match="FATAL: no"):
        shut.observe("postgresql_authentication_rules")


def test_one_question_is_enough_for_all_readers(make_host: MakeHost) -> None:
    host = server(make_host)
    for control in ("PG-01", "PG-05", "PG-06"):
        verdicts(host, control)
    assert len(host.started) == 1


@pytest.mark.parametrize(
    ("said", "processes", "verdict"),
    [
        ("PostgreSQL 17.6 (Debian 17.6-0+deb13u1) on x86_64", {}, "pass"),
        ("CockroachDB CCL v23.1.11 (x86_64-pc-linux-gnu)", {}, "fail"),
        ("PostgreSQL 13.0 compatible CockroachDB", {}, "fail"),
        ("PostgreSQL 17.6", {"/proc/77/comm": "cockroach\n"}, "fail"),
        ("PostgreSQL 17.6", {"/proc/77/comm": "postgres\n"}, "pass"),
    ],
)
def test_another_product_is_told_with_the_way_out(
    make_host: MakeHost, said: str, processes: dict[str, str], verdict: str
) -> None:
    host = make_host({**SOCKET, **processes}, {"runuser": said})
    seen = host.observe("postgresql_product")
    assert seen.verdict == verdict
    assert ("zitadel mirror" in seen.observed) == (verdict == "fail")


def mounts(*entries: tuple[str, str, str, str]) -> dict[str, str]:
    lines = [
        f"{20 + number} 1 {device} / {path} rw,relatime shared:1 - {kind} {source} rw\n"
        for number, (path, device, kind, source) in enumerate(entries)
    ]
    return {"/proc/self/mountinfo": "".join(lines)}


ROOT_DISK = ("/", "8:1", "ext4", "/dev/sda1")
BLOCK = "/sys/dev/block"
PLAIN = {f"{BLOCK}/8:1/dev": "8:1\n"}
CRYPT = {f"{BLOCK}/254:0/dm/uuid": "CRYPT-LUKS2-0123-data\n", f"{BLOCK}/254:0/slaves/sda2/dev": "8:2\n"}
LVM = {
    f"{BLOCK}/254:1/dm/uuid": "LVM-abc\n", f"{BLOCK}/254:1/dm/name": "vg-data\n",
    f"{BLOCK}/254:1/slaves/dm-0/dev": "254:0\n",
}  # fmt: skip
MIRROR = {f"{BLOCK}/9:0/slaves/sda2/dev": "8:1\n", f"{BLOCK}/9:0/slaves/dm-0/dev": "254:0\n"}


@pytest.mark.parametrize(
    ("tree", "verdict", "words"),
    [
        ({**mounts(ROOT_DISK), **PLAIN}, "fail", "lies on 8:1"),
        ({**mounts(("/", "254:0", "ext4", "/dev/mapper/data")), **CRYPT}, "pass", ""),
        ({**mounts(ROOT_DISK, ("/var/lib", "254:1", "xfs", "/dev/mapper/x")), **CRYPT, **LVM, **PLAIN}, "pass", ""),
        # A directory whose name only begins alike is another one.
        ({**mounts(ROOT_DISK, ("/var/lib/post", "254:0", "xfs", "/dev/x")), **CRYPT, **PLAIN}, "fail", "8:1"),
        # What is mounted over it later hides it.
        ({**mounts(("/", "254:0", "ext4", "/x"), ROOT_DISK), **CRYPT, **PLAIN}, "fail", "8:1"),
        # Half a mirror is enough to read.
        ({**mounts(("/", "9:0", "ext4", "/dev/md0")), **MIRROR, **CRYPT, **PLAIN}, "fail", "8:1"),
        (
            {**mounts(("/", "254:1", "ext4", "/dev/x")), **LVM, f"{BLOCK}/254:0/dm/uuid": "LVM-1\n",
             f"{BLOCK}/254:0/dm/name": "plain\n"},
            "fail", "lies on plain, which the kernel does not encrypt",
        ),
        ({**mounts(("/", "0:30", "btrfs", "/dev/dm-0")), "/sys/class/block/dm-0/dev": "254:0\n", **CRYPT}, "pass", ""),
        ({**mounts(("/", "0:50", "overlay", "overlay"))}, "unknown", "what is below / (overlay) cannot be seen"),
        ({**mounts(("/", "0:50", "zfs", "tank/x"))}, "unknown", "attest it by a waiver"),
        ({**mounts(ROOT_DISK)}, "unknown", "the block device 8:1 cannot be seen"),
        (
            {**mounts(("/", "7:0", "ext4", "/dev/loop0"), ("/enc", "254:0", "ext4", "/x")), **CRYPT,
             f"{BLOCK}/7:0/loop/backing_file": "/enc/image\n"},
            "pass", "",
        ),
        (
            {**mounts(("/", "7:0", "ext4", "/dev/loop0")), f"{BLOCK}/7:0/loop/backing_file": "/image\n"},
            "unknown", "cannot be seen",
        ),
        ({"/proc/self/mountinfo": ""}, "unknown", "nothing is mounted"),
    ],
)  # fmt: skip
def test_what_the_data_lies_on(make_host: MakeHost, tree: dict[str, str], verdict: str, words: str) -> None:
    seen = server(make_host, tree=tree).observe("postgresql_encryption_at_rest")
    assert seen.verdict == verdict, seen
    assert words in seen.observed + seen.reason


def test_a_log_of_changes_that_lies_elsewhere_is_looked_at_too(make_host: MakeHost) -> None:
    tree = {**mounts(("/", "254:0", "ext4", "/x"), ("/fast", "8:1", "ext4", "/y")), **CRYPT, **PLAIN, "/fast/wal/x": ""}
    seen = server(make_host, tree=tree, links={f"{DATA}/pg_wal": "/fast/wal"}).observe("postgresql_encryption_at_rest")
    assert seen.verdict == "fail"
    assert seen.observed.startswith("/fast/wal lies on 8:1")
