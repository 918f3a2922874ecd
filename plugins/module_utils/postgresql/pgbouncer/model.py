# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of PgBouncer as it should be, as text. Pure.

Source of names and units: https://www.pgbouncer.org/config.html.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping, Sequence

from ..server import Refused

CONFIGURATION, USERS = "/etc/pgbouncer/pgbouncer.ini", "/etc/pgbouncer/userlist.txt"
# PgBouncer lets in by this name whoever runs as its own system user.
CONSOLE = "pgbouncer"
POOL_MODES = ("session", "transaction")
VERIFIER = re.compile(r"SCRAM-SHA-256\$[0-9]+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+")
DATABASE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
EXTRA_NAME = re.compile(r"[a-z_]+")
SUITES = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
PROTOCOLS = {"TLSv1.2": "tlsv1.2,tlsv1.3", "TLSv1.3": "tlsv1.3"}

DATABASE: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "database": {"type": "str"},
    "host": {"type": "str"},
    "port": {"type": "int"},
    "pool_mode": {"type": "str", "choices": list(POOL_MODES), "default": "session"},
    "pool_size": {"type": "int", "default": 20},
    "max_connections": {"type": "int", "default": 50},
}
PROBE: dict[str, t.Any] = {
    "user": {"type": "str", "required": True},
    "database": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
}
ARGUMENTS: dict[str, t.Any] = {
    "databases": {"type": "list", "elements": "dict", "required": True, "options": DATABASE},
    "users": {"type": "list", "elements": "str", "required": True},
    "probes": {"type": "list", "elements": "dict", "default": [], "options": PROBE},
    "listen_addresses": {"type": "list", "elements": "str", "default": ["localhost"]},
    "listen_port": {"type": "int", "default": 6432},
    "client_tls_certificate_file": {"type": "path", "required": True},
    "client_tls_key_file": {"type": "path", "required": True},
    "client_tls_minimum_version": {"type": "str", "choices": sorted(PROTOCOLS), "default": "TLSv1.2"},
    "server_tls_ca_file": {"type": "path"},
    "max_client_connections": {"type": "int", "default": 500},
    "max_user_connections": {"type": "int", "default": 50},
    "query_wait_timeout_seconds": {"type": "int", "default": 30},
    "client_login_timeout_seconds": {"type": "int", "default": 15},
    "client_idle_timeout_seconds": {"type": "int", "default": 3600},
    "idle_transaction_timeout_seconds": {"type": "int", "default": 60},
    "extra_settings": {"type": "dict", "default": {}},
}
AT_LEAST_ONE = (
    "max_client_connections",
    "max_user_connections",
    "query_wait_timeout_seconds",
    "client_login_timeout_seconds",
    "client_idle_timeout_seconds",
    "idle_transaction_timeout_seconds",
)


def problems(wish: Mapping[str, t.Any]) -> list[str]:
    """Return a sentence for everything that is wrong with the arguments, paths first."""
    found = [f"{name}: {wish[name]} is not accepted; accepted is 1 or more" for name in AT_LEAST_ONE if wish[name] < 1]
    if not 1 <= wish["listen_port"] <= 65535:
        found.append(f"listen_port: {wish['listen_port']} is no port; accepted are 1 to 65535")
    for index, address in enumerate(wish["listen_addresses"]):
        if address in ("*", "0.0.0.0", "::"):  # noqa: S104 - what is refused
            found.append(
                f"listen_addresses[{index}]: {address!r} is every address of the host; name those that clients use"
            )
        elif not re.fullmatch(r"[A-Za-z0-9.:%_-]+", address):
            found.append(f"listen_addresses[{index}]: {address!r} is no address or name")
    for name in ("databases", "users"):
        if not wish[name]:
            found.append(f"{name}: there is none, so that nobody could use PgBouncer; name at least one")
    found += _database_problems(wish)
    for index, user in enumerate(wish["users"]):
        if user == CONSOLE or not user or any(character in user for character in "\0\n\r"):
            found.append(f"users[{index}]: {user!r} is no role of the server that a client could use")
    managed = set(settings(wish, "/"))
    for name in wish["extra_settings"]:
        if name in managed or not EXTRA_NAME.fullmatch(name):
            found.append(
                f"extra_settings: {name!r} is not accepted; accepted are other settings of PgBouncer than "
                f"{', '.join(sorted(managed))}"
            )
    for name, value in wish["extra_settings"].items():
        if isinstance(value, (dict, list)) or re.search(r"[\0\n\r]", str(value)):
            found.append(f"extra_settings.{name}: {value!r} is no value; accepted is one line")
    return found


def _database_problems(wish: Mapping[str, t.Any]) -> list[str]:
    found = []
    seen: set[str] = set()
    for index, entry in enumerate(wish["databases"]):
        place, name = f"databases[{index}]", entry["name"]
        if name == CONSOLE or name in seen or not DATABASE_NAME.fullmatch(name):
            found.append(
                f"{place}.name: {name!r} is not accepted; accepted are names of letters, digits and . _ -, each once, "
                f"and not {CONSOLE}"
            )
        seen.add(name)
        for key in ("database", "host"):
            if re.search(r"[\0\n\r]", entry.get(key) or ""):
                found.append(f"{place}.{key}: {entry[key]!r} goes on in another line")
        for key in ("pool_size", "max_connections"):
            if entry[key] < 1:
                found.append(f"{place}.{key}: {entry[key]} is not accepted; accepted is 1 or more")
        if not by_socket(entry) and not wish["server_tls_ca_file"]:
            found.append(
                f"{place}.host: {entry['host']!r} is reached over the network, where the server has to prove who it "
                "is; give server_tls_ca_file"
            )
    names = {entry["name"] for entry in wish["databases"]}
    found += [
        f"probes[{index}].{key}: {probe[key]!r} is none of {key}s; accepted are {', '.join(sorted(accepted))}"
        for index, probe in enumerate(wish["probes"])
        for key, accepted in (("database", names), ("user", set(wish["users"])))
        if probe[key] not in accepted
    ]
    return found


def by_socket(entry: Mapping[str, t.Any]) -> bool:
    """Return whether a database is reached by a socket of this host."""
    return not entry.get("host") or str(entry["host"]).startswith("/")


def settings(wish: Mapping[str, t.Any], socket_directory: str) -> dict[str, str]:
    """Return the settings that this module is about, as the console shows them."""
    remote = any(not by_socket(entry) for entry in wish["databases"])
    server_tls = {"server_tls_sslmode": "verify-full", "server_tls_ca_file": wish["server_tls_ca_file"] or ""}
    return {
        "listen_addr": ",".join(wish["listen_addresses"]),
        "listen_port": str(wish["listen_port"]),
        "unix_socket_dir": socket_directory,
        "auth_type": "scram-sha-256",
        "auth_file": USERS,
        "client_tls_sslmode": "require",
        "client_tls_cert_file": wish["client_tls_certificate_file"],
        "client_tls_key_file": wish["client_tls_key_file"],
        "client_tls_protocols": PROTOCOLS[wish["client_tls_minimum_version"]],
        "client_tls_ciphers": SUITES,
        **(server_tls if remote else {}),
        "max_client_conn": str(wish["max_client_connections"]),
        "max_user_connections": str(wish["max_user_connections"]),
        "query_wait_timeout": str(wish["query_wait_timeout_seconds"]),
        "client_login_timeout": str(wish["client_login_timeout_seconds"]),
        "client_idle_timeout": str(wish["client_idle_timeout_seconds"]),
        "idle_transaction_timeout": str(wish["idle_transaction_timeout_seconds"]),
        "log_connections": "1",
        "log_disconnections": "1",
    }


def render(wish: Mapping[str, t.Any], own: Mapping[str, str], socket_directory: str, port: int) -> str:
    """Return the file, with the settings ``own`` besides those that the user gives."""
    lines = ["; Written by bulwark.hardening; changes are overwritten.", "[databases]"]
    for entry in wish["databases"]:
        values = {
            "host": entry.get("host") or socket_directory,
            "port": entry.get("port") or port,
            "dbname": entry.get("database") or entry["name"],
            "pool_mode": entry["pool_mode"],
            "pool_size": entry["pool_size"],
            "max_db_connections": entry["max_connections"],
        }
        lines.append(f"{entry['name']} = " + " ".join(f"{name}={quoted(value)}" for name, value in values.items()))
    lines += ["", "[pgbouncer]", *(f"{name} = {value}" for name, value in own.items())]
    lines += [f"{name} = {_plain(value)}" for name, value in sorted(wish["extra_settings"].items())]
    return "\n".join(lines) + "\n"


def quoted(value: t.Any) -> str:
    """Return a value of a connection string."""
    return "'" + str(value).replace("'", "''") + "'"


def _plain(value: t.Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def users(verifiers: Mapping[str, str]) -> str:
    """Return the file of those who may log in."""
    return "".join(f"{_doubled(name)} {_doubled(verifiers[name])}\n" for name in sorted(verifiers))


def _doubled(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def who_may(rows: t.Iterable[Sequence[t.Any]], wished: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return verifiers by role, and the roles that cannot log in now.

    rows are name, password as stored, whether it may log in and whether its password is still good.
    Raises Refused for a role that is not there, or whose password is stored in another way.
    """
    found = {row[0]: row for row in rows}
    missing = [name for name in wished if name not in found]
    if missing:
        raise Refused(f"users: {missing[0]!r} is no role of the server; create it first, or leave it out")
    verifiers: dict[str, str] = {}
    without: list[str] = []
    for name in wished:
        _name, stored, may_log_in, good = found[name]
        if not stored or not may_log_in or not good:
            without.append(name)
        elif not VERIFIER.fullmatch(stored):
            raise Refused(f"users: the password of {name!r} is not stored for SCRAM; set it again, then run again")
        else:
            verifiers[name] = stored
    if not verifiers:
        raise Refused(f"users: none of {', '.join(wished)} can log in at the server; give one of them a password first")
    return verifiers, without


def differing(wished: Mapping[str, str], shown: Mapping[str, Sequence[str]]) -> dict[str, bool]:
    """Return the settings that the running program does not have as wished, and whether a reload can change each."""
    return {
        name: shown.get(name, ("", "no"))[1] == "yes"
        for name, value in wished.items()
        if shown.get(name, ("", ""))[0] != value
    }


def names(text: str) -> list[str]:
    """Return the users of a file of them."""
    return [found[1].replace('""', '"') for found in re.finditer(r'^\s*"((?:[^"]|"")*)"', text, re.MULTILINE)]
