# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles and privileges on real clusters: what services do works, what would touch an audit trail does not.

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

from ansible_collections.bulwark.hardening.plugins.plugin_utils import postgresql_profiles
from tests.integration_hosts.postgresql_cluster import Cluster, clusters
from tests.integration_hosts.test_baseline_modules import ANSIBLE, RELEASES, REPOSITORY
from tests.postgresql import bundle, grants, statements

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root")

MODULE = "postgresql_grants"
Wish = dict[str, Any]


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, Cluster]]:
    with clusters("pg", ("postgresql-VERSION-pgaudit",)) as running:
        yield running


@pytest.fixture(params=RELEASES)
def cluster(hosts: dict[str, Cluster], request: pytest.FixtureRequest) -> Cluster:
    return hosts[str(request.param)]


def password(name: str) -> str:
    return f"Pw-{name}-1"


def wish(*services: dict[str, Any]) -> Wish:
    return postgresql_profiles.wish(list(services))


def product_wish(profile: str, **more: Any) -> tuple[Wish, dict[str, tuple[str, str]]]:
    """Return the wish of a profile whose roles all can log in, and who logs in as each."""
    roles = {"jitsudo": ("owner", "runtime", "auditor"), "zitadel": ("owner", "runtime")}[profile.partition("_")[0]]
    if profile == "zitadel_single_role":
        roles = ("runtime",)
    made = wish({"profile": profile, "roles": {role: {"password": password(role)} for role in roles}, **more})
    names = [role["name"] for role in made["roles"]]
    return made, {role: (name, password(role)) for role, name in zip(roles, names, strict=True)}


def forget(cluster: Cluster) -> None:
    """Leave a cluster without roles and databases, as after its installation."""
    for name in cluster.sql(
        "SELECT datname FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')"
    ).split():
        cluster.sql(f'DROP DATABASE "{name}" WITH (FORCE)')
    cluster.sql(
        "DO $$ DECLARE r name; BEGIN FOR r IN SELECT rolname FROM pg_roles WHERE oid >= 16384 LOOP"
        " EXECUTE format('DROP OWNED BY %I CASCADE', r); EXECUTE format('DROP ROLE %I', r); END LOOP; END $$"
    )


PRODUCTS = [
    (product, profile) for product in ("jitsudo", "zitadel") for profile in statements.table(product)["profiles"]
]


@pytest.mark.parametrize(("product", "profile"), PRODUCTS, ids=[profile for _product, profile in PRODUCTS])
def test_a_service_does_all_it_does_and_nobody_touches_its_audit_trail(
    cluster: Cluster, product: str, profile: str
) -> None:
    made, logins = product_wish(profile)
    forget(cluster)
    before = cluster.module(MODULE, {**made, "missing_objects": "report"})
    assert before["changed"], before["words"]
    assert before["missing"][product]
    cluster.sql(f"SET ROLE {next(iter(logins.values()))[0]};\n{statements.table(product)['schema']}", product)
    done = cluster.module(MODULE, made)
    assert (done["changed"], done.get("without_rule")) == (True, {}), done["words"]
    listed = statements.cases(product, profile, tuple(logins))
    assert len(listed) > 40
    program = statements.program(product, statements.table(product)["audit_table"], logins, listed)
    wrong = json.loads(cluster.script("python3 -", program).stdout)
    assert wrong == [], "\n".join(map(str, wrong))
    assert cluster.module(MODULE, made, "--check")["changed"] is False


@pytest.fixture
def programs(cluster: Cluster) -> Cluster:
    """A cluster whose host has the programs of these tests."""
    forget(cluster)
    cluster.script(bundle.UNPACK, bundle.encoded())
    return cluster


def test_what_is_applied_to_random_privileges_needs_no_second_run(programs: Cluster) -> None:
    cases = grants.answers(programs, "tests.postgresql.grants_driver", "chaos", 1, 15)
    assert [case for case in cases if case["problem"]] == []
    assert sum(case.get("statements", 0) for case in cases) > 200


def test_questions_to_the_server_do_not_grow_with_objects(programs: Cluster) -> None:
    few, many = (
        grants.answers(programs, "tests.postgresql.grants_driver", "scale", objects, 20)[0] for objects in (10, 200)
    )
    assert (few["round_trips"], few["left"]) == (many["round_trips"], many["left"]) == (5, 0)


def test_bad_wishes_and_failing_hosts_are_refused_and_leave_all_as_it_was(programs: Cluster) -> None:
    cases = grants.answers(programs, "tests.postgresql.grants_failures")
    assert [case for case in cases if case[1]] == []
    assert len(cases) > 30


def prove(cluster: Cluster, made: Wish) -> list[str]:
    """Return what the proof on the host finds, from a wish without secrets."""
    bare = {**made, "roles": [{k: v for k, v in role.items() if k != "password"} for role in made["roles"]]}
    text = (
        "import json, sys\nsys.path.insert(0, {!r})\nfrom postgresql.grants import change, model\n"
        "from postgresql.server import Place\nwish = model.parse(json.loads({!r}))\n"
        "print(json.dumps(change.prove(Place(), wish)[0]))\n"
    )
    found: list[str] = json.loads(cluster.script("python3 -", text.format(bundle.ON_HOST, json.dumps(bare))).stdout)
    return found


def test_a_migration_keeps_the_audit_trail_or_is_noticed(programs: Cluster) -> None:
    cluster = programs
    made, logins = product_wish("jitsudo_strict")
    owner, app = logins["owner"][0], logins["runtime"][0]
    cluster.module(MODULE, {**made, "missing_objects": "report"})
    cluster.sql(f"SET ROLE {owner};\n{statements.table('jitsudo')['schema']}", "jitsudo")
    assert cluster.module(MODULE, made)["changed"] is True
    assert prove(cluster, made) == []

    # A new table is nobody's but the owner's, a new column cannot be written, and the table is named.
    cluster.sql(
        f"SET ROLE {owner}; ALTER TABLE audit_events ADD COLUMN more text; CREATE TABLE fresh (id int)", "jitsudo"
    )
    readable = f"has_table_privilege('{app}', 'fresh', 'SELECT')"
    writable = f"has_column_privilege('{app}', 'audit_events', 'more', 'INSERT')"
    assert cluster.sql(f"SELECT {readable}, {writable}", "jitsudo") == "f|f"
    seen = cluster.module(MODULE, made, "--check")
    assert (seen["changed"], seen["without_rule"]) == (False, {"jitsudo": ['"public"."fresh"']})
    assert [finding for finding in prove(cluster, made) if "fresh" in finding]
    cluster.sql("DROP TABLE fresh", "jitsudo")

    # What an owner gives away comes back as drift, and goes with the next run.
    for drift, sign in (
        (f"SET ROLE {owner}; GRANT UPDATE (outcome), DELETE ON audit_events TO {app}", "REVOKE"),
        (f"SET ROLE {owner}; GRANT UPDATE ON SEQUENCE audit_events_id_seq TO {app}", "REVOKE UPDATE ON SEQUENCE"),
        (f"ALTER TABLE audit_events OWNER TO {app}", f'OWNER TO "{owner}"'),
        (f"GRANT {owner} TO {app}", f'REVOKE "{owner}" FROM "{app}"'),
        (f"ALTER ROLE {app} CREATEROLE", "NOCREATEROLE"),
        (f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT ALL ON TABLES TO {app}", "ALTER DEFAULT PRIVILEGES"),
    ):
        cluster.sql(drift, "jitsudo")
        assert [finding for finding in prove(cluster, made) if sign in finding], drift
    seen = cluster.module(MODULE, made, "--check", "--diff")
    assert seen["changed"] is True
    assert cluster.module(MODULE, made)["queries"] == seen["queries"]
    assert prove(cluster, made) == []

    # What the wish cannot take back is found all the same.
    cluster.sql(f"CREATE ROLE stranger IN ROLE {owner}")
    assert [finding for finding in prove(cluster, made) if "'stranger'" in finding]
    cluster.sql("DROP ROLE stranger")


LOUD = (
    "ALTER SYSTEM SET shared_preload_libraries = 'pgaudit'",
    "ALTER SYSTEM SET log_statement = 'all'",
    "ALTER SYSTEM SET log_min_duration_statement = 0",
    "ALTER SYSTEM SET log_min_error_statement = 'debug5'",
)
WATCH = "for i in $(seq 400); do cat /proc/[0-9]*/cmdline; echo; sleep 0.02; done > /root/titles 2>/dev/null"


def test_a_password_is_nowhere_but_where_it_belongs(programs: Cluster, tmp_path: Path) -> None:
    cluster = programs
    canary = f"canary-{os.urandom(8).hex()}"
    secrets = {name: f"{canary}-{name}" for name in ("owner", "app", "later")}
    roles = [{"name": f"s_{name}", "login": True, "password": secret} for name, secret in secrets.items()]
    grant = {"roles": ["s_app"], "privileges": ["CONNECT"]}
    databases = [{"name": "secrets", "owner": "s_owner", "grants": [grant]}]
    arguments = {"roles": "{{ s_roles }}", "databases": "{{ s_databases }}"}
    task = {"name": "Set", "bulwark.hardening.postgresql_grants": arguments}
    play = {"hosts": cluster.name, "gather_facts": False, "become": True, "tasks": [task]}
    (tmp_path / "play.yml").write_text(json.dumps([play]), "utf-8")

    def run(variables: dict[str, Any]) -> str:
        (tmp_path / "variables.json").write_text(json.dumps(variables), "utf-8")
        command = ["ansible-playbook", "-i", cluster.inventory, "-vvvv", "--diff", "-e", f"@{tmp_path}/variables.json"]
        done = subprocess.run(
            [str(Path(ANSIBLE).with_name(command[0])), *command[1:], str(tmp_path / "play.yml")],
            cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    try:
        cluster.sql("\n".join(f"{statement};" for statement in LOUD))
        cluster.shell(f"systemctl restart {cluster.unit}")
        cluster.sql("CREATE EXTENSION pgaudit; ALTER SYSTEM SET pgaudit.log = 'all'; SELECT pg_reload_conf()")
        start = cluster.shell(f"wc -c < {cluster.log}")
        cluster.shell(f"nohup sh -c '{WATCH}' >/dev/null 2>&1 &")
        words = run({"s_roles": roles, "s_databases": databases})
        assert "failed=0" in words
        # An error after the passwords, in the same transaction. Privileges of a database itself fire no such trigger.
        cluster.sql(
            "CREATE FUNCTION public.no() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''not today''; END';"
            "CREATE EVENT TRIGGER no ON ddl_command_start WHEN TAG IN ('GRANT', 'REVOKE') EXECUTE FUNCTION public.no()",
            "secrets",
        )
        changed = [{**role, "password": f"{role['password']}-new"} for role in roles]
        words += run({"s_roles": changed, "s_databases": [{**databases[0], "schemas": [{"name": "public"}]}]})
        assert "not today; nothing was changed" in words
        log = cluster.shell(f"tail -c +{start} {cluster.log}")
        assert "AUDIT: SESSION" in log
        assert 'GRANT CONNECT ON DATABASE "secrets" TO "s_app"' in log
        assert len(cluster.shell("cat /root/titles")) > 1000
        places = {"server log": log, "titles": cluster.shell("cat /root/titles"), "output": words}
        places["journal"] = cluster.shell("journalctl --no-pager")
        assert {name: text.count(canary) for name, text in places.items()} == dict.fromkeys(places, 0)
        assert "SCRAM-SHA-256$" not in log + words
        # And yet they were set.
        login = "psql -XAtc 'SELECT current_user' 'host=127.0.0.1 user=s_app dbname=secrets'"
        assert cluster.script(f"PGPASSWORD={secrets['app']} {login}", "").stdout.strip() == "s_app"
    finally:
        cluster.sql("DROP EXTENSION IF EXISTS pgaudit;\nALTER SYSTEM RESET ALL")
        cluster.shell(f"systemctl restart {cluster.unit}")
