# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host and the server know that decides on rules: settings, memberships, own networks, names."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import typing as t
from dataclasses import dataclass

from ...transaction.commands import run_to_end
from ...transaction.state import Command
from ..server import Refused, Server
from .match import Connection, World, pattern_of
from .syntax import Address, Entry, Record, number_of

MEMBERSHIPS = """
WITH RECURSIVE known(member, role) AS (
    SELECT oid, oid FROM pg_roles WHERE rolname = ANY(%s) OR rolsuper
    UNION SELECT known.member, above.roleid FROM known JOIN pg_auth_members above ON above.member = known.role
)
SELECT member.rolname::text, array_agg(role.rolname::text), bool_or(member.rolsuper AND member.rolcanlogin)
FROM known JOIN pg_roles member ON member.oid = known.member JOIN pg_roles role ON role.oid = known.role
GROUP BY member.rolname ORDER BY member.rolname
"""
CLUSTER = """
SELECT current_setting('hba_file'), current_setting('data_directory'), current_setting('ssl') = 'on',
    current_setting('listen_addresses'), current_setting('port')::int, pg_backend_pid(),
    coalesce(current_setting('oauth_validator_libraries', true), ''), current_setting('ssl_ca_file') <> ''
"""


class Disk:
    """Files as the server reads them: links among included files are followed."""

    def read(self, path: str) -> str:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()

    def names(self, directory: str) -> t.Sequence[str]:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if not entry.is_dir()]


@dataclass(frozen=True)
class Cluster:
    """What a change has to know of the running server."""

    major: int
    hba_file: str
    data_directory: str
    offers_tls: bool
    listening: tuple[str, ...]
    port: int
    programs: str
    oauth_libraries: str
    checks_clients: bool


def cluster_of(server: Server) -> Cluster:
    """Return the facts of the server. Raises Refused if its programs cannot be found."""
    hba_file, data, tls, listening, port, backend, oauth, checks = server.row(CLUSTER)
    try:
        program = os.readlink(f"/proc/{backend}/exe").replace(" (deleted)", "")
    except OSError as error:
        raise Refused(
            f"the server behind {server.place} is no process of this host ({error.strerror}), so its pg_hba.conf "
            "cannot be changed from here; run this on the host, or in the container, that it runs in"
        ) from error
    addresses = tuple(address.strip() for address in str(listening).split(",") if address.strip())
    return Cluster(server.major, hba_file, data, tls, addresses, port, os.path.dirname(program), oauth, checks)


def loaded_at(server: Server) -> float:
    """Return when the configuration that a new session lives by was loaded, in seconds since 1970."""
    return float(server.value("SELECT extract(epoch FROM pg_conf_load_time())::float8"))


def world_of(
    server: Server, connections: t.Sequence[Connection], entries: t.Sequence[Entry]
) -> tuple[World, tuple[str, ...]]:
    """Return what decisions on these connections depend on, and the superusers that may log in."""
    records = [entry for entry in entries if isinstance(entry, Record)]
    users = sorted({connection.user for connection in connections})
    memberships = {name: (groups, boss) for name, groups, boss in server.rows(MEMBERSHIPS, (users,))}
    superusers = tuple(name for name, (_groups, boss) in memberships.items() if boss)
    asked = [*users, *superusers, *(connection.database for connection in connections)]
    found = _found(server, records, sorted({text for text in asked if text}))
    named = any(record.address and record.address.name for record in records)
    addresses = {connection.address for connection in connections if connection.address and named}
    world = World(
        server.major,
        {name: frozenset(groups) for name, (groups, _boss) in memberships.items()},
        networks(),
        {address: names_of(address) for address in addresses},
        lambda pattern, text: (pattern, text) in found,
    )
    return world, superusers


def _found(server: Server, records: t.Sequence[Record], texts: t.Sequence[str]) -> set[tuple[str, str]]:
    """Return (pattern, text) for each regular expression that finds something; PostgreSQL's own are asked."""
    tokens = [token for record in records for token in (*record.databases, *record.users)]
    patterns = sorted({pattern for token in tokens if (pattern := pattern_of(token, server.major)) is not None})
    pairs = [(pattern, text) for pattern in patterns for text in texts]
    if not pairs:
        return set()
    query = 'SELECT pattern, word FROM unnest(%s, %s) AS pair(pattern, word) WHERE word ~ pattern COLLATE "C"'
    return set(t.cast("list[tuple[str, str]]", server.rows(query, [list(column) for column in zip(*pairs)])))


def networks() -> tuple[Address, ...]:
    """Return the addresses of this host's interfaces with the masks of their networks."""
    done, output = run_to_end(Command(("ip", "-json", "address", "show")))
    if not done:
        raise Refused(
            f"the addresses of this host cannot be read: {output.strip()[:200]}; install the package iproute2"
        )
    found = []
    for interface in json.loads(output):
        for entry in interface.get("addr_info", ()):
            base, version = number_of(entry["local"])
            width = 32 if version == 4 else 128
            mask = (1 << width) - (1 << width - int(entry["prefixlen"]))
            found.append(Address(base=base, mask=mask, version=version))
    return tuple(found)


def names_of(address: str) -> tuple[str, ...]:
    """Return the name of an address if it leads back to it, as the server wants it."""
    with contextlib.suppress(OSError):
        name, _port = socket.getnameinfo((address, 0), socket.NI_NAMEREQD)
        back = {str(found[4][0]) for found in socket.getaddrinfo(name, None)}
        if address in back:
            return (name,)
    return ()


def problems_of(server: Server) -> list[str]:
    """Return a sentence for each line of the present file that the server cannot read."""
    file = "file_name" if server.major >= 16 else "current_setting('hba_file')"
    rows = server.rows(f"SELECT {file}, line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL")
    return [f"{name} line {number}: {error}" for name, number, error in rows]
