# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checkout's bridge, its addresses and its way out."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from .common import run
from .model import Checkout

IPV4_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
# Every host's systemd holds about seven instances, and the kernel counts those of all hosts together.
INOTIFY_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
ENOUGH_INSTANCES = 1024


def known_routes() -> list[str]:
    """Destinations of the machine's IPv4 routes."""
    listing = run(["ip", "-4", "-json", "route", "show", "table", "all"]).stdout
    routes: list[dict[str, Any]] = json.loads(listing or "[]")
    return [str(route.get("dst", "")) for route in routes]


def nft_ruleset(checkout: Checkout) -> str:
    """An own table, replaced as a whole: hosts reach the outside under the machine's address.

    IPv6 stays on the bridge: switching on IPv6 forwarding would make a machine deaf to router advertisements.
    """
    return (
        f"table ip {checkout.nft_table}\n"
        f"delete table ip {checkout.nft_table}\n"
        f"table ip {checkout.nft_table} {{\n"
        "  chain postrouting {\n"
        "    type nat hook postrouting priority srcnat; policy accept;\n"
        f'    ip saddr {checkout.ipv4_network} oifname != "{checkout.bridge}" masquerade\n'
        "  }\n"
        "}\n"
    )


def ensure(checkout: Checkout) -> None:
    """Bridge, addresses, forwarding and masquerading; all of it may be there already."""
    if not Path(f"/sys/class/net/{checkout.bridge}").exists():
        run(["ip", "link", "add", checkout.bridge, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0"])
    ipv4, ipv6 = checkout.controller_addresses
    run(["ip", "address", "replace", f"{ipv4}/24", "dev", checkout.bridge])
    run(["ip", "address", "replace", f"{ipv6}/64", "dev", checkout.bridge, "nodad"])
    run(["ip", "link", "set", checkout.bridge, "up"])
    if int(INOTIFY_INSTANCES.read_text(encoding="ascii")) < ENOUGH_INSTANCES:
        INOTIFY_INSTANCES.write_text(str(ENOUGH_INSTANCES), encoding="ascii")
    if IPV4_FORWARDING.read_text(encoding="ascii").strip() != "1":
        IPV4_FORWARDING.write_text("1\n", encoding="ascii")
    run(["nft", "--file", "-"], text=nft_ruleset(checkout))
    _let_pass(checkout)


def remove(checkout: Checkout) -> None:
    """Take down what `ensure` made; forwarding stays on, others may have come to need it."""
    if Path(f"/sys/class/net/{checkout.bridge}").exists():
        run(["ip", "link", "delete", checkout.bridge], check=False)
    run(["nft", "delete", "table", "ip", checkout.nft_table], check=False)
    for rule in pass_rules(checkout):
        for chain in ("DOCKER-USER", "FORWARD"):
            _iptables("-D", chain, rule)


def pass_rules(checkout: Checkout) -> list[list[str]]:
    return [[direction, checkout.bridge, "-j", "ACCEPT"] for direction in ("-i", "-o")]


def _iptables(operation: str, chain: str, rule: list[str]) -> bool:
    if shutil.which("iptables") is None:
        return False
    return run(["iptables", "--wait", "10", operation, chain, *rule], check=False).returncode == 0


def _let_pass(checkout: Checkout) -> None:
    """Where Docker has set the machine to forward nothing, let the bridge's traffic through."""
    if shutil.which("iptables") is None:
        return
    listing = run(["iptables", "--wait", "10", "-S", "FORWARD"], check=False).stdout
    if "-P FORWARD DROP" not in listing:
        return
    chain = "DOCKER-USER" if "-j DOCKER-USER" in listing else "FORWARD"
    for rule in pass_rules(checkout):
        if not _iptables("-C", chain, rule):
            _iptables("-I", chain, rule)


def add_tap(name: str, bridge: str) -> None:
    """A virtual machine's end on the bridge."""
    delete_link(name)
    run(["ip", "tuntap", "add", "dev", name, "mode", "tap", "user", str(os.geteuid())])
    run(["ip", "link", "set", name, "master", bridge, "up"])


def delete_link(name: str) -> None:
    if Path(f"/sys/class/net/{name}").exists():
        run(["ip", "link", "delete", name], check=False)


def leftover_links(checkout: Checkout, expected: set[str]) -> list[str]:
    """Links of this checkout that belong to no host any more."""
    prefixes = (f"vb-bw{checkout.number}-", f"bt-bw{checkout.number}-")
    names = (link.name for link in Path("/sys/class/net").iterdir())
    return [name for name in names if name.startswith(prefixes) and name not in expected]
