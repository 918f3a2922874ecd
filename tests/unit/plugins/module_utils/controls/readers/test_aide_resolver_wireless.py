# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AIDE's database, the resolver, wireless interfaces."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.host import Answer
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import Unreadable

from ..conftest import MakeHost

DATABASE = "/var/lib/aide/aide.db"
MAKERS = ["init.timer", "init.service"]
LOADED = {"systemctl list-units": "init.timer loaded active waiting T\ninit.service loaded inactive dead S\n"}


def shown(timer: tuple[str, str], service: tuple[str, str]) -> str:
    """Return what systemctl shows of the two units, each with its state and its detailed state."""
    return "\n".join(f"LoadState=loaded\nActiveState={active}\nSubState={sub}\n" for active, sub in (timer, service))


@pytest.mark.parametrize(
    ("files", "timer", "service", "verdict"),
    [
        ({DATABASE: "x"}, ("active", "elapsed"), ("inactive", "dead"), "pass"),
        ({}, ("active", "waiting"), ("inactive", "dead"), "pending"),
        ({}, ("active", "running"), ("active", "running"), "pending"),
        ({}, ("active", "elapsed"), ("activating", "start"), "pending"),
        ({}, ("active", "elapsed"), ("inactive", "dead"), "fail"),
        ({}, ("active", "elapsed"), ("failed", "failed"), "fail"),
        ({}, ("inactive", "dead"), ("inactive", "dead"), "fail"),
        ({DATABASE: None}, ("inactive", "dead"), ("inactive", "dead"), "fail"),
    ],
)
def test_aide_has_a_database_or_is_making_it(
    make_host: MakeHost, files: dict[str, str | None], timer: tuple[str, str], service: tuple[str, str], verdict: str
) -> None:
    host = make_host(files, {**LOADED, "systemctl show": shown(timer, service)})
    seen = host.observe("aide_database", databases=[DATABASE], running=MAKERS)
    assert seen.verdict == verdict
    assert bool(seen.reason) is (verdict == "pending")


SERVERS = "Global: 192.0.2.53 2001:db8::53\nLink 2 (eth0): 198.51.100.1\n"
SIGNED = "Global: yes\nLink 2 (eth0): no\n"


@pytest.mark.parametrize(
    ("servers", "signatures", "verdict"),
    [
        (SERVERS, SIGNED, "pass"),
        ("Global: 192.0.2.53\n", SIGNED, "fail"),
        ("Global:\nLink 2 (eth0): 192.0.2.53 2001:db8::53\n", SIGNED, "fail"),
        (SERVERS, "Global: allow-downgrade\n", "fail"),
        (SERVERS, "Link 2 (eth0): yes\n", "fail"),
    ],
)
def test_the_resolver_asks_declared_servers_and_checks_signatures(
    make_host: MakeHost, servers: str, signatures: str, verdict: str
) -> None:
    host = make_host({}, {"resolvectl --no-pager dnssec": signatures, "resolvectl --no-pager dns": servers})
    assert host.observe("resolver", servers=["192.0.2.53", "2001:db8::53"], dnssec=True).verdict == verdict


def test_without_the_resolver_nothing_is_known(make_host: MakeHost) -> None:
    host = make_host({}, {"resolvectl": Answer(1, "", "Failed to connect to bus")})
    with pytest.raises(Unreadable, match="Failed to connect to bus"):
        host.observe("resolver", servers=[])


@pytest.mark.parametrize(
    ("files", "verdict", "observed"),
    [
        ({"/sys/class/net/eth0/mtu": "1500", "/sys/class/net/lo/mtu": "65536"}, "pass", "none"),
        ({"/sys/class/net/eth0/mtu": "1500", "/sys/class/net/wlp3s0/wireless": None}, "fail", "wlp3s0"),
        ({"/sys/class/net/wlan0/phy80211/index": "0"}, "fail", "wlan0"),
        ({}, "pass", "none"),
    ],
)
def test_wireless_interfaces_are_found(
    make_host: MakeHost, files: dict[str, str | None], verdict: str, observed: str
) -> None:
    seen = make_host(files).observe("wireless_interfaces")
    assert (seen.verdict, seen.observed) == (verdict, observed)
