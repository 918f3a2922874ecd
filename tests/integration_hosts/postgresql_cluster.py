# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disposable hosts with a running PostgreSQL cluster each: 15 on Debian 12, 17 on Debian 13."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

from tests.integration_hosts.test_baseline_modules import HOSTS, RELEASES, Host

VERSIONS = {"debian12": "15", "debian13": "17"}
PACKAGES = ("postgresql", "python3-psycopg2")


class Cluster(Host):
    """A host and its cluster `main`."""

    def __init__(self, name: str, release: str, ssh_config: str, inventory: str) -> None:
        super().__init__(name, ssh_config, inventory)
        self.release = release
        self.version = VERSIONS[release]
        self.unit = f"postgresql@{self.version}-main.service"
        self.configuration = f"/etc/postgresql/{self.version}/main"
        self.data = f"/var/lib/postgresql/{self.version}/main"
        self.log = f"/var/log/postgresql/postgresql-{self.version}-main.log"

    def script(self, program: str, text: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program on the host as root, with the text on its standard input."""
        done = subprocess.run(
            [*self._ssh, f"root@{self.name}", program],
            input=text,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{program}: {done.stderr}"
        return done

    def sql(self, statements: str, database: str = "postgres", check: bool = True) -> str:
        """Run statements as the superuser and return the rows, | between columns; after a failure, what was said."""
        stop = "-v ON_ERROR_STOP=1" if check else ""
        # Peer authentication: psql is started as the system user of the server.
        done = self.script(f"cd / && runuser -u postgres -- psql -XAtq {stop} -d {database} -f -", statements, check)
        return (done.stdout if check else done.stdout + done.stderr).strip()

    def rows(self, query: str, database: str = "postgres") -> list[dict[str, Any]]:
        """Return the rows of a query."""
        parts = ("SELECT coalesce(json_agg(found), '[]') FROM (", query.rstrip(";"), ") AS found")
        text = self.sql("\n".join(parts), database)
        answer: list[dict[str, Any]] = json.loads(text)
        return answer


@contextlib.contextmanager
def clusters(
    group: str, packages: Sequence[str] = (), releases: Sequence[str] = RELEASES
) -> Iterator[dict[str, Cluster]]:
    """Bring up one host for each release, named after it; VERSION in a package's name is that of its PostgreSQL."""
    group = f"{group}-{os.getpid()}"
    try:
        installed = [
            f"{release}={','.join(name.replace('VERSION', VERSIONS[release]) for name in (*PACKAGES, *packages))}"
            for release in releases
        ]
        subprocess.run(
            [*HOSTS, "up", "--group", group, *(word for value in installed for word in ("--install", value)),
             *(f"{release}={release}" for release in releases)],
            check=True, timeout=600,
        )  # fmt: skip
        config, inventory = [
            subprocess.run([*HOSTS, what, "--group", group], capture_output=True, text=True, check=True).stdout.strip()
            for what in ("ssh-config", "inventory")
        ]
        yield {release: Cluster(release, release, config, inventory) for release in releases}
    finally:
        subprocess.run([*HOSTS, "down", "--group", group], check=True, timeout=300)
