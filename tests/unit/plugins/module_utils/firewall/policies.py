# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generated policies for the property tests."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import strategies as st

V4 = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3", "192.168.0.0/16", "203.0.113.7"]
V6 = ["fd00::/8", "fd00:1::/32", "fd00:1::7", "2001:db8::/48"]
PORTS = st.one_of(
    st.integers(1, 65535),
    st.tuples(st.integers(1, 60000), st.integers(1, 5000)).map(lambda pair: f"{pair[0]}-{pair[0] + pair[1]}"),
)
COMMENTS = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="'"), max_size=30).filter(
    str.isprintable
)


@st.composite
def raw_rules(draw: st.DrawFn, name: str, backend: str = "ufw") -> dict[str, Any]:
    direction = draw(st.sampled_from(["in", "in", "out"]))
    protocol = draw(st.sampled_from(["tcp", "tcp", "udp", "any", "esp"]))
    actions = ["allow", "deny", "reject"]
    ports: list[Any] = draw(st.lists(PORTS, max_size=20)) if protocol in ("tcp", "udp") else []
    if backend == "ufw" and ports and direction == "in":
        actions.append("limit")
    addresses = st.lists(st.sampled_from(V4 + V6), max_size=3, unique=True)
    sides: dict[str, list[str]] = {"sources": [], "destinations": []} | {
        ("destinations" if direction == "out" else draw(st.sampled_from(["sources", "destinations"]))): draw(addresses)
    }
    rule: dict[str, Any] = {
        "name": name,
        "direction": direction,
        "action": draw(st.sampled_from(actions)),
        "protocol": protocol,
        "ports": ports,
        "log": draw(st.booleans()),
        "comment": draw(COMMENTS),
        **sides,
    }
    if backend == "ufw":
        rule["interface"] = draw(st.sampled_from(["", "", "eth0", "wg0.1"]))
    return rule


@st.composite
def raw_policies(draw: st.DrawFn, backend: str = "ufw") -> dict[str, Any]:
    names = draw(
        st.lists(
            st.from_regex(r"[A-Za-z0-9._-][A-Za-z0-9 ._-]{0,20}[A-Za-z0-9._-]", fullmatch=True), max_size=6, unique=True
        )
    )
    rules = [draw(raw_rules(name, backend)) for name in names if name != "management"]
    return {
        "backend": backend,
        "rules": rules,
        "management_sources": draw(st.lists(st.sampled_from(V4 + V6), max_size=3, unique=True)),
        "default_inbound": draw(st.sampled_from(["deny", "reject", "allow"])),
        "default_outbound": draw(st.sampled_from(["deny", "reject", "allow"])),
        "logging": draw(st.sampled_from(["off", "low", "medium", "high"])),
    }


def addresses() -> st.SearchStrategy[str]:
    """Single addresses, most of them inside or at the edge of the networks above."""
    edges = []
    for text in V4 + V6:
        network = ipaddress.ip_network(text)
        edges += [str(network.network_address), str(network.broadcast_address)]
    return st.sampled_from([*edges, "8.8.8.8", "11.0.0.0", "2001:db9::1"])
