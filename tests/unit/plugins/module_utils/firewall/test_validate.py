# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault in a policy is named with the path to the value and with what is accepted."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.model import RULE_LISTS
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.validate import MAX_RULES, validate_policy


def rule(**values: Any) -> dict[str, Any]:
    return {"name": "r", **values}


BAD_RULES: list[tuple[dict[str, Any], str]] = [
    ({}, "firewall_rules[0].name: None is not a rule name"),
    ({"name": ""}, "firewall_rules[0].name: '' is not a rule name"),
    ({"name": "a/b"}, "firewall_rules[0].name: 'a/b' is not a rule name"),
    ({"name": "x" * 65}, "accepted are 1 to 64"),
    ({"name": " x"}, "firewall_rules[0].name: ' x' is not a rule name"),
    ({"name": "management"}, 'firewall_rules[0].name: "management" is kept'),
    (rule(port=22), "firewall_rules[0].port: unknown key; accepted are name, direction"),
    (rule(direction="inbound"), "firewall_rules[0].direction: 'inbound' is not accepted; accepted are in, out"),
    (
        rule(action="accept"),
        "firewall_rules[0].action: 'accept' is not accepted; accepted are allow, deny, reject, limit",
    ),
    (rule(action=["allow"]), "firewall_rules[0].action: ['allow'] is not accepted"),
    (rule(protocol="icmp"), "firewall_rules[0].protocol: 'icmp' is not accepted"),
    (rule(ports=22), "firewall_rules[0].ports: 22 is not a list; write [22]"),
    (rule(ports=[70000]), 'firewall_rules[0].ports[0]: 70000 is not a port; accepted are 1 to 65535 or "from-to"'),
    (rule(ports=[0]), "firewall_rules[0].ports[0]: 0 is not a port"),
    (rule(ports=[-1]), "firewall_rules[0].ports[0]: -1 is not a port"),
    (rule(ports=[True]), "firewall_rules[0].ports[0]: True is not a port"),
    (rule(ports=["ssh"]), "firewall_rules[0].ports[0]: ssh is not a port"),
    (rule(ports=[22, "90-80"]), 'firewall_rules[0].ports[1]: 90-80 runs backwards; write "80-90"'),
    (rule(ports=["80:90"]), "firewall_rules[0].ports[0]: 80:90 is not a port"),
    (rule(ports=[22], protocol="any"), "firewall_rules[0].ports: protocol 'any' has no ports"),
    (rule(ports=[22], protocol="esp"), "firewall_rules[0].ports: protocol 'esp' has no ports"),
    (rule(action="limit"), "firewall_rules[0].ports: a rule with action limit needs the ports"),
    (rule(action="limit", ports=[22], direction="out"), "firewall_rules[0].action: limit counts new connections"),
    (rule(sources="10.0.0.1"), "firewall_rules[0].sources: '10.0.0.1' is not a list"),
    (
        rule(sources=["10.0.0.1/8"]),
        "firewall_rules[0].sources[0]: 10.0.0.1/8 has bits set after its prefix; write 10.0.0.0/8",
    ),
    (rule(sources=["fd00::1/64"]), "write fd00::/64"),
    (rule(sources=["10.0.0.300"]), "firewall_rules[0].sources[0]: 10.0.0.300 is not an address"),
    (rule(sources=["10.0.0.0/33"]), "firewall_rules[0].sources[0]: 10.0.0.0/33 is not an address"),
    (rule(sources=["bastion"]), "firewall_rules[0].sources[0]: bastion is not an address"),
    (rule(sources=[10]), "firewall_rules[0].sources[0]: 10 is not an address"),
    (rule(sources=["group:"]), "firewall_rules[0].sources[0]: 'group:' does not name a group"),
    (rule(sources=["group:a b"]), "does not name a group"),
    (rule(sources=["::ffff:10.0.0.1"]), "is an IPv4 address in IPv6 form"),
    (rule(sources=["224.0.0.1"]), "is a multicast group"),
    (rule(destinations=["10.0.0.0/24/8"]), "firewall_rules[0].destinations[0]: 10.0.0.0/24/8 is not an address"),
    (
        rule(sources=["10.0.0.1"], destinations=["fd00::1"]),
        "firewall_rules[0].sources[0]: 10.0.0.1 is IPv4, but destinations",
    ),
    (
        rule(sources=["10.0.0.1", "fd00::2"], destinations=["fd00::1"]),
        "firewall_rules[0].sources[0]: 10.0.0.1 is IPv4, but destinations has no IPv4 address",
    ),
    (rule(direction="out", sources=["10.0.0.1"]), "firewall_rules[0].sources: an outbound rule is about where"),
    (rule(interface="eth0;reboot"), "firewall_rules[0].interface: 'eth0;reboot' is not an interface name"),
    (rule(interface="a" * 16), "is not an interface name of at most 15 characters"),
    (rule(log="yes"), "firewall_rules[0].log: 'yes' is not accepted; accepted are true and false"),
    (
        rule(comment="it's"),
        'firewall_rules[0].comment: "it\'s" is not accepted; accepted are up to 200 printable characters',
    ),
    (rule(comment="a\nb"), "firewall_rules[0].comment"),
    (rule(comment="x" * 201), "firewall_rules[0].comment"),
]

BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"backend": "iptables"}, "firewall_backend: 'iptables' is not accepted; accepted are ufw, firewalld"),
    ({"default_inbound": "drop"}, "firewall_default_inbound: 'drop' is not accepted; accepted are allow, deny, reject"),
    ({"default_outbound": 1}, "firewall_default_outbound: 1 is not accepted"),
    ({"default_routed": "keep"}, "firewall_default_routed: 'keep' is not accepted"),
    ({"backend": "firewalld", "default_routed": "deny"}, "firewall_default_routed: firewalld routes by zones"),
    ({"logging": "full"}, "firewall_logging: 'full' is not accepted; accepted are off, low, medium, high"),
    ({"management_sources": ["10.0.0.5/24"]}, "firewall_management_sources[0]: 10.0.0.5/24 has bits set"),
    ({"management_sources": "10.0.0.0/24"}, "firewall_management_sources: '10.0.0.0/24' is not a list"),
    ({"management_ports": [0]}, "firewall_management_ports[0]: 0 is not accepted; accepted are 1 to 65535"),
    ({"management_ports": ["22-23"]}, "firewall_management_ports[0]: '22-23' is not accepted"),
    ({"dependent_management_ports": ["x"]}, "firewall_dependent_management_ports[0]: 'x' is not accepted"),
    ({"rehearse": "maybe"}, "firewall_rehearse: 'maybe' is not accepted; accepted are true and false"),
    ({"allow_cut": ["ssh"]}, "firewall_allow_cut[0]: 'ssh' is not accepted; accepted are dns, mirrors, ntp"),
    ({"window_seconds": 5}, "firewall_window_seconds: 5 is not accepted; accepted are 30 to 600 seconds"),
    ({"window_seconds": 90.5}, "firewall_window_seconds: 90.5 is not accepted"),
    ({"confirm_logins": True}, "firewall_confirm_logins: True is not accepted"),
    ({"window_seconds": 30, "confirm_seconds": 20}, "firewall_confirm_seconds: 20 seconds of proof do not fit"),
    ({"port": 22}, "firewall_port: unknown option; accepted are firewall_backend"),
    ({"rules": {"name": "x"}}, "firewall_rules: {'name': 'x'} is not a list"),
    ({"rules": ["ssh"]}, "firewall_rules[0]: 'ssh' is not a rule; accepted is a dictionary"),
    ({"rules": [rule()] * (MAX_RULES + 1)}, f"accepted are up to {MAX_RULES}"),
    (
        {"rules": [rule(ports=[1]), rule(ports=[2])]},
        'firewall_rules[1].name: "r" is also the name of firewall_rules[0]; names are unique',
    ),
    (
        {"rules": [rule(ports=list(range(1, 201)), sources=[f"10.0.{i}.0/24" for i in range(200)])]},
        "multiply to 40000 entries; accepted are up to 30000",
    ),
    (
        {
            "host_rules": [rule(ports=["1-2", "5-6"], sources=[f"10.0.{i}.0/24" for i in range(200)])],
            "dependent_rules": [{"name": "s", "ports": list(range(1, 150)), "sources": ["10.0.0.0/8"] * 200}],
        },
        "firewall_dependent_rules[0]: with this rule, sources, destinations and ports multiply to 30200 entries",
    ),
    (
        {"group_rules": [rule()], "host_rules": [rule(ports=[2])]},
        'firewall_host_rules[0].name: "r" is also the name of firewall_group_rules[0]; names are unique',
    ),
    ({"host_rules": "none"}, "firewall_host_rules: 'none' is not a list"),
    (
        {"rules": [rule()] * MAX_RULES, "group_rules": [rule()]},
        f"firewall_group_rules[0]: {MAX_RULES + 1} rules are too many for one host",
    ),
    (
        {"backend": "firewalld", "rules": [rule(action="limit", ports=[22])]},
        "firewall_rules[0].action: firewalld limits",
    ),
    ({"backend": "firewalld", "rules": [rule(interface="eth0")]}, "firewall_rules[0].interface: firewalld binds"),
]


@pytest.mark.parametrize(("bad", "sentence"), BAD_RULES, ids=[text[:60] for _bad, text in BAD_RULES])
def test_bad_rule_is_named(bad: dict[str, Any], sentence: str) -> None:
    problems = validate_policy({"backend": "ufw", "rules": [bad]})
    assert any(sentence in problem for problem in problems), problems


@pytest.mark.parametrize(("bad", "sentence"), BAD_OPTIONS, ids=[text[:60] for _bad, text in BAD_OPTIONS])
def test_bad_option_is_named(bad: dict[str, Any], sentence: str) -> None:
    problems = validate_policy({"backend": "ufw", **bad})
    assert any(sentence in problem for problem in problems), problems


def test_every_problem_is_one_line_and_has_a_path() -> None:
    for bad, _sentence in BAD_RULES:
        for problem in validate_policy({"backend": "ufw", "rules": [bad]}):
            assert problem.startswith("firewall_")
            assert "\n" not in problem


def test_the_second_fault_is_reported_with_the_first() -> None:
    problems = validate_policy({"backend": "ufw", "rules": [rule(ports=[0]), {"name": "s", "sources": ["x"]}]})
    assert [problem.split(":")[0] for problem in problems] == [
        "firewall_rules[0].ports[0]",
        "firewall_rules[1].sources[0]",
    ]


@pytest.mark.parametrize("name", RULE_LISTS)
def test_a_faulty_rule_is_named_by_its_list_and_its_place_in_it(name: str) -> None:
    good = [rule(ports=[1]), {"name": "s"}]
    lists = {other: [{"name": f"{other}-{i}"} for i in range(3)] for other in RULE_LISTS if other != name}
    problems = validate_policy({**lists, name: [*good, {"name": "t", "sources": ["bastion"]}]})
    assert [problem.split(" ")[0] for problem in problems] == [f"firewall_{name}[2].sources[0]:"]


@pytest.mark.parametrize(
    "good",
    [
        {},
        {"rules": None, "management_sources": None},
        {"default_routed": ""},
        {"management_sources": ["group:bastion", "10.0.0.0/8", "fd00::1"]},
        {"rules": [rule(ports=["22", 80, "8000-8010"], sources=["group:web", "10.0.0.1", "fd00::/64"], log=True)]},
        {"rules": [rule(sources=["group:web"], destinations=["fd00::1"])]},
        {"rules": [rule(action="limit", ports=[22])]},
        {"rules": [rule(protocol="esp", interface="wg0.1")]},
        {"rules": [rule(direction="out", protocol="udp", ports=[53], destinations=["10.0.0.1"])]},
    ],
)
def test_good_policy_has_no_problem(good: dict[str, Any]) -> None:
    assert validate_policy({"backend": "ufw", **good}) == []
