# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies of pg_hba.conf on real hosts, PostgreSQL 15 and 17; tests/postgresql/hba.py has the full sizes.

Makes its own disposable hosts (root on Linux).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration_hosts.postgresql_cluster import Cluster, clusters
from tests.postgresql import hba
from tests.postgresql.hba_cases import SERVICE_PASSWORD, good_probes, good_rules
from tests.postgresql.parts import problems

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root")


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Cluster]]:
    with clusters("hba") as found:
        on_each(list(found.values()), hba.bring)
        yield list(found.values())


def on_each(hosts: list[Cluster], act: Callable[[Cluster], Any]) -> list[Any]:
    """Do the same on all hosts at once."""
    with ThreadPoolExecutor(len(hosts)) as pool:
        return list(pool.map(act, hosts))


@pytest.mark.parametrize(
    ("part", "options", "least"),
    [
        ("parser", {"seed": 6, "files": 200}, 228),
        ("simulator", {"seed": 6, "policies": 20, "connections": 25}, 500),
        ("bad", {"seed": 6, "policies": 22}, 22),
        ("killed", {"seed": 4, "deaths": 8}, 8),
        ("failures", {}, 38),
        ("flows", {}, 10),
    ],
)
def test_part(hosts: list[Cluster], part: str, options: dict[str, Any], least: int) -> None:
    """A small sample of what the program does, on both releases."""
    answers = on_each(hosts, lambda cluster: hba.run(cluster, part, **options))
    assert [problems(answer) for answer in answers] == [[], []]
    assert all(len(answer["cases"]) >= least for answer in answers)


def test_modules(hosts: list[Cluster]) -> None:
    on_each(hosts, modules_keep_their_word)


def modules_keep_their_word(cluster: Cluster) -> None:
    """A task converges, says what decides on each probe, tells no password, and is asked about from outside."""
    rules = [*good_rules(), {"databases": ["app"], "users": ["reader"], "addresses": ["127.0.0.0/8"]}]
    cluster.shell("cp -p /etc/postgresql/*/main/pg_hba.conf /root/")
    wish = {"rules": rules, "probes": good_probes(), "foreign_rules": "remove"}
    done = cluster.converges("postgresql_hba", wish)
    assert [probe["found"] for probe in done["probes"]] == ["logged in", "logged in", "simulated", "asked", "simulated"]
    assert done["probes"][1]["rule"] == "hostssl app app 127.0.0.1/32 scram-sha-256"
    seen = cluster.module("postgresql_hba", {**wish, "rules": rules[:-1]}, "--diff", "-vvvv")
    assert seen["changed"] is True
    assert SERVICE_PASSWORD not in seen["words"]
    message = cluster.refuses("postgresql_hba", {**wish, "rules": [*rules[:2], *rules[3:]]})
    assert message.startswith("the policy was not tried: service ('app' to database 'app' over tls from 127.0.0.1)")
    logs = f"journalctl --no-pager | grep -c {SERVICE_PASSWORD}; grep -c {SERVICE_PASSWORD} {cluster.log}"
    assert cluster.shell(logs, check=False) == "0\n0"
    asked_about(cluster)


def asked_about(cluster: Cluster) -> None:
    """The same server, asked as a client: by several logins in one call."""
    login = {"name": "app", "user": "app", "database": "app"}
    server = {"host": "127.0.0.1"}
    fits = [{**login, "expect": "allowed"}, {**login, "tls": False, "expect": "refused"}]
    asked = cluster.module("postgresql_login", {**server, "logins": fits})
    assert ([entry["answer"] for entry in asked["answers"]], asked["changed"]) == (["scram", "refused"], False)
    wrong = [{**login, "expect": "refused"}]
    assert "is expected to be refused" in cluster.refuses("postgresql_login", {**server, "logins": wrong})
    stranger = cluster.module("postgresql_login", {**server, "source": "127.0.0.9", "logins": [login]})
    assert stranger["answers"][0]["answer"] == "refused"
    certificate = "/etc/ssl/certs/ssl-cert-snakeoil.pem"
    # A certificate that is not accepted is no refusal, though a refusal is expected.
    refusal = {**server, "ca_file": certificate, "logins": [{**login, "user": "nobody", "expect": "refused"}]}
    assert "its certificate is not accepted" in cluster.refuses("postgresql_login", refusal)
    for problem, more in (("no answer to go by", {"port": 5999}), ("cannot be used", {"ca_file": "/nowhere"})):
        assert problem in cluster.refuses("postgresql_login", {**server, "logins": [login], **more})
