# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every module that talks to a PostgreSQL cluster."""

from __future__ import annotations


class ModuleDocFragment:
    """Where the cluster is."""

    DOCUMENTATION = r"""
options:
  socket_directory:
    description:
      - Directory of the cluster's Unix socket.
      - The module talks to the cluster there, as O(system_user) by peer authentication, so no password is needed.
    type: path
    default: /var/run/postgresql
  port:
    description: Port of the cluster, which is part of the socket's name.
    type: int
    default: 5432
  system_user:
    description: The system user that the server runs as; the superuser of the same name is used.
    type: str
    default: postgres
requirements:
  - psycopg2 on the managed host (Debian package python3-psycopg2)
notes:
  - CockroachDB is recognised by asking the server, and refused.
"""
