# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory groups as sources."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.bulwark.hardening.plugins.plugin_utils.inventory_addresses import UnresolvedGroup, resolve

GROUPS = {"edge": ["e1", "e2"], "plain": ["192.0.2.9"], "named": ["n1"], "empty": []}
VARIABLES: dict[str, dict[str, t.Any]] = {
    "e1": {"bulwark_addresses": ["192.0.2.1", "2001:db8::1"]},
    "e2": {"ansible_host": "192.0.2.2"},
    "192.0.2.9": {},
    "n1": {"ansible_host": "name.example"},
}


def found(*values: str) -> list[str]:
    return resolve(values, "firewall_rules[0].sources", GROUPS, lambda host: VARIABLES[host])


def test_a_group_becomes_the_addresses_of_its_hosts_in_order() -> None:
    assert found("10.0.0.0/8", "group:edge") == ["10.0.0.0/8", "192.0.2.1", "2001:db8::1", "192.0.2.2"]


def test_a_host_named_by_its_address_needs_no_variable() -> None:
    assert found("group:plain") == ["192.0.2.9"]


def test_the_same_address_stands_once() -> None:
    assert found("group:edge", "192.0.2.2") == ["192.0.2.1", "2001:db8::1", "192.0.2.2"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("group:nowhere", "no group 'nowhere'; known are edge, empty, named, plain"),
        ("group:empty", "allow nobody"),
        ("group:named", "host 'n1' of group 'named' has no known address"),
    ],
)
def test_what_cannot_be_resolved_is_refused_with_the_path(value: str, words: str) -> None:
    with pytest.raises(UnresolvedGroup) as caught:
        found(value)
    assert str(caught.value).startswith("firewall_rules[0].sources: ")
    assert words in str(caught.value)
