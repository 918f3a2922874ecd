# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs is compared with what should run, in the server and in the kernel."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.fail2ban import observe, render

from . import policies

LOGS = {"sshd": policies.JOURNAL}


def element(name: str, *addresses: str) -> dict[str, Any]:
    return {"set": {"name": name, "elem": list(addresses)} if addresses else {"name": name}}


def rule(chain: str, *expressions: Mapping[str, Any]) -> dict[str, Any]:
    return {"rule": {"chain": chain, "expr": [*expressions, {"counter": {}}, {"drop": None}]}}


def ports(right: int | dict[str, Any]) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": right}}


def kernel(*addresses: str, match: Sequence[Mapping[str, Any]] = (), rules: int = 2) -> dict[str, observe.KernelJail]:
    source = {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@x"}}
    entries = [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"name": "bulwark_fail2ban"}},
        element("jail-sshd-inet4", *[address for address in addresses if "." in address]),
        element("jail-sshd-inet6", *[address for address in addresses if ":" in address]),
        {"chain": {"name": "jail-sshd", "hook": "prerouting"}},
        *([rule("jail-sshd", source, *match)] * rules),
    ]
    return observe.kernel_jails({"nftables": entries})


@pytest.fixture
def live() -> dict[str, Any]:
    tried = policies.policy()
    jail = {**observe.expected(tried, tried.jails[0], policies.JOURNAL), "banned": ["192.0.2.1", "2001:db8::1"]}
    return {"answers": True, "history": 2592000, "jails": {"sshd": jail}}


def test_what_runs_as_it_should_differs_in_nothing(live: dict[str, Any]) -> None:
    assert observe.differences(policies.policy(), LOGS, live) == []
    assert observe.kernel_differences(policies.policy(), live, kernel("192.0.2.1", "2001:db8::1")) == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("maxretry", 6),
        ("findtime", 60),
        ("bantime", 1),
        ("increment", False),
        ("multipliers", "1"),
        ("maxtime", None),
        ("usedns", "warn"),
        ("ignored", ["127.0.0.0/8", "::1", "198.51.100.0/24"]),
        ("ignored", []),
        ("journal", "_SYSTEMD_UNIT=ssh.service"),
        ("paths", ["/var/log/auth.log"]),
        ("actions", []),
        ("actions", ["bulwark-nftables", "other"]),
        ("patterns", 1),
    ],
)
def test_every_setting_of_a_jail_is_compared(live: dict[str, Any], key: str, value: object) -> None:
    live["jails"]["sshd"][key] = value
    found = observe.differences(policies.policy(), LOGS, live)
    assert len(found) == 1
    assert found[0].startswith(f"jail sshd has {key} ")


def test_a_server_or_a_jail_that_does_not_run_is_a_difference(live: dict[str, Any]) -> None:
    tried = policies.policy()
    assert observe.differences(tried, LOGS, {"answers": False, "jails": {}}) == ["the server does not answer"]
    assert observe.differences(tried, LOGS, {**live, "jails": {}}) == ["jail sshd does not run"]
    off = policies.policy(jails=[{"name": "sshd", "enabled": False}])
    assert observe.differences(off, {}, live) == ["jail sshd runs"]
    assert observe.differences(tried, LOGS, {**live, "history": 86400})[0].startswith("the server remembers 86400")


def test_jails_of_others_are_no_difference(live: dict[str, Any]) -> None:
    live["jails"]["postfix"] = copy.deepcopy(live["jails"]["sshd"])
    assert observe.differences(policies.policy(), LOGS, live) == []


@pytest.mark.parametrize(
    ("there", "word"),
    [
        ({}, "no rules"),
        (kernel(rules=0), "no rules"),
        (kernel(rules=1), "no rules"),
        (kernel("192.0.2.1"), "does not know: 2001:db8::1"),
        (
            kernel("192.0.2.1", "2001:db8::1", "192.0.2.2"),
            "the kernel has bans that jail sshd does not know",
        ),
        (kernel("192.0.2.1", "2001:db8::1", match=[ports(22)]), "other ports"),
    ],
)
def test_the_kernel_must_carry_out_every_ban_and_no_other(
    live: dict[str, Any], there: dict[str, observe.KernelJail], word: str
) -> None:
    assert word in observe.kernel_differences(policies.policy(), live, there)["sshd"]


@pytest.mark.parametrize("right", [{"set": [22, {"range": [8000, 8010]}]}, {"set": [{"range": [8000, 8010]}, 22]}])
def test_ports_are_compared_whatever_their_order(live: dict[str, Any], right: dict[str, Any]) -> None:
    tried = policies.policy(jails=[{"name": "sshd", "ports": ["8000-8010", "22"]}])
    there = kernel("192.0.2.1", "2001:db8::1", match=[ports(right)])
    assert observe.kernel_differences(tried, live, there) == {}


def test_one_port_is_listed_by_nft_without_a_set(live: dict[str, Any]) -> None:
    tried = policies.policy(jails=[{"name": "sshd", "ports": ["22"]}])
    assert observe.kernel_differences(tried, live, kernel("192.0.2.1", "2001:db8::1", match=[ports(22)])) == {}


def test_a_jail_of_files_expects_files() -> None:
    tried = policies.policy()
    wished = observe.expected(tried, tried.jails[0], render.Log("files", ("/b", "/a")))
    assert (wished["journal"], wished["paths"]) == ("", ["/a", "/b"])
