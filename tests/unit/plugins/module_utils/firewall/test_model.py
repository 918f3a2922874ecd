# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Model, evaluator and planner: pure parts, by example and by property."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.evaluate import (
    Packet,
    admission,
    covers,
    judge,
    shadowed,
    widening,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.model import (
    PortRange,
    everything,
    merge_ports,
    parse_network,
    parse_port,
    policy_from,
    rule_from,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.planner import difference, merge
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.validate import validate_policy

from .policies import addresses, raw_policies


def policy(raw: dict[str, Any], ports: tuple[int, ...] = (22,)) -> Any:
    return policy_from(raw, [parse_network(text) for text in raw.get("management_sources", [])], ports)


@given(raw_policies())
def test_generated_policies_are_valid(raw: dict[str, Any]) -> None:
    assert validate_policy(raw) == []


@given(raw_policies())
def test_a_rule_survives_its_own_form(raw: dict[str, Any]) -> None:
    for rule in policy(raw).rules:
        assert rule_from(rule.to_dict()) == rule


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 40))))
def test_merged_ports_cover_the_same_ports(pairs: list[tuple[int, int]]) -> None:
    ranges = [PortRange(first, first + length) for first, length in pairs]
    merged = merge_ports(ranges)
    for port in range(1, 345):
        assert any(r.covers(port) for r in ranges) == any(r.covers(port) for r in merged)
    assert all(a.last < b.first for a, b in zip(merged, merged[1:]))


@pytest.mark.parametrize("value", ["", "a", "0", "65536", "5-", "-5", "9-3", True, 1.5, None, "1-2-3", "٣"])
def test_what_is_no_port(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the caller writes the sentence
        parse_port(value)


@given(raw_policies())
def test_management_always_gets_in(raw: dict[str, Any]) -> None:
    wished = policy(raw)
    sources = [parse_network(text) for text in raw["management_sources"]] or [everything(4), everything(6)]
    for source in sources:
        assert admission(wished.entries(), wished.default_inbound, source, 22).full


@given(raw_policies(), addresses(), st.sampled_from([1, 22, 80, 65535]))
def test_full_admission_agrees_with_the_single_packet(raw: dict[str, Any], address: str, port: int) -> None:
    wished = policy(raw)
    source = ipaddress.ip_network(address)
    destination = "10.9.9.9" if source.version == 4 else "fd99::9"
    packet = Packet("in", "tcp", address, destination, port, interface="eth0")
    if admission(wished.entries(), wished.default_inbound, source, port).full:
        assert judge(wished.entries(), wished.default_inbound, packet).admitted


def test_first_match_wins() -> None:
    wished = policy(
        {
            "rules": [
                {"name": "one host", "action": "deny", "ports": [80], "sources": ["10.0.0.7"]},
                {"name": "web", "ports": [80]},
            ]
        }
    )
    assert not judge(wished.entries(), "deny", Packet("in", "tcp", "10.0.0.7", "10.0.0.1", 80)).admitted
    assert judge(wished.entries(), "deny", Packet("in", "tcp", "10.0.0.8", "10.0.0.1", 80)).admitted
    assert (
        judge(wished.entries(), "deny", Packet("in", "udp", "10.0.0.8", "10.0.0.1", 80)).because()
        == "the default is deny"
    )


def test_a_denial_of_a_part_is_partial_and_of_the_whole_is_final() -> None:
    rules = [
        {"name": "part", "action": "deny", "sources": ["10.0.0.7"]},
        {"name": "all", "ports": [80]},
    ]
    entries = policy({"rules": rules}, ports=()).entries()
    part = admission(entries, "deny", parse_network("10.0.0.0/8"), 80)
    assert part.full
    assert [entry.name for entry in part.partial] == ["part"]
    whole = admission(entries, "deny", parse_network("10.0.0.7"), 80)
    assert not whole.full
    assert whole.blocked_by is not None
    assert "part" in whole.blocked_by.because()


def test_a_rule_bound_to_an_interface_never_counts_as_admitting() -> None:
    entries = policy({"rules": [{"name": "x", "ports": [80], "interface": "eth0"}]}, ports=()).entries()
    assert not admission(entries, "deny", parse_network("10.0.0.7"), 80).full
    assert not judge(entries, "deny", Packet("in", "tcp", "10.0.0.7", "10.0.0.1", 80)).admitted
    assert judge(entries, "deny", Packet("in", "tcp", "10.0.0.7", "10.0.0.1", 80, "eth0")).admitted


def test_widening_names_only_what_the_policy_would_not_admit() -> None:
    own = policy({"rules": [{"name": "web", "ports": [80, 443]}]}).entries()
    foreign = policy(
        {"rules": [{"name": "inside", "ports": [443], "sources": ["10.0.0.0/8"]}, {"name": "wide", "ports": [8080]}]},
        ports=(),
    ).entries()
    assert {entry.name for entry in widening(foreign, own, "deny")} == {"wide"}
    assert widening(foreign, own, "allow") == []


def test_a_hidden_rule_is_found() -> None:
    entries = policy(
        {"rules": [{"name": "none", "action": "deny", "protocol": "any"}, {"name": "web", "ports": [80]}]}
    ).entries()
    assert {(hidden.name, earlier.name) for hidden, earlier in shadowed(entries)} == {("web", "none")}


@given(raw_policies())
def test_an_entry_covers_itself(raw: dict[str, Any]) -> None:
    for entry in policy(raw).entries():
        assert covers(entry, entry)


ITEMS = st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=14)


@given(ITEMS, st.lists(st.integers(0, 9), max_size=8, unique=True))
def test_merge_keeps_foreign_order_and_is_stable(existing: list[tuple[bool, int]], numbers: list[int]) -> None:
    desired = [(True, number) for number in numbers]

    def once(items: list[tuple[bool, int]]) -> list[tuple[bool, int]]:
        return merge(items, desired, is_own=lambda item: item[0], key=lambda item: item)

    merged = once(existing)
    assert [item for item in merged if not item[0]] == [item for item in existing if not item[0]]
    assert [item for item in merged if item[0]] == desired
    assert once(merged) == merged


def test_merge_keeps_places() -> None:
    def once(existing: list[str], desired: list[str]) -> str:
        return "".join(merge(existing, desired, is_own=str.isupper, key=lambda item: item))

    assert once(list("xy"), list("AB")) == "xyAB"
    assert once(list("xABy"), list("CAB")) == "xCABy"
    assert once(list("xAyBz"), list("AB")) == "xAyBz"
    assert once(list("xAyBz"), list("AC")) == "xACyz"
    assert once(list("xAyBz"), []) == "xyz"


@given(st.lists(st.integers(0, 5)), st.lists(st.integers(0, 5)))
def test_difference_adds_up(before: list[int], after: list[int]) -> None:
    added, removed, kept = difference(before, after, key=lambda item: item)
    assert sorted(added + kept) == sorted(after)
    assert sorted(removed + kept) == sorted(before)
