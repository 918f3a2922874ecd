# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of PgBouncer, its users, and what is refused before anything is tried."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.pgbouncer import model
from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql.server import Refused

VERIFIER = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0$c3RvcmVk:c2VydmVy"
WISH: dict[str, Any] = {
    **{name: option.get("default") for name, option in model.ARGUMENTS.items()},
    "databases": [
        {"name": "app", "database": None, "host": None, "port": None, "pool_mode": "session", "pool_size": 20,
         "max_connections": 50},
    ],
    "users": ["app"],
    "client_tls_certificate_file": "/etc/tls/cert.pem",
    "client_tls_key_file": "/etc/tls/key.pem",
}  # fmt: skip
SOCKETS = "/var/run/postgresql"


def database(**changes: Any) -> dict[str, Any]:
    return {**WISH["databases"][0], **changes}


def test_a_sound_wish_has_no_problem() -> None:
    assert model.problems(WISH) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"listen_port": 0}, "listen_port: 0 is no port"),
        ({"listen_addresses": ["::"]}, "listen_addresses[0]: '::' is every address of the host"),
        ({"listen_addresses": ["a b"]}, "listen_addresses[0]: 'a b' is no address or name"),
        ({"databases": []}, "databases: there is none"),
        ({"users": []}, "users: there is none"),
        ({"users": ["pgbouncer"]}, "users[0]: 'pgbouncer' is no role"),
        ({"databases": [database(name="a b")]}, "databases[0].name: 'a b' is not accepted"),
        ({"databases": [database(), database()]}, "databases[1].name: 'app' is not accepted"),
        ({"databases": [database(pool_size=0)]}, "databases[0].pool_size: 0 is not accepted"),
        ({"databases": [database(host="db.example.org")]}, "give server_tls_ca_file"),
        ({"databases": [database(host="/run\nx")]}, "goes on in another line"),
        ({"query_wait_timeout_seconds": 0}, "query_wait_timeout_seconds: 0 is not accepted"),
        ({"extra_settings": {"auth_type": "any"}}, "extra_settings: 'auth_type' is not accepted"),
        ({"extra_settings": {"Server Reset": "x"}}, "extra_settings: 'Server Reset' is not accepted"),
        ({"extra_settings": {"server_reset_query": "a\nb"}}, "extra_settings.server_reset_query:"),
        ({"probes": [{"user": "app", "database": "none", "password": "canary"}]}, "probes[0].database: 'none' is none"),
        ({"probes": [{"user": "b", "database": "app", "password": "canary"}]}, "probes[0].user: 'b' is none of users"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(changes: dict[str, Any], words: str) -> None:
    found = model.problems({**WISH, **changes})
    assert any(words in problem for problem in found), found
    assert not any("canary" in problem for problem in found)


def test_the_file_demands_tls_and_scram_and_keeps_no_secret() -> None:
    wish = {**WISH, "extra_settings": {"server_round_robin": True}, "probes": [{"password": "canary"}]}
    text = model.render(wish, model.settings(wish, SOCKETS), SOCKETS, 5432)
    lines = text.splitlines()
    assert lines[2].startswith("app = host='/var/run/postgresql' port='5432' dbname='app' pool_mode='session'")
    for line in ("auth_type = scram-sha-256", "client_tls_sslmode = require", "server_round_robin = 1"):
        assert line in lines
    assert "server_tls" not in text
    assert "canary" not in text


def test_a_server_elsewhere_has_to_prove_its_name() -> None:
    wish = {**WISH, "databases": [database(host="db.example.org")], "server_tls_ca_file": "/etc/ca.pem"}
    own = model.settings(wish, SOCKETS)
    assert (own["server_tls_sslmode"], own["server_tls_ca_file"]) == ("verify-full", "/etc/ca.pem")


def test_quotes_cannot_be_left() -> None:
    assert model.quoted("a' host='x") == "'a'' host=''x'"
    text = model.users({'a"b': VERIFIER})
    assert text == f'"a""b" "{VERIFIER}"\n'
    assert model.names(text) == ['a"b']


def test_only_who_can_log_in_at_the_server_is_let_in() -> None:
    rows = [
        ("app", VERIFIER, True, True),
        ("retired", VERIFIER, False, True),
        ("expired", VERIFIER, True, False),
        ("keyless", None, True, True),
    ]
    found = model.who_may(rows, ["app", "retired", "expired", "keyless"])
    assert found == ({"app": VERIFIER}, ["retired", "expired", "keyless"])
    for wished, words in (
        (["nobody"], "'nobody' is no role"),
        (["retired"], "none of retired can log in"),
    ):
        with pytest.raises(Refused) as refused:
            model.who_may(rows, wished)
        assert words in str(refused.value)
    with pytest.raises(Refused) as refused:
        model.who_may([("antique", "md5canary", True, True)], ["antique"])
    assert "not stored for SCRAM" in str(refused.value)
    assert "canary" not in str(refused.value)


def test_what_the_running_program_shows_otherwise_is_found() -> None:
    wished = {"max_client_conn": "500", "listen_port": "6432", "server_idle_timeout": "600"}
    shown = {"max_client_conn": ("100", "yes"), "listen_port": ("6433", "no"), "server_idle_timeout": ("600", "yes")}
    assert model.differing(wished, shown) == {"max_client_conn": True, "listen_port": False}
    assert model.differing({"new_setting": "1"}, {}) == {"new_setting": False}
