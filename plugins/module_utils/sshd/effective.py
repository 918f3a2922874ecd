# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``sshd -T`` shows, against what the policy asks for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .policy import AT_LEAST, EXACT, Setting

Effective = Mapping[str, Sequence[str]]

# Parts of these are named by the policy, the rest is sshd's default.
_PARTIAL = frozenset({"persourcepenalties"})
_HEADLESS = frozenset({"port", "listenaddress"})


def parse(output: str) -> dict[str, list[str]]:
    """Return the values by lower-case keyword; a keyword that appears more than once has several values."""
    effective: dict[str, list[str]] = {}
    for line in output.splitlines():
        keyword, _blank, value = line.strip().partition(" ")
        if keyword:
            effective.setdefault(keyword.lower(), []).append(value.strip())
    return effective


def first(effective: Effective, keyword: str, default: str = "") -> str:
    """Return the first value of a keyword."""
    values = effective.get(keyword.lower()) or [default]
    return values[0]


def is_yes(effective: Effective, keyword: str) -> bool:
    """Return whether a keyword is on."""
    return first(effective, keyword).lower() == "yes"


def ports(effective: Effective) -> tuple[int, ...]:
    """Return the ports that sshd listens on."""
    found = [int(value.rsplit(":", 1)[1]) for value in effective.get("listenaddress", []) if ":" in value]
    return tuple(dict.fromkeys(found or [int(value) for value in effective.get("port", [])]))


def differences(lines: Sequence[Setting], effective: Effective, listening: bool = True) -> list[tuple[str, str, str]]:
    """Return (keyword, wanted, effective) for each keyword of the policy that is not in force.

    listening: whether ports and addresses count; they do not for an sshd that gets its sockets from systemd.
    """
    wanted: dict[str, list[str]] = {}
    for entry in lines:
        wanted.setdefault(entry.name, []).extend(entry.expected())
    found = []
    for keyword, values in wanted.items():
        if keyword in _HEADLESS:
            if not listening:
                continue
            actual = list(map(str, ports(effective))) if keyword == "port" else _hosts(effective)
        else:
            actual = [word for value in effective.get(keyword, []) for word in value.split()]
        if not _agrees(keyword, values, actual):
            found.append((keyword, " ".join(values), " ".join(actual) or "nothing"))
    return found


def _hosts(effective: Effective) -> list[str]:
    hosts = [value.rsplit(":", 1)[0].strip("[]") for value in effective.get("listenaddress", [])]
    return list(dict.fromkeys(hosts))


def _agrees(keyword: str, wanted: Sequence[str], actual: Sequence[str]) -> bool:
    if keyword in EXACT:
        return set(wanted) == set(actual)
    if keyword in AT_LEAST or keyword in _PARTIAL:
        return set(wanted) <= set(actual)
    if keyword in ("loglevel", "hostbasedauthentication"):
        return [value.lower() for value in wanted] == [value.lower() for value in actual]
    return list(wanted) == list(actual)
