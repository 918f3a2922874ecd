# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an outbound policy would cut, and how the missing rule is spelled out."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.essential import (
    Flow,
    cut_flows,
    endpoint,
    flows,
    missing_rule,
    name_servers,
    package_uris,
    proxies,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.model import Entry, policy_from
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.validate import validate_policy

OWN = {4: "10.0.0.5", 6: "fd00::5"}
DNS = Flow("dns", "10.0.0.2", "udp", 53, ("10.0.0.2",))
MIRROR = Flow("mirrors", "deb.example", "tcp", 443, ("192.0.2.8", "2001:db8::8"))
NTP = Flow("ntp", "any time server", "udp", 123)


def entries(*rules: dict[str, Any]) -> list[Entry]:
    return policy_from({"rules": [{"direction": "out", **rule} for rule in rules]}, [], [22]).entries()


@pytest.mark.parametrize("flow", [DNS, MIRROR, NTP], ids=lambda flow: flow.kind)
def test_the_rule_in_the_message_is_the_remedy(flow: Flow) -> None:
    problems = cut_flows([flow], entries(), "deny", OWN)
    assert len(problems) == 1
    assert f"would cut {flow.kind}" in problems[0]
    rule = yaml.safe_load(missing_rule(flow))
    assert validate_policy({"backend": "ufw", "rules": [rule]}) == []
    assert cut_flows([flow], entries(rule), "deny", OWN) == []


def test_an_open_default_cuts_nothing_and_a_denial_does() -> None:
    assert cut_flows([DNS, MIRROR, NTP], entries(), "allow", OWN) == []
    denied = entries({"name": "no dns", "action": "deny", "protocol": "udp", "ports": [53]})
    assert [text.split("(")[0] for text in cut_flows([DNS, NTP], denied, "allow", OWN)] == [
        "this policy would cut dns "
    ]
    no_time = entries({"name": "no time", "action": "reject", "protocol": "udp", "ports": [123]})
    assert len(cut_flows([NTP], no_time, "allow", OWN)) == 1


def test_one_address_of_a_mirror_is_enough() -> None:
    assert (
        cut_flows([MIRROR], entries({"name": "m", "ports": [443], "destinations": ["2001:db8::/32"]}), "deny", OWN)
        == []
    )
    only_four = {4: "10.0.0.5"}
    assert cut_flows(
        [MIRROR], entries({"name": "m", "ports": [443], "destinations": ["2001:db8::/32"]}), "deny", only_four
    )


def test_a_family_that_the_host_does_not_have_is_not_asked_for() -> None:
    six = Flow("dns", "fd00::2", "udp", 53, ("fd00::2",))
    assert cut_flows([six], entries(), "deny", {4: "10.0.0.5"}) == []


def test_what_may_be_cut_is_not_reported() -> None:
    assert cut_flows([DNS, NTP], entries(), "deny", OWN, ["dns", "ntp"]) == []


def test_name_servers_on_this_host_do_not_count() -> None:
    servers = ("127.0.0.53", "10.0.0.2", "fe80::1%eth0", "::1", "10.0.0.2")
    text = "# x\nsearch a\n" + "".join(f"nameserver {server}\n" for server in servers)
    assert name_servers(text) == ["10.0.0.2", "fe80::1"]


def test_mirrors_of_apt_and_dnf() -> None:
    texts = [
        "deb [signed-by=/x] http://deb.example/debian bookworm main\n# deb http://old.example/ x y\n",
        "Types: deb\nURIs: https://a.example/debian https://b.example:8443/debian\nSuites: trixie\n",
        "[x]\nbaseurl = https://c.example/$releasever\nmetalink=https://d.example/metalink\nenabled=1\n",
        "deb cdrom:[Debian]/ bookworm main\n",
    ]
    hosts = [endpoint(uri) for uri in package_uris(texts)]
    assert hosts == [
        ("deb.example", 80),
        ("a.example", 443),
        ("b.example", 8443),
        ("c.example", 443),
        ("d.example", 443),
    ]
    assert endpoint("https://x.example:port/") is None


def test_a_proxy_replaces_the_mirrors() -> None:
    texts = ['Acquire::http::Proxy "http://proxy.example:3142";\n// Acquire::http::Proxy "http://no.example";\n']
    assert proxies([*texts, "proxy=http://dnf.example:8080\n"]) == [
        "http://proxy.example:3142",
        "http://dnf.example:8080",
    ]
    found = flows("nameserver 10.0.0.2\n", ["deb http://deb.example/ x y\n"], texts, True, lambda _name: ["192.0.2.9"])
    assert [(flow.kind, flow.name, flow.port) for flow in found] == [
        ("dns", "10.0.0.2", 53),
        ("mirrors", "proxy.example", 3142),
        ("ntp", "any time server", 123),
    ]
