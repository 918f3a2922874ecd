# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of the scenario `postgresql` as other hosts see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SERVERS = {"database12": 15, "database13": 17}
WRONG = "not-the-password"
# What each role logs in with, and where to, from which host.
LOGINS = {
    "jitsudo_app": ("runtime-of-jitsudo", "jitsudo", "client"),
    "inventory_app": ("runtime-of-inventory", "inventory", "client"),
    "jitsudo_owner": ("owner-of-jitsudo", "jitsudo", "administrator"),
    "jitsudo_auditor": ("auditor-of-jitsudo", "jitsudo", "administrator"),
    "backup": ("backup-of-all", "jitsudo", "administrator"),
    "responder": ("responder-to-incidents", "postgres", "administrator"),
}
OUTSIDE = ("client", "administrator", "stranger")


@dataclass(frozen=True)
class Database:
    """A server as other hosts see it."""

    scenario: Any
    server: str

    def run(self, source: str, role: str, sql: str = "SELECT 1", *, database: str = "", **more: str) -> Any:
        """Return what psql on another host says; `more` are options of the connection."""
        password, usual, _home = LOGINS.get(role, (WRONG, "postgres", ""))
        options = {
            "host": self.scenario.address(self.server),
            "dbname": database or usual,
            "user": role,
            "sslmode": "verify-full",
            "sslrootcert": "/root/root.pem",
            "connect_timeout": "10",
            **more,
        }
        secret = options.pop("password", password)
        words = " ".join(f"{name}={value}" for name, value in options.items())
        return self.scenario.host(source).run("PGPASSWORD=%s psql -XqAtw -d %s -c %s", secret, words, sql)

    def refused(self, source: str, role: str, words: str = "", *, sql: str = "SELECT 1", **more: str) -> str:
        """Return why that fails; fails itself if it does not, or not for this reason."""
        done = self.run(source, role, sql, **more)
        assert done.rc != 0, done.stdout
        assert words in done.stderr
        return str(done.stderr)

    def on_host(self, sql: str, database: str = "postgres") -> str:
        command = "runuser -u postgres -- psql -XqAt -v ON_ERROR_STOP=1 -d %s -c %s"
        return str(self.scenario.host(self.server).check_output(command, database, sql))
