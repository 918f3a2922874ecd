# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles and privileges on real clusters: what services do works, what would touch an audit trail does not.

Makes its own disposable hosts (root on Linux).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.plugin_utils import postgresql_profiles
from tests.integration_hosts.postgresql_cluster import Cluster, clusters
from tests.integration_hosts.test_baseline_modules import RELEASES
from tests.postgresql import statements

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
