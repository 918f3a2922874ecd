# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a PostgreSQL server says of itself over its socket, by psql, and what its data lies on.

Nothing here is shared with what configures the server.
"""

from __future__ import annotations

import ipaddress
import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import conditions
from ..host import Host
from ..model import Item, Observation, Unreadable, Verdict, item, missing, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader

PLACE = {
    "socket_directory": Parameter("text", default="/var/run/postgresql"),
    "port": Parameter("port", default=5432),
    "system_user": Parameter("text", default="postgres"),
}
CLUSTERS = "/etc/postgresql/*/*/postgresql.conf"
NOTHING = "there is no PostgreSQL server on this host"
# A value from here is that of the asking session, and not the server's.
OF_SESSION = ("user", "database", "database user")
# Over the socket there is nothing to show of these.
OF_TCP = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
VERSION = "SELECT pg_catalog.version()"
STATE = """
SELECT pg_catalog.json_build_object(
 'settings', (SELECT pg_catalog.json_object_agg(s.name, pg_catalog.json_build_array(s.setting, s.source, s.reset_val))
              FROM pg_catalog.pg_settings s),
 'files', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(f.name, f.setting))
           FROM pg_catalog.pg_file_settings f WHERE f.applied),
 'rules', (SELECT pg_catalog.json_agg(pg_catalog.to_jsonb(r)) FROM pg_catalog.pg_hba_file_rules r),
 'rules_changed', (SELECT (pg_catalog.pg_stat_file(pg_catalog.current_setting('hba_file'))).modification
                   > pg_catalog.pg_conf_load_time()),
 'superusers', (SELECT pg_catalog.json_agg(r.rolname) FROM pg_catalog.pg_roles r WHERE r.rolsuper AND r.rolcanlogin),
 'groups', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(u.rolname, g.rolname))
            FROM pg_catalog.pg_roles u JOIN pg_catalog.pg_roles g ON pg_catalog.pg_has_role(u.oid, g.oid, 'MEMBER')
            WHERE u.rolsuper AND u.rolcanlogin),
 'directories', (SELECT pg_catalog.json_agg(d) FROM (
   SELECT pg_catalog.current_setting('data_directory') AS d
   UNION SELECT pg_catalog.pg_tablespace_location(t.oid) FROM pg_catalog.pg_tablespace t) x WHERE d <> ''))
"""
DATABASE_TYPES = ("host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")


# Asking


def command(parameters: Parameters, query: str) -> tuple[str, ...]:
    return (
        *("runuser", "-u", parameters["system_user"], "--", "psql", "-XAtqw", "-d", "postgres"),
        *("-h", parameters["socket_directory"], "-p", str(parameters["port"]), "-c", query),
    )


def there(host: Host, parameters: Parameters) -> bool:
    """Return whether a server listens here. Raises Unreadable if there should be one."""
    if host.exists(f"{parameters['socket_directory']}/.s.PGSQL.{parameters['port']}"):
        return True
    if host.glob(CLUSTERS):
        raise Unreadable(f"the server does not listen at {parameters['socket_directory']}, port {parameters['port']}")
    return False


def announce(host: Host, parameters: Parameters) -> None:
    """Ask early, and once for all readers."""
    if host.exists(f"{parameters['socket_directory']}/.s.PGSQL.{parameters['port']}"):
        host.start(*command(parameters, STATE))


def state(host: Host, parameters: Parameters) -> dict[str, Any]:
    text = host.output(*command(parameters, STATE))
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise Unreadable(f"psql answered something else than JSON: {text[:100]!r}") from error
    return found


# Settings


def settings(host: Host, parameters: Parameters) -> Observation:
    """Check what a new session of the server has.

    ``values``: conditions by setting, in the server's own units. ``only_if_exists``: those that older versions lack.
    ``socket_directory``, ``port``, ``system_user``: where the server listens, and as whom it runs.
    """
    if not there(host, parameters):
        return observation([], "psql", NOTHING)
    answer = state(host, parameters)
    return observation(list(setting_items(answer, parameters)), "pg_settings")


def setting_items(answer: Mapping[str, Any], parameters: Parameters) -> Iterator[Item]:
    for name, condition in parameters["values"].items():
        found = answer["settings"].get(name)
        if found is None and name in (parameters["only_if_exists"] or ()):
            yield missing(name, "this version has no such setting")
            continue
        observed, source = (found[0], found[1]) if found else (None, "")
        if name in OF_TCP:
            observed = next((value for key, value in reversed(answer["files"] or []) if key == name), observed)
        if source in OF_SESSION:
            reason = f"the role that asks has a value of its own, {observed!r}, by ALTER ROLE or ALTER DATABASE"
            yield Item(name, Verdict.UNKNOWN, "", "", reason)
            continue
        shown = "not set, as if its library were not loaded" if observed is None else repr(observed)
        yield item(name, conditions.met(condition, observed), conditions.describe(condition), shown)


# Rules of authentication


def authentication_rules(host: Host, parameters: Parameters) -> Observation:
    """Check that the rules for logins are sound, encrypted, without weak methods, and keep superusers on the host.

    ``methods_denied``: methods that no rule may have. ``superusers_remote``: whether these may log in from elsewhere.
    ``socket_directory``, ``port``, ``system_user``: where the server listens, and as whom it runs.
    """
    if not there(host, parameters):
        return observation([], "psql", NOTHING)
    answer = state(host, parameters)
    rules = answer["rules"] or []
    items = [
        item("pg_hba.conf", not answer["rules_changed"], "is the one that is loaded", "was changed since it was loaded")
    ]
    for rule in rules:
        items += rule_items(rule, parameters["methods_denied"])
    if not parameters["superusers_remote"]:
        groups = set(map(tuple, answer["groups"] or []))
        for name in answer["superusers"] or []:
            rule = admitting(rules, name, groups)
            seen = f"is admitted by {place(rule)}" if rule else "is refused"
            items.append(item(f"superuser {name} from another host", rule is None, "is refused", seen))
    return observation(items, "pg_hba_file_rules")


def rule_items(rule: Mapping[str, Any], denied: Sequence[str]) -> Iterator[Item]:
    name = place(rule)
    if rule["error"]:
        yield item(name, False, "without an error", rule["error"])
        return
    yield item(name, rule["auth_method"] not in denied, f"without {', '.join(denied)}", f"has {rule['auth_method']}")
    plain = rule["type"] in DATABASE_TYPES and rule["type"] not in ("hostssl", "hostgssenc")
    if plain and rule["auth_method"] != "reject" and not on_host(rule):
        yield item(name, False, "encrypted", f"takes connections of type {rule['type']} without TLS")


def place(rule: Mapping[str, Any]) -> str:
    file = posixpath.basename(rule.get("file_name") or "pg_hba.conf")
    return f"{file} line {rule['line_number']}"


def admitting(rules: Sequence[Mapping[str, Any]], user: str, groups: set[tuple[str, str]]) -> Mapping[str, Any] | None:
    """Return the first rule by which a role gets in from another host, None if all such are shut before."""
    shut: set[int] = set()
    for rule in rules:
        if rule["error"] or rule["type"] not in DATABASE_TYPES or not concerns(rule, user, groups):
            continue
        if rule["auth_method"] != "reject":
            if not on_host(rule) and not versions(rule) <= shut:
                return rule
        elif rule["type"] == "host" and "all" in rule["database"] and everywhere(rule):
            shut |= versions(rule)
    return None


def concerns(rule: Mapping[str, Any], user: str, groups: set[tuple[str, str]]) -> bool:
    for name in rule["user_name"] or []:
        if name.startswith("/"):
            try:
                if re.search(name[1:], user):
                    return True
            except re.error:
                # Whom it means is not known, so it may mean this one.
                return True
        elif name in ("all", user) or (name.startswith("+") and (user, name[1:]) in groups):
            return True
    return False


def versions(rule: Mapping[str, Any]) -> set[int]:
    """Return the IP versions that a rule is about."""
    try:
        return {ipaddress.ip_address(rule["address"]).version}
    except ValueError:
        return {4, 6}


def everywhere(rule: Mapping[str, Any]) -> bool:
    if rule["address"] == "all":
        return True
    try:
        return int(ipaddress.ip_address(rule["netmask"])) == 0
    except ValueError:
        return False


def on_host(rule: Mapping[str, Any]) -> bool:
    """Return whether only this host can be meant."""
    if rule["address"] in ("samehost", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(rule["address"])
        mask = int(ipaddress.ip_address(rule["netmask"]))
    except ValueError:
        return False
    # 127.0.0.0/8 or a part of it, and ::1 alone.
    return address.is_loopback and (mask >> 24 == 0xFF if address.version == 4 else mask == (1 << 128) - 1)


# Which product


def product(host: Host, parameters: Parameters) -> Observation:
    """Check that the database is PostgreSQL, and nowhere a CockroachDB.

    ``socket_directory``, ``port``, ``system_user``: where the server listens, and as whom it runs.
    """
    items = []
    running = [number for number in host.processes if (_name(host, number)) == "cockroach"]
    if running:
        items.append(item(f"process {running[0]}", False, "no CockroachDB", f"cockroach runs; {WAY_OUT}"))
    if there(host, parameters):
        said = host.output(*command(parameters, VERSION)).strip()
        passed = said.startswith("PostgreSQL ") and "CockroachDB" not in said
        items.append(item("server", passed, "is PostgreSQL", said[:80] if passed else f"{said[:80]}; {WAY_OUT}"))
    return observation(items, "psql, /proc", NOTHING)


WAY_OUT = "ZITADEL supports it no more: move the data with 'zitadel mirror' to PostgreSQL 14 or later"


def _name(host: Host, process: int) -> str:
    try:
        return (host.read(f"/proc/{process}/comm") or "").strip()
    except Unreadable:
        return ""


# Encryption at rest


def encryption_at_rest(host: Host, parameters: Parameters) -> Observation:
    """Check that all data of the server lies on dm-crypt: its directory, the log of changes, every tablespace.

    A disk that encrypts by itself, and what a provider does below a virtual machine, cannot be seen from here.
    ``socket_directory``, ``port``, ``system_user``: where the server listens, and as whom it runs.
    """
    if not there(host, parameters):
        return observation([], "psql", NOTHING)
    directories = state(host, parameters)["directories"] or []
    log = host.link(f"{directories[0]}/pg_wal") if directories else ""
    items = [on_encrypted_disk(host, path) for path in sorted({*directories, *([log] if log else [])})]
    return observation(items, "/proc/self/mountinfo, /sys/dev/block")


def on_encrypted_disk(host: Host, path: str) -> Item:
    try:
        device = device_of(host, path)
        plain = plain_device(host, device)
    except Unreadable as error:
        return Item(path, Verdict.UNKNOWN, "", "", f"{error}; attest it by a waiver if what is below encrypts")
    seen = f"lies on {plain}, which the kernel does not encrypt" if plain else "lies on dm-crypt"
    return item(path, not plain, "lies on dm-crypt", seen)


def device_of(host: Host, path: str) -> str:
    """Return MAJOR:MINOR of the device that a path lies on. Raises Unreadable where there is no one device."""
    best: tuple[str, str, str, str] | None = None
    for line in host.lines("/proc/self/mountinfo"):
        front, _dash, back = line.partition(" - ")
        fields, kind = front.split(), back.split()
        if len(fields) < 5 or len(kind) < 2:
            continue
        mount = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4])
        covers = mount == "/" or path == mount or path.startswith(f"{mount}/")
        # Of two at the same place the later one is on top.
        if covers and (best is None or len(mount) >= len(best[0])):
            best = (mount, fields[2], kind[0], kind[1])
    if best is None:
        raise Unreadable(f"nothing is mounted at {path}")
    mount, device, kind_of, source = best
    if not device.startswith("0:"):
        return device
    # btrfs has a number of its own, and names one of its devices.
    name = posixpath.basename(source)
    own = host.read(f"/sys/class/block/{name}/dev") if kind_of == "btrfs" and source.startswith("/dev/") else None
    if own is None:
        raise Unreadable(f"what is below {mount} ({kind_of}) cannot be seen from here")
    return own.strip()


def plain_device(host: Host, device: str, depth: int = 0) -> str:
    """Return a device below this one that holds plain text, empty if all of them are encrypted. Raises Unreadable."""
    place_of = f"/sys/dev/block/{device}"
    if depth > 10 or not host.exists(place_of):
        raise Unreadable(f"the block device {device} cannot be seen from here")
    if (host.read(f"{place_of}/dm/uuid") or "").startswith("CRYPT-"):
        return ""
    backing = (host.read(f"{place_of}/loop/backing_file") or "").strip()
    if backing:
        return plain_device(host, device_of(host, backing), depth + 1)
    below = [(host.read(f"{place_of}/slaves/{name}/dev") or "").strip() for name in host.names(f"{place_of}/slaves")]
    if not below:
        name = (host.read(f"{place_of}/dm/name") or "").strip() or posixpath.basename(host.link(place_of))
        return name or device
    return next((found for found in (plain_device(host, one, depth + 1) for one in below if one) if found), "")


READERS: Mapping[str, Reader] = {
    "postgresql_settings": Reader(
        settings,
        {**PLACE, "values": Parameter("conditions", required=True), "only_if_exists": Parameter("texts")},
        announce,
    ),
    "postgresql_authentication_rules": Reader(
        authentication_rules,
        {
            **PLACE,
            "methods_denied": Parameter("texts", default=["trust", "password", "md5", "ident"]),
            "superusers_remote": Parameter("boolean", default=False),
        },
        announce,
    ),
    "postgresql_product": Reader(product, PLACE),
    "postgresql_encryption_at_rest": Reader(encryption_at_rest, PLACE, announce),
}
