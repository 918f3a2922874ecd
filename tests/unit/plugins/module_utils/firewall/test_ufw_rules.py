# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ufw's notation: round trips, and what a converged host looks like."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.evaluate import Packet, judge
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.model import (
    FAMILIES,
    PortRange,
    parse_network,
    policy_from,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.planner import merge
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.ufw_rules import (
    BadTuple,
    UfwRule,
    effective,
    missing_structure,
    parse_rules,
    parse_settings,
    parse_tuple,
    port_groups,
    reload_batch,
    rules_file,
    rules_from,
    user_chains,
)

from .policies import addresses, raw_policies

FOREIGN = [
    "### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in",
    "### tuple ### deny any any 0.0.0.0/0 any 198.51.100.7 in",
    "### tuple ### allow tcp 80,443 0.0.0.0/0 any 0.0.0.0/0 Nginx%20Full - in comment=61646d696e",
    "### tuple ### limit_log tcp 22 10.0.0.1 any 10.0.0.0/8 in_eth0",
    "### tuple ### route:allow any any 172.17.0.0/16 any 10.0.0.0/8 in_eth0!out_docker0",
    "### tuple ### allow udp any 0.0.0.0/0 67 0.0.0.0/0 out_wg0",
    "### tuple ### reject_log-all tcp 8000:8010 0.0.0.0/0 any 10.9.0.0/16 out comment=c3bc",
]


@pytest.mark.parametrize("line", FOREIGN)
def test_a_foreign_line_survives(line: str) -> None:
    rule = parse_tuple(line, 4)
    assert rule.line() == line
    assert not rule.own


def test_what_a_foreign_line_means() -> None:
    entries = [parse_tuple(line, 4).entry() for line in FOREIGN]
    assert [entry.action for entry in entries] == ["allow", "deny", "allow", "limit", "allow", "allow", "reject"]
    assert [entry.direction for entry in entries] == ["in", "in", "in", "in", "in", "out", "out"]
    assert [entry.forward for entry in entries] == [False, False, False, False, True, False, False]
    assert entries[3].interface == "eth0"
    assert entries[2].ports == (PortRange(80, 80), PortRange(443, 443))
    assert entries[5].source_ports == (PortRange(67, 67),)
    assert entries[6].comment == "ü"


@pytest.mark.parametrize(
    "line",
    [
        "### tuple ### allow tcp 22",
        "### tuple ### allow tcp ssh 0.0.0.0/0 any 0.0.0.0/0 in",
        "### tuple ### allow tcp 22 nowhere any 0.0.0.0/0 in",
        "### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=zz",
        "### tuple ### a b c d e f g h i j k",
    ],
)
def test_a_broken_line_is_named(line: str) -> None:
    with pytest.raises(BadTuple, match="the ufw rule"):
        parse_tuple(line, 4)


@given(raw_policies())
def test_own_rules_survive_the_file(raw: dict[str, Any]) -> None:
    policy = policy_from(raw, [parse_network(text) for text in raw["management_sources"]], (22, 2222))
    rules = [rule for item in policy.rules for rule in rules_from(item)]
    for family in FAMILIES:
        mine = [rule for rule in rules if rule.family == family]
        assert parse_rules(rules_file(mine, family), family) == mine
        assert all(rule.own for rule in mine)
    names = {rule.name for rule in rules}
    assert names == {item.name for item in policy.rules}


@given(raw_policies(), st.lists(st.sampled_from(FOREIGN), unique=True))
def test_a_second_plan_is_empty_and_foreign_rules_stay(raw: dict[str, Any], foreign: list[str]) -> None:
    """plan(apply(plan)) is empty: what the file holds after apply is what the next plan wants."""
    policy = policy_from(raw, [parse_network(text) for text in raw["management_sources"]], (22,))

    def wished(observed: list[UfwRule], family: int) -> list[UfwRule]:
        own = dict.fromkeys(r for item in policy.rules for r in rules_from(item) if r.family == family)
        return merge(observed, list(own), is_own=lambda rule: rule.own, key=lambda rule: rule)

    for family in FAMILIES:
        host = [parse_tuple(line, 4) for line in foreign] if family == 4 else []
        applied = parse_rules(rules_file(wished(host, family), family), family)
        assert wished(applied, family) == applied
        assert [rule.line() for rule in applied if not rule.own] == [rule.line() for rule in host]


@given(raw_policies(), addresses(), st.sampled_from([1, 22, 80, 8080, 65535]), st.sampled_from(["tcp", "udp", "esp"]))
def test_the_file_decides_as_the_policy(raw: dict[str, Any], address: str, port: int, protocol: str) -> None:
    policy = policy_from(raw, [parse_network(text) for text in raw["management_sources"]], (22,))
    rules: dict[int, list[UfwRule]] = {4: [], 6: []}
    for item in policy.rules:
        for rule in rules_from(item):
            rules[rule.family].append(rule)
    other = "10.1.2.3" if "." in address else "fd00:1::7"
    for packet in (Packet("in", protocol, address, other, port), Packet("out", protocol, other, address, port)):
        default = policy.expects(packet.direction)
        assert judge(effective(rules), default, packet).action == judge(policy.entries(), default, packet).action


@given(st.lists(st.tuples(st.integers(1, 60000), st.integers(0, 1))))
def test_port_groups_fit_into_multiport(pairs: list[tuple[int, int]]) -> None:
    ports = [PortRange(first, first + length) for first, length in pairs]
    groups = port_groups(ports)
    assert [port for group in groups for port in group] == ports
    assert all(sum(1 if p.first == p.last else 2 for p in group) <= 15 for group in groups)


def test_settings_are_read_as_a_shell_would() -> None:
    text = '# IPV6=no\nIPV6=yes\nDEFAULT_INPUT_POLICY="DROP"\n\nIPT_MODULES=""\nnonsense\n'
    assert parse_settings(text) == {"IPV6": "yes", "DEFAULT_INPUT_POLICY": "DROP", "IPT_MODULES": ""}


RENDERED = """*filter
:ufw-user-input - [0:0]
### RULES ###

### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in
-A ufw-user-input -p tcp --dport 22 -j ACCEPT
COMMIT
"""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_reload_is_one_transaction_with_policies(family: int) -> None:
    defaults = {"DEFAULT_INPUT_POLICY": "REJECT", "DEFAULT_OUTPUT_POLICY": "ACCEPT", "DEFAULT_FORWARD_POLICY": "DROP"}
    batch = reload_batch(RENDERED, defaults, family).splitlines()
    prefix = "ufw" if family == 4 else "ufw6"
    assert batch.count("*filter") == batch.count("COMMIT") == 1
    assert batch[-1] == "COMMIT"
    assert ":INPUT DROP [0:0]" in batch
    assert ":OUTPUT ACCEPT [0:0]" in batch
    assert f"-A {prefix}-reject-input -j REJECT" in batch
    assert f"-A {prefix}-track-output -p tcp -m conntrack --ctstate NEW -j ACCEPT" in batch
    assert f"-A {prefix}-skip-to-policy-forward -j DROP" in batch
    assert "-A ufw-user-input -p tcp --dport 22 -j ACCEPT" in batch


def live_rules(family: int) -> str:
    prefix = "ufw" if family == 4 else "ufw6"
    lines = ["*filter", ":INPUT DROP [1:2]", ":OUTPUT ACCEPT [0:0]", ":FORWARD DROP [0:0]"]
    for chain in ("INPUT", "OUTPUT", "FORWARD"):
        low = chain.lower()
        for stage in ("before-logging", "before", "after", "after-logging", "reject", "track"):
            lines.append(f"-A {chain} -j {prefix}-{stage}-{low}")
        lines.append(f"-A {prefix}-before-{low} -j {prefix}-user-{low}")
    return "\n".join([*lines, f"-A {prefix}-user-input -p tcp -m tcp --dport 22 -j ACCEPT", "COMMIT", ""])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_complete_ufw_misses_nothing_and_each_lost_line_is_noticed(family: int) -> None:
    defaults = {"DEFAULT_OUTPUT_POLICY": "ACCEPT"}
    saved = live_rules(family)
    assert missing_structure(saved, family, defaults) == []
    for line in saved.splitlines():
        if line.startswith("-A") and "dport" not in line:
            assert len(missing_structure(saved.replace(line + "\n", ""), family, defaults)) == 1
    opened = saved.replace(":INPUT DROP", ":INPUT ACCEPT")
    assert missing_structure(opened, family, defaults) == ["the policy of INPUT is ACCEPT, wished is DROP"]


def test_only_the_user_chains_are_compared() -> None:
    saved = live_rules(4) + "-A DOCKER -j RETURN\n-A f2b-sshd -j RETURN\n"
    assert user_chains(saved, 4) == ["-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT"]
