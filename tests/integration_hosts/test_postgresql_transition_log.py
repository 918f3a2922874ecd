# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transition log on real hosts, PostgreSQL 15 and 17; tests/postgresql/transition_log.py has the full sizes.

Makes its own disposable hosts (root on Linux).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration_hosts.postgresql_cluster import Cluster, clusters
from tests.postgresql import transition_log
from tests.postgresql.parts import problems
from tests.postgresql.transition_log_cases import arguments

MODULE = "postgresql_transition_log"
PROFILE = Path(__file__).resolve().parents[2] / "roles/postgresql/transition_logs/jitsudo.yml"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root")


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Cluster]]:
    with clusters("tlog") as found:
        for cluster in found.values():
            transition_log.bring(cluster)
        yield list(found.values())


def on_each(hosts: list[Cluster], act: Callable[[Cluster], Any]) -> list[Any]:
    """Do the same on all hosts at once."""
    with ThreadPoolExecutor(len(hosts)) as pool:
        return list(pool.map(act, hosts))


@pytest.mark.parametrize(
    ("part", "options", "least"),
    [
        ("breakages", {}, 100),
        ("attacks", {}, 150),
        ("failures", {}, 25),
        ("load", {"seed": 6, "rounds": 2}, 7),
        ("records", {"seed": 6, "changes": 5000}, 8),
    ],
)
def test_part(hosts: list[Cluster], part: str, options: dict[str, Any], least: int) -> None:
    """A small sample of what the program does, on both releases."""
    answers = on_each(hosts, lambda cluster: transition_log.run(cluster, part, **options))
    assert [problems(answer) for answer in answers] == [[], []]
    assert all(len(answer["cases"]) >= least for answer in answers)


def test_module(hosts: list[Cluster]) -> None:
    on_each(hosts, module_keeps_its_word)


def module_keeps_its_word(cluster: Cluster) -> None:
    """Installing again changes nothing, verify names what differs, removing keeps the log."""
    there = cluster.module(MODULE, {**arguments(), "operation": "remove"})
    assert there["changed"] is True, there
    profile: dict[str, Any] = yaml.safe_load(PROFILE.read_text("utf-8"))
    wish = {"database": arguments()["database"], **profile}
    before = cluster.module(MODULE, wish, "--check", "--diff")
    assert before["changed"] is True, before
    assert any(text.startswith("trigger bulwark_record of public.policies") for text in before["differences"])
    assert cluster.sql("SELECT count(*) FROM pg_trigger WHERE tgname = 'bulwark_record'", "shop") == "0"
    assert cluster.module(MODULE, wish)["changed"] is True
    assert cluster.module(MODULE, wish)["changed"] is False

    verify = {**wish, "operation": "verify"}
    assert cluster.module(MODULE, verify)["failed"] is False
    cluster.sql(
        "ALTER TABLE policies DISABLE TRIGGER bulwark_record;"
        " CREATE TRIGGER other BEFORE UPDATE ON policies FOR EACH ROW EXECUTE FUNCTION"
        " suppress_redundant_updates_trigger()",
        "shop",
    )
    found = cluster.module(MODULE, verify)
    assert found["failed"] is True
    assert [text.split(":")[0] for text in found["differences"]] == ["trigger bulwark_record of public.policies"]
    assert found["foreign"] == ["trigger other of public.policies"]
    assert cluster.module(MODULE, verify, "--check")["changed"] is False

    records = int(cluster.sql("SELECT count(*) FROM bulwark_audit.transition", "shop"))
    assert cluster.module(MODULE, {"database": "shop", "operation": "remove"})["changed"] is True
    assert int(cluster.sql("SELECT count(*) FROM bulwark_audit.transition", "shop")) == records + 1
    left = cluster.sql("SELECT tgname FROM pg_trigger WHERE tgname LIKE 'bulwark%' ORDER BY 1", "shop")
    assert left == "bulwark_refuse_change\nbulwark_refuse_truncate"
    said = cluster.sql("DELETE FROM bulwark_audit.transition", "shop", check=False)
    assert "DELETE on bulwark_audit.transition is refused" in said
    refusal = cluster.refuses(MODULE, {**wish, "database": "nowhere"})
    assert 'database "nowhere" does not exist' in refusal
