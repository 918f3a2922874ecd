# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables become settings by version, and nothing weakens them unnoticed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.filter.postgresql_policy import postgresql_policy
from ansible_collections.bulwark.hardening.plugins.plugin_utils import postgresql_policy as policy


def test_without_variables_the_server_is_hardened() -> None:
    made = postgresql_policy({}, 17)
    assert made["problems"] == []
    wished = made["settings"]
    assert (wished["ssl"], wished["password_encryption"]) == (True, "scram-sha-256")
    assert (wished["listen_addresses"], wished["statement_timeout"]) == (["localhost"], "300s")
    assert (wished["log_connections"], wished["log_parameter_max_length"], wished["log_statement"]) == (True, 0, "none")
    assert (wished["pgaudit.log"], made["preload_libraries"]) == ("ddl, role", ["pgaudit"])
    # Debian's own certificate stays until one of the role tls is named.
    assert "ssl_cert_file" not in wished


@pytest.mark.parametrize(("major", "missing"), [(13, {"idle_session_timeout", "reserved_connections"}),
                                                (15, {"reserved_connections"}), (17, set())])  # fmt: skip
def test_a_setting_is_left_out_where_the_version_has_none(major: int, missing: set[str]) -> None:
    newest = set(postgresql_policy({}, 19)["settings"])
    assert newest - set(postgresql_policy({}, major)["settings"]) == missing


def test_a_certificate_of_the_role_tls_is_named_by_its_links() -> None:
    given = {"postgresql_tls_certificate": "db", "postgresql_tls_client_ca_file": "/etc/bulwark/tls/db/trust.pem"}
    wished = postgresql_policy({**given, "postgresql_tls_minimum_version": "TLSv1.3"}, 15)["settings"]
    assert wished["ssl_cert_file"] == "/etc/bulwark/tls/db/current/full_chain.pem"
    assert wished["ssl_key_file"] == "/etc/bulwark/tls/db/current/key.pem"
    assert wished["ssl_ca_file"] == "/etc/bulwark/tls/db/trust.pem"
    assert wished["ssl_min_protocol_version"] == "TLSv1.3"


def test_extra_settings_win() -> None:
    given = {"Work_Mem": "64MB", "statement_timeout": "2min", "wal_level": "logical"}
    wished = postgresql_policy({"postgresql_extra_settings": given}, 17)["settings"]
    assert (wished["work_mem"], wished["statement_timeout"], wished["wal_level"]) == ("64MB", "2min", "logical")


WEAK: list[tuple[str, Any]] = [
    ("ssl", False),
    ("ssl_min_protocol_version", "TLSv1"),
    ("ssl_max_protocol_version", "TLSv1.2"),
    ("ssl_ciphers", "HIGH"),
    ("ssl_ciphers", "ECDHE-RSA-AES256-GCM-SHA384:AES256-SHA"),
    ("password_encryption", "md5"),
    ("scram_iterations", 1),
    ("listen_addresses", "*"),
    ("listen_addresses", ["192.0.2.1", "0.0.0.0"]),
    ("statement_timeout", 0),
    ("lock_timeout", "0s"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", 0),
    ("authentication_timeout", "5min"),
    ("superuser_reserved_connections", 0),
    ("tcp_keepalives_idle", 0),
    ("log_connections", "no"),
    ("log_disconnections", "off"),
    ("log_hostname", True),
    ("log_statement", "all"),
    ("log_min_messages", "panic"),
    ("log_parameter_max_length", -1),
    ("log_parameter_max_length_on_error", "1kB"),
    ("log_line_prefix", "%m "),
    ("log_file_mode", "0644"),
    ("pgaudit.log", "read"),
    ("pgaudit.log", "all, -role"),
    ("pgaudit.log_parameter", True),
    ("fsync", "off"),
    ("row_security", False),
    ("session_replication_role", "replica"),
]


@pytest.mark.parametrize(("name", "value"), WEAK, ids=str)
def test_what_weakens_is_refused_unless_it_is_accepted(name: str, value: Any) -> None:
    given = {"postgresql_extra_settings": {name: value}}
    made = postgresql_policy(given, 17)
    (problem,) = made["problems"]
    assert problem.startswith(f"{name}: ")
    assert "weakens the server; accepted is " in problem
    assert made["settings"] == {}
    made = postgresql_policy({**given, "postgresql_accepted_risks": [name]}, 17)
    assert (made["problems"], made["settings"][name]) == ([], value)


def test_a_variable_of_the_role_is_judged_like_an_extra_setting() -> None:
    (problem,) = postgresql_policy({"postgresql_statement_timeout_seconds": 0}, 17)["problems"]
    assert problem.startswith("statement_timeout: '0s' weakens")
    (problem,) = postgresql_policy({"postgresql_listen_addresses": ["*"]}, 17)["problems"]
    assert problem.startswith("listen_addresses: '*' weakens")
    (problem,) = postgresql_policy({"postgresql_pgaudit": False}, 17)["problems"]
    assert "name pgaudit in postgresql_accepted_risks" in problem
    made = postgresql_policy({"postgresql_pgaudit": False, "postgresql_accepted_risks": ["pgaudit"]}, 17)
    assert (made["problems"], made["preload_libraries"]) == ([], [])
    assert "pgaudit.log" not in made["settings"]


@pytest.mark.parametrize(
    ("given", "major", "words"),
    [
        ({}, 12, "PostgreSQL 12 is not known; accepted are 13 to 19"),
        ({"postgresql_ssl": True}, 17, "postgresql_ssl: there is no such key"),
        ({"postgresql_max_connections": "many"}, 17, "postgresql_max_connections: 'many' is not accepted"),
        ({"postgresql_listen_addresses": "localhost"}, 17, "postgresql_listen_addresses: 'localhost' is not a list"),
        ({"postgresql_log_statement": "all"}, 17, "accepted are none, ddl"),
        ({"postgresql_tls_certificate": "../x"}, 17, "'../x' is no certificate"),
        ({"postgresql_extra_settings": ["a"]}, 17, "is no dictionary"),
        ({"postgresql_extra_settings": {"port": 1}}, 17, "port is not changed here"),
        ({"postgresql_extra_settings": {"shared_preload_libraries": "x"}}, 17, "postgresql_preload_libraries"),
        ({"postgresql_accepted_risks": ["everything"]}, 17, "'everything' is no setting that is guarded"),
        ({"postgresql_accepted_risks": "ssl"}, 17, "is not a list"),
    ],
)
def test_what_is_no_policy_is_told_with_what_is(given: dict[str, Any], major: int, words: str) -> None:
    problems = postgresql_policy(given, major)["problems"]
    assert len(problems) == 1, problems
    assert words in problems[0]


def test_the_result_is_plain_data() -> None:
    json.dumps(postgresql_policy({"postgresql_preload_libraries": ["pg_stat_statements", "pgaudit"]}, 17))
    assert set(policy.SINCE) <= set(policy.FLOORS)
