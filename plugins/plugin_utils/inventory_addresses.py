# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replace inventory groups by the addresses of their hosts; pure."""

from __future__ import annotations

import ipaddress
import typing as t

GROUP_PREFIX = "group:"


class UnresolvedGroup(Exception):
    """A group that cannot be turned into addresses; the text is the sentence for the user."""


def is_address(text: t.Any) -> bool:
    """Return whether the text is a plain IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(str(text))
    except ValueError:
        return False
    return True


def host_addresses(name: str, variables: t.Mapping[str, t.Any]) -> list[str]:
    """Return a host's addresses: ``bulwark_addresses``, else ``ansible_host`` or its name when that is an address."""
    declared = variables.get("bulwark_addresses")
    if declared:
        return [str(address) for address in declared]
    for candidate in (variables.get("ansible_host"), name):
        if candidate and is_address(candidate):
            return [str(candidate)]
    return []


def resolve(
    values: t.Iterable[t.Any],
    path: str,
    groups: t.Mapping[str, t.Sequence[str]],
    variables_of: t.Callable[[str], t.Mapping[str, t.Any]],
) -> list[str]:
    """Return ``values`` with every ``group:NAME`` replaced by the addresses of the group's hosts, in inventory order.

    Raises UnresolvedGroup when the group does not exist, is empty, or a host in it has no known address.
    """
    resolved: list[str] = []
    for value in values:
        text = str(value)
        if not text.startswith(GROUP_PREFIX):
            resolved.append(text)
            continue
        group = text[len(GROUP_PREFIX) :]
        if group not in groups:
            raise UnresolvedGroup(
                f"{path}: the inventory has no group {group!r}; known are {', '.join(sorted(groups))}"
            )
        if not groups[group]:
            raise UnresolvedGroup(f"{path}: the inventory group {group!r} has no host, so {text!r} would allow nobody")
        for host in groups[group]:
            addresses = host_addresses(host, variables_of(host))
            if not addresses:
                raise UnresolvedGroup(
                    f"{path}: host {host!r} of group {group!r} has no known address; "
                    "set bulwark_addresses for it, or an address as ansible_host"
                )
            resolved.extend(addresses)
    return list(dict.fromkeys(resolved))
