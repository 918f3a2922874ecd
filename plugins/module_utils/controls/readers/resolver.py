# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How systemd-resolved finds the addresses of names."""

from __future__ import annotations

from collections.abc import Mapping

from ..host import Host
from ..model import Observation, item, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader

SERVERS = ("resolvectl", "--no-pager", "dns")
SIGNATURES = ("resolvectl", "--no-pager", "dnssec")


def announce_resolver(host: Host, _parameters: Parameters) -> None:
    """Ask systemd-resolved early."""
    host.start(*SERVERS)
    host.start(*SIGNATURES)


def resolver(host: Host, parameters: Parameters) -> Observation:
    """Check the servers that all interfaces share, and whether signatures must be right.

    ``servers``: addresses, exactly these. ``dnssec``: whether answers with wrong or missing signatures are refused.
    """
    servers = global_value(host.output(*SERVERS)).split()
    items = [item("servers", servers == parameters["servers"], " ".join(parameters["servers"]), " ".join(servers))]
    if parameters["dnssec"] is not None:
        wanted = "yes" if parameters["dnssec"] else "no"
        signatures = global_value(host.output(*SIGNATURES))
        items.append(item("DNSSEC", signatures == wanted, wanted, signatures))
    return observation(items, "resolvectl")


def global_value(answer: str) -> str:
    """Return what resolvectl says of no interface in particular."""
    for line in answer.splitlines():
        name, _colon, value = line.partition(":")
        if name.strip() == "Global":
            return " ".join(value.split())
    return ""


READERS: Mapping[str, Reader] = {
    "resolver": Reader(
        resolver, {"servers": Parameter("texts", required=True), "dnssec": Parameter("boolean")}, announce_resolver
    )
}
