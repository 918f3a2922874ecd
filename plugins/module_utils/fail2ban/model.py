# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jails, filters and their defaults as data; pure."""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import dataclass

Raw = t.Mapping[str, t.Any]

JOURNAL, FILES = "journal", "files"
PROTOCOLS = ("tcp", "udp", "any")
# A loop on the host itself is not an attack, and a ban of it would cut services from each other.
ALWAYS_IGNORED = ("127.0.0.0/8", "::1")
JAIL_SETTINGS = ("maximum_attempts", "find_seconds", "ban_seconds")
MULTIPLIERS_AT_MOST = 32


class Fail2banError(Exception):
    """Something is not as it must be; the text is the sentence for the user."""


@dataclass(frozen=True)
class Sample:
    """A log line and the address that it must count against, empty if it must count against nobody."""

    line: str
    address: str
    source: str = JOURNAL


@dataclass(frozen=True)
class Filter:
    name: str
    prefix: str
    fail_patterns: tuple[str, ...]
    ignore_patterns: tuple[str, ...]
    date_pattern: str
    samples: tuple[Sample, ...]

    @property
    def file_name(self) -> str:
        """Its name for fail2ban, which has filters of its own with common names."""
        return f"bulwark-{self.name}"


@dataclass(frozen=True)
class Jail:
    """One jail, complete but for where it finds its log, which only the host knows."""

    name: str
    enabled: bool
    filter: str
    package_filter: str
    backend: str
    journal_matches: tuple[str, ...]
    log_paths: tuple[str, ...]
    ports: tuple[str, ...]
    protocol: str
    maximum_attempts: int
    find_seconds: int
    ban_seconds: int
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    jails: tuple[Jail, ...]
    filters: tuple[Filter, ...]
    ignored: tuple[str, ...]
    maximum_attempts: int
    find_seconds: int
    ban_seconds: int
    growth_factor: int
    maximum_ban_seconds: int
    history_seconds: int
    sandbox: bool = True

    @property
    def enabled(self) -> tuple[Jail, ...]:
        return tuple(jail for jail in self.jails if jail.enabled)


def merged(*layers: t.Iterable[Raw] | None) -> list[dict[str, t.Any]]:
    """Return one entry for each name: what a later one says replaces what an earlier one said."""
    result: dict[str, dict[str, t.Any]] = {}
    for layer in layers:
        for entry in layer or ():
            known = result.setdefault(str(entry["name"]), {})
            known.update({key: value for key, value in entry.items() if value is not None})
    return list(result.values())


def filter_of(jail: Raw) -> str:
    """Return the name of the jail's declared filter, empty if it takes one of fail2ban's own."""
    return "" if jail.get("package_filter") else str(jail.get("filter") or jail["name"])


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return an address or a network; raises ValueError for anything else, and for bits behind the prefix."""
    return ipaddress.ip_network(text)


def plain_network(text: str) -> str:
    """Return an address or a network in the one form in which all are compared."""
    parsed = network(text)
    return str(parsed.network_address) if parsed.prefixlen == parsed.max_prefixlen else str(parsed)


def ignored_addresses(declared: t.Iterable[str], session_address: str = "") -> tuple[str, ...]:
    """Return the addresses that are never banned, each once; the session's only if no network holds it."""
    addresses = list(dict.fromkeys(plain_network(text) for text in (*ALWAYS_IGNORED, *declared)))
    if session_address:
        session = network(session_address)
        nets = [network(address) for address in addresses]
        if not any(net.version == session.version and net.overlaps(session) for net in nets):
            addresses.append(plain_network(session_address))
    return tuple(addresses)


def multipliers(factor: int, ban_seconds: int, maximum_seconds: int) -> tuple[int, ...]:
    """Return by what each further ban of an address is longer than the first, up to the maximum.

    fail2ban looks up the number of earlier bans in this list, and takes the last when there are more.
    """
    values = [1]
    while factor > 1 and values[-1] * ban_seconds < maximum_seconds and len(values) < MULTIPLIERS_AT_MOST:
        values.append(values[-1] * factor)
    return tuple(values)


def build(raw: Raw, session_address: str = "") -> Policy:
    """Return the policy of a module call that validate.py has accepted."""
    ignored = ignored_addresses(
        [*(raw.get("management_sources") or ()), *(raw.get("ignored_addresses") or ())], session_address
    )
    jails = tuple(
        Jail(
            name=str(entry["name"]),
            enabled=bool(entry.get("enabled", True)),
            filter=filter_of(entry),
            package_filter=str(entry.get("package_filter") or ""),
            backend=str(entry.get("backend") or "auto"),
            journal_matches=tuple(entry.get("journal_matches") or ()),
            log_paths=tuple(entry.get("log_paths") or ()),
            ports=tuple(str(port) for port in entry.get("ports") or ()),
            protocol=str(entry.get("protocol") or "tcp"),
            ignored=ignored_addresses([*ignored, *(entry.get("ignored_addresses") or ())]),
            **{key: int(entry.get(key) or raw[key]) for key in JAIL_SETTINGS},
        )
        for entry in merged(raw.get("base_jails"), raw.get("jails"))
    )
    used = {jail.filter for jail in jails if jail.enabled}
    filters = tuple(
        Filter(
            name=str(entry["name"]),
            prefix=str(entry.get("prefix") or ""),
            fail_patterns=tuple(entry.get("fail_patterns") or ()),
            ignore_patterns=tuple(entry.get("ignore_patterns") or ()),
            date_pattern=str(entry.get("date_pattern") or ""),
            samples=tuple(
                Sample(str(sample["line"]), str(sample.get("address") or ""), str(sample.get("source") or JOURNAL))
                for sample in entry.get("samples") or ()
            ),
        )
        for entry in merged(raw.get("base_filters"), raw.get("filters"))
        if str(entry["name"]) in used
    )
    return Policy(
        jails=jails,
        filters=filters,
        ignored=ignored,
        growth_factor=int(raw["ban_growth_factor"]),
        maximum_ban_seconds=int(raw["maximum_ban_seconds"]),
        history_seconds=int(raw["history_seconds"]),
        sandbox=raw.get("sandbox") is not False,
        **{key: int(raw[key]) for key in JAIL_SETTINGS},
    )


def port_range(text: t.Any) -> tuple[int, int]:
    """Return the first and the last port of ``22`` or ``8000-8010``. Raises ValueError."""
    first, dash, last = str(text).partition("-")
    if isinstance(text, bool) or not first.isdecimal() or (dash and not last.isdecimal()):
        raise ValueError(text)
    low, high = int(first), int(last if dash else first)
    if not 1 <= low <= high <= 65535:
        raise ValueError(text)
    return low, high
