# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the catalogues of databases say, in the form that psql gives it; tests/integration_hosts asks real ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.host import Answer
from ansible_collections.bulwark.hardening.plugins.plugin_utils import catalogue

from ..conftest import FakeHost, MakeHost

SOCKET = {"/var/run/postgresql/.s.PGSQL.5432": ""}
TIMER = "systemctl is-active bulwark-postgresql-proof.timer"
#  name, login, superuser, createrole, createdb, replication, bypassrls
ROLES = [
    ["postgres", True, True, True, True, True, True],
    ["owner", False, False, False, False, False, False],
    ["app", False, False, False, False, False, False],
    ["app_1", True, False, False, False, False, False],
]
SOUND: dict[str, Any] = {
    "owned": [["owner", "relation", "public.audit_events"]],
    "granted": [["app", "relation", "public.audit_events", "INSERT"], ["", "schema", "public", "USAGE"]],
    "definers": None,
    "tables": [
        ["public", "audit_events", "owner", "public.audit_events"],
        ["public", "elevation_requests", "owner", "public.elevation_requests"],
    ],
    "rules": None,
    "triggers": [
        ["public", "elevation_requests", "r", "A", 29, "bulwark_audit", True, "writer", ""],
        ["public", "elevation_requests", "t", "A", 34, "bulwark_audit", False, "writer", ""],
        [
            *("public", "elevation_requests", "g", "A", 21, "bulwark_audit", False, "writer"),
            "NEW.approver_identity <> NEW.requester_identity",
        ],
    ],
    "event_triggers": [["ddl_command_end", "A", "bulwark_audit"], ["sql_drop", "A", "bulwark_audit"]],
}


PSQL = "runuser -u postgres -- psql -XAtqw -d"


def cluster(make_host: MakeHost, stuck: int = 0, waits: bool = True, **changes: Any) -> FakeHost:
    roles = {
        "roles": changes.pop("roles", ROLES),
        "members": changes.pop("members", [["app_1", "app"]]),
        "databases": [["shop", changes.pop("owner", "owner"), changes.pop("public", None)]],
    }
    return make_host(
        SOCKET,
        {
            f"{PSQL} postgres": json.dumps(roles),
            f"{PSQL} shop -h /var/run/postgresql -p 5432 -c \nSELECT pg_catalog.count": str(stuck),
            f"{PSQL} shop": json.dumps({**SOUND, **changes}),
            TIMER: Answer(0 if waits else 3, "active\n" if waits else "inactive\n", ""),
        },
    )


def verdict(host: FakeHost, identifier: str) -> tuple[str, str]:
    (row,) = (row for row in catalogue.load() if row.id == identifier)
    (check,) = row.check
    found = host.observe(check["reader"], **check.get("parameters", {}))
    return found.verdict.value, found.observed


IDENTIFIERS = ("PG-02", "PG-03", "PG-04", "AUD-03", "JIT-06")


@pytest.mark.parametrize("identifier", IDENTIFIERS)
def test_a_sound_cluster_passes(make_host: MakeHost, identifier: str) -> None:
    assert verdict(cluster(make_host), identifier)[0] == "pass"


@pytest.mark.parametrize("identifier", IDENTIFIERS)
def test_without_a_server_there_is_nothing_to_say(make_host: MakeHost, identifier: str) -> None:
    assert verdict(make_host({"/etc/hostname": "a"}), identifier)[0] == "not_applicable"


@pytest.mark.parametrize("identifier", ["PG-04", "AUD-03", "JIT-06"])
def test_without_the_tables_there_is_nothing_to_say(make_host: MakeHost, identifier: str) -> None:
    assert verdict(cluster(make_host, tables=[["public", "other", "owner", "public.other"]]), identifier)[0] == (
        "not_applicable"
    )


def with_powers(name: str, **changes: Any) -> list[list[Any]]:
    return [[*row] if row[0] != name else [row[0], *changes["row"]] for row in ROLES]


def granted(*row: str) -> list[Any]:
    return [*SOUND["granted"], list(row)]


def recorder(enabled: str, kind: int, owner: str) -> list[Any]:
    """Return the triggers with another one that records."""
    return [
        ["public", "elevation_requests", "r", enabled, kind, "bulwark_audit", True, owner, ""],
        *SOUND["triggers"][1:],
    ]


@pytest.mark.parametrize(
    ("identifier", "changes", "words"),
    [
        ("PG-02", {"owned": [["app_1", "schema", "own"]]}, "owns schema own"),
        ("PG-02", {"granted": granted("app_1", "column", "public.t.c", "SELECT")}, "has its own on column public.t.c"),
        ("PG-02", {"owner": "app_1"}, "is owned by app_1"),
        ("PG-03", {"granted": granted("", "relation", "public.t", "SELECT")}, "SELECT on relation public.t"),
        ("PG-03", {"granted": granted("", "schema", "public", "CREATE")}, "CREATE on schema public"),
        (
            "PG-03",
            {"granted": granted("", "function", "public.f", "EXECUTE"), "definers": ["public.f"]},
            "EXECUTE on function public.f",
        ),
        ("PG-03", {"public": ["TEMPORARY"]}, "TEMPORARY on the database"),
        ("PG-03", {"roles": with_powers("app_1", row=[True, False, False, True, False, False])}, "has CREATEDB"),
        ("PG-03", {"members": [["app_1", "app"], ["app", "pg_write_all_data"]]}, "is in pg_write_all_data"),
        ("PG-03", {"members": [["app_1", "postgres"]]}, "is in postgres"),
        ("PG-04", {"granted": granted("", "relation", "public.audit_events", "DELETE")}, "PUBLIC has DELETE"),
        ("PG-04", {"granted": granted("app", "column", "public.audit_events.id", "UPDATE")}, "app has UPDATE"),
        ("PG-04", {"members": [["app_1", "app"], ["app", "owner"]]}, "app_1 can"),
        ("PG-04", {"rules": [["public", "audit_events", "swallow"]]}, "has the rule swallow"),
        ("PG-04", {"waits": False}, "bulwark-postgresql-proof.timer inactive"),
        ("AUD-03", {"triggers": SOUND["triggers"][1:]}, "INSERT on public.elevation_requests is not recorded"),
        (
            "AUD-03",
            {"triggers": recorder("O", 29, "writer")},
            "is not recorded",
        ),
        (
            "AUD-03",
            {"triggers": recorder("A", 29, "app_1")},
            "is not recorded",
        ),
        (
            "AUD-03",
            {"triggers": recorder("A", 21, "writer")},
            "DELETE on public.elevation_requests is not recorded",
        ),
        ("AUD-03", {"event_triggers": None}, "no ddl_command_end, sql_drop"),
        ("JIT-06", {"triggers": SOUND["triggers"][:2]}, "has no such trigger"),
        ("JIT-06", {"stuck": 2}, "2 approved for more than 15 minutes"),
    ],
)
def test_a_breakage_fails_its_control_and_says_what_is_wrong(
    make_host: MakeHost, identifier: str, changes: dict[str, Any], words: str
) -> None:
    verdict_of, observed = verdict(cluster(make_host, **changes), identifier)
    assert verdict_of == "fail"
    assert words in observed


def test_a_function_that_runs_as_its_caller_is_for_everybody(make_host: MakeHost) -> None:
    host = cluster(make_host, granted=granted("", "function", "public.f", "EXECUTE"))
    assert verdict(host, "PG-03")[0] == "pass"


def test_who_migrates_may_become_the_owner(make_host: MakeHost) -> None:
    host = cluster(make_host, members=[["app_1", "owner"]])
    found = host.observe("postgresql_append_only", tables=["audit_events"], migration_roles=["app_1"])
    assert found.verdict.value == "pass"
