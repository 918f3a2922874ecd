# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""firewalld's notations: round trips through XML and the rich language."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.evaluate import Packet, judge
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.firewalld_backend import (
    canonical_rule,
    plain,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.firewalld_rules import (
    CONDITION,
    INBOUND,
    OUTBOUND,
    entries_of,
    entry_of_rule,
    escape,
    parse_rich,
    parse_xml,
    policy_files,
    service_ports,
    services_in,
    setting_line,
    setting_of,
    tag_of,
    unescape,
    with_services,
    without_services,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.model import (
    Policy,
    PortRange,
    parse_network,
    policy_from,
)

from .policies import addresses, raw_policies

PUBLIC = """<?xml version="1.0" encoding="utf-8"?>
<zone>
  <short>Public</short>
  <service name="ssh"/>
  <service name="dhcpv6-client"/>
  <service name='cockpit'></service>
  <port port="99" protocol="tcp"/>
  <forward/>
</zone>
"""


def no_services(_name: str) -> list[tuple[str, tuple[PortRange, ...]]]:
    return []


def generated(raw: dict[str, Any]) -> Policy:
    return policy_from(raw, [parse_network(text) for text in raw["management_sources"]], (22,))


@given(raw_policies("firewalld"))
def test_the_xml_holds_the_policy(raw: dict[str, Any]) -> None:
    """plan(apply(plan)) is empty: the file that was written is read back as the same entries, in the same order."""
    policy = generated(raw)
    for item in policy_files(policy.entries(), policy.default_inbound, policy.default_outbound):
        root = parse_xml(item.text(), item.name)
        direction = "in" if item.name == INBOUND else "out"
        assert entries_of(root, direction, no_services, own=True, origin="") == item.elements()
        assert root.get("target") == item.target


@given(raw_policies("firewalld"))
def test_xml_and_rich_language_say_the_same(raw: dict[str, Any]) -> None:
    policy = generated(raw)
    for item in policy_files(policy.entries(), policy.default_inbound, policy.default_outbound):
        elements = [element for element in parse_xml(item.text(), item.name) if tag_of(element) == "rule"]
        rich = [parse_rich(text) for text in item.rich_rules()]
        assert [canonical_rule(element) for element in elements] == [canonical_rule(element) for element in rich]


@given(
    raw_policies("firewalld"), addresses(), st.sampled_from([1, 22, 80, 65535]), st.sampled_from(["tcp", "udp", "esp"])
)
def test_the_files_decide_as_the_policy(raw: dict[str, Any], address: str, port: int, protocol: str) -> None:
    policy = generated(raw)
    files = policy_files(policy.entries(), policy.default_inbound, policy.default_outbound)
    read = [
        entry
        for item in files
        for entry in entries_of(
            parse_xml(item.text(), ""), "in" if item.name == INBOUND else "out", no_services, own=True, origin=""
        )
    ]
    other = "10.1.2.3" if "." in address else "fd00:1::7"
    for packet in (Packet("in", protocol, address, other, port), Packet("out", protocol, other, address, port)):
        default = policy.expects(packet.direction)
        assert judge(read, default, packet).action == judge(policy.entries(), default, packet).action


@given(st.text(max_size=60))
def test_a_label_cannot_leave_its_comment(label: str) -> None:
    hidden = escape(label)
    assert "--" not in hidden
    assert not hidden.endswith("-")
    root = parse_xml(f"<zone><!-- {hidden} --><short>x</short></zone>", "test")
    assert [tag_of(element) for element in root] == ["", "short"]
    if label.isprintable():
        assert unescape(hidden) == label


@pytest.mark.parametrize(
    ("default_inbound", "default_outbound", "targets"),
    [
        ("deny", "allow", {INBOUND: "CONTINUE"}),
        ("reject", "allow", {INBOUND: "CONTINUE"}),
        ("allow", "allow", {INBOUND: "ACCEPT"}),
        ("deny", "deny", {INBOUND: "CONTINUE", OUTBOUND: "DROP"}),
        ("deny", "reject", {INBOUND: "CONTINUE", OUTBOUND: "REJECT"}),
    ],
)
def test_targets(default_inbound: str, default_outbound: str, targets: dict[str, str]) -> None:
    files = policy_files([], default_inbound, default_outbound)
    assert {item.name: item.target for item in files} == targets


def test_a_closed_outbound_keeps_neighbour_discovery() -> None:
    outbound = policy_files([], "deny", "deny")[1]
    assert {(entry.family, entry.protocol) for entry in outbound.entries} == {(4, "icmp"), (6, "ipv6-icmp")}


@pytest.mark.parametrize(
    ("rule", "action", "conditional"),
    [
        ('rule family="ipv4" source address="198.51.100.7" reject type="icmp-port-unreachable"', "reject", False),
        ('rule family="ipv4" source NOT address="198.51.100.7" port port="22" protocol="tcp" drop', "deny", True),
        ('rule service name="ssh" accept limit value="2/m"', "allow", True),
        ('rule source ipset="bans" drop', "deny", True),
        ('rule priority="-5" port port="80" protocol="tcp" log prefix="x y" limit value="1/m" accept', "allow", False),
    ],
)
def test_a_foreign_rich_rule(rule: str, action: str, conditional: bool) -> None:
    entries = entry_of_rule(parse_rich(rule), "in", lambda _name: [("tcp", (PortRange(22, 22),))])
    assert entries
    assert {entry.action for entry in entries} == {action}
    assert {entry.interface == CONDITION for entry in entries} == {conditional}


def test_a_rule_without_a_verdict_decides_nothing() -> None:
    assert entry_of_rule(parse_rich('rule family="ipv4" masquerade'), "in", no_services) == []
    with pytest.raises(ValueError, match="not a rich rule"):
        parse_rich("accept everything")


def test_an_icmp_rule_opens_no_port() -> None:
    text = '<policy><rule family="ipv6"><icmp-type name="neighbour-advertisement"/><accept/></rule></policy>'
    entries = entries_of(parse_xml(text, ""), "in", no_services, own=False, origin="x")
    assert not judge(entries, "deny", Packet("in", "tcp", "fd00::1", "fd00::2", 22)).admitted


def test_denials_of_a_zone_come_before_its_openings() -> None:
    text = PUBLIC.replace(
        "<forward/>",
        '<rule family="ipv4"><source address="10.0.0.7"/><drop/></rule>'
        '<rule priority="-1"><port port="77" protocol="tcp"/><accept/></rule>',
    )
    entries = entries_of(parse_xml(text, ""), "in", no_services, own=False, origin="zone public")
    assert [entry.ports[0].first if entry.ports else entry.action for entry in entries] == [77, 77, "deny", 99, 99]


def test_services_leave_and_come_back() -> None:
    closed = without_services(PUBLIC, ["ssh", "cockpit"])
    assert services_in(closed) == ["dhcpv6-client"]
    assert '<port port="99" protocol="tcp"/>' in closed
    assert without_services(closed, ["ssh", "cockpit"]) == closed
    assert sorted(services_in(with_services(closed, ["ssh", "cockpit"]))) == ["cockpit", "dhcpv6-client", "ssh"]
    assert without_services(PUBLIC, ["ss"]) == PUBLIC


def test_service_ports() -> None:
    text = (
        '<service><port protocol="tcp" port="80-81"/><port protocol="udp" port="53"/><protocol value="ah"/></service>'
    )
    assert service_ports(text) == [("tcp", (PortRange(80, 81),)), ("udp", (PortRange(53, 53),)), ("ah", ())]


def test_settings_of_firewalld() -> None:
    text = "# LogDenied=all\nDefaultZone=public\nLogDenied=off\n"
    assert setting_of(text, "LogDenied", "x") == "off"
    assert setting_line(text, "LogDenied", "all") == "# LogDenied=all\nDefaultZone=public\nLogDenied=all\n"
    assert setting_of(setting_line("A=1\n", "LogDenied", "all"), "LogDenied", "off") == "all"
    assert setting_of("", "DefaultZone", "public") == "public"


def test_bus_replies_lose_their_type_marks() -> None:
    reply = [{"target": {"type": "s", "data": "DROP"}, "zones": {"type": "as", "data": ["ANY"]}}]
    assert plain(reply) == [{"target": "DROP", "zones": ["ANY"]}]


def test_broken_xml_is_named() -> None:
    with pytest.raises(ValueError, match="the zone public is not valid XML"):
        parse_xml("<zone>", "the zone public")


def test_the_origin_of_a_foreign_entry_is_told() -> None:
    entries = entries_of(parse_xml(PUBLIC, ""), "in", no_services, own=False, origin="zone public")
    assert {entry.origin for entry in entries} == {"zone public"}
    assert all(replace(entry, own=True) != entry for entry in entries)
