# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the variables of the role to the arguments of its modules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.hardening.plugins.plugin_utils.postgresql_role import build

ROOT = Path(__file__).resolve().parents[4]
POOL: dict[str, Any] = {
    "databases": [{"name": "app"}],
    "users": ["app"],
    "client_tls_certificate": "database",
}


def test_without_a_wish_nothing_is_done() -> None:
    made = build({}, 17)
    assert made["problems"] == []
    assert made["grants"] == {"roles": [], "databases": []}
    assert (made["hba"], made["remote_logins"], made["transition_logs"], made["pgbouncer"]) == (
        {"rules": [], "probes": []}, {}, [], {},
    )  # fmt: skip


def test_a_predefined_role_that_a_version_lacks_is_left_out() -> None:
    services = [{"profile": "responder", "roles": {"responder": {"password": "x"}}}]
    for major, reserved in ((15, False), (17, True)):
        made = build({"postgresql_services": services}, major)
        assert made["problems"] == []
        groups = {name for role in made["grants"]["roles"] for name in role["member_of"]}
        assert ("pg_use_reserved_connections" in groups) is reserved


def test_logins_stand_behind_the_role_that_has_the_privileges() -> None:
    runtime = {"logins": [{"name": "jitsudo_1", "password": "x"}, {"name": "jitsudo_2", "password": "y"}]}
    made = build({"postgresql_services": [{"profile": "jitsudo_strict", "roles": {"runtime": runtime}}]}, 17)
    assert made["problems"] == []
    roles = {role["name"]: role for role in made["grants"]["roles"]}
    assert not roles["jitsudo_app"]["login"]
    assert roles["jitsudo_1"]["member_of"] == roles["jitsudo_2"]["member_of"] == ["jitsudo_app"]


def test_probes_of_other_hosts_are_told_to_those() -> None:
    rule = {"databases": ["app"], "users": ["app"], "addresses": ["192.0.2.10"]}
    probe = {"user": "app", "database": "app", "address": "192.0.2.10", "host": "client"}
    probes = [
        {**probe, "name": "app", "expect": "allowed"},
        {**probe, "name": "plain", "expect": "refused", "connection": "plaintext"},
        {**probe, "name": "here", "expect": "refused", "address": "192.0.2.11", "host": None},
    ]
    made = build({"postgresql_hba_rules": [rule], "postgresql_hba_probes": probes}, 17)
    assert made["problems"] == []
    assert made["remote_logins"] == {
        "client": [
            {"name": "app", "user": "app", "tls": True, "expect": "allowed", "database": "app"},
            {"name": "plain", "user": "app", "tls": False, "expect": "refused", "database": "app"},
        ]
    }
    assert all("host" not in entry for entry in made["hba"]["probes"])


def test_a_guard_that_is_off_is_switched_on_by_its_name() -> None:
    log = {"database": "jitsudo", "profile": "jitsudo", "guards_enabled": ["no_break_glass"]}
    made = build({"postgresql_transition_logs": [log]}, 17)
    assert made["problems"] == []
    enabled = {guard["name"]: guard.get("enabled", True) for guard in made["transition_logs"][0]["guards"]}
    assert enabled["no_break_glass"] is True
    (problem,) = build({"postgresql_transition_logs": [{**log, "guards_enabled": ["none"]}]}, 17)["problems"]
    assert "'none' is no guard of it" in problem


def test_pgbouncer_shows_the_certificate_that_is_named() -> None:
    logins = [{"host": "client", "name": "pool", "user": "app", "database": "app", "expect": "allowed"}]
    made = build({"postgresql_pgbouncer": {**POOL, "logins": logins}}, 17)
    assert made["problems"] == []
    pool = made["pgbouncer"]
    assert pool["client_tls_certificate_file"] == "/etc/bulwark/tls/database/current/full_chain.pem"
    assert pool["databases"][0]["pool_mode"] == "session"
    assert list(pool["logins"]) == ["client"]
    assert "host" not in pool["logins"]["client"][0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"databases": [{"name": "jitsudo", "pool_mode": "transaction"}]},
            "databases[0].pool_mode: 'transaction' breaks",
        ),
        ({"databases": "app"}, "postgresql_pgbouncer.databases"),
        ({"databases": [{"nam": "app"}]}, "postgresql_pgbouncer.databases[0]"),
        ({"client_tls_certificate": "../key"}, "client_tls_certificate: '../key' is no certificate"),
        ({"client_tls_certificate": None}, "client_tls_certificate"),
        ({"listen_addresses": ["*"]}, "listen_addresses[0]: '*' is every address"),
        ({"extra_settings": ["a"]}, "extra_settings: ['a'] is no dictionary"),
        ({"colour": 1}, "postgresql_pgbouncer.colour"),
    ],
)
def test_a_wrong_pool_is_named_by_its_path(changes: dict[str, Any], words: str) -> None:
    services = [{"profile": "jitsudo_strict"}]
    found = build({"postgresql_services": services, "postgresql_pgbouncer": {**POOL, **changes}}, 17)["problems"]
    assert any(words in problem for problem in found), found


def test_the_policies_that_the_guide_shows_are_accepted(tmp_path: Path) -> None:
    guide = (ROOT / "docs/postgresql.md").read_text("utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)]
    (profile,) = (block for block in blocks if "roles" in block)
    policies = [block for block in blocks if any(name.startswith("postgresql_") for name in block)]
    path = tmp_path / "billing.yml"
    path.write_text(yaml.safe_dump(profile), encoding="utf-8")
    assert len(policies) >= 3
    for block in policies:
        for service in block.get("postgresql_services", []):
            service["profile"] = service["profile"].replace("{{ playbook_dir }}/profiles/billing.yml", str(path))
        variables = {name: value for name, value in block.items() if name.startswith("postgresql_")}
        assert build(variables, 17)["problems"] == []
