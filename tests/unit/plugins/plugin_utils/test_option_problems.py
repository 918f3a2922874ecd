# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values against an argument specification: each faulty one by its path."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.bulwark.hardening.plugins.plugin_utils.option_problems import option_problems

SPECIFICATION: dict[str, t.Any] = {
    "enabled": {"type": "bool"},
    "count": {"type": "int"},
    "name": {"type": "str", "choices": ["a", "b"]},
    "names": {"type": "list", "elements": "str"},
    "rules": {
        "type": "list",
        "elements": "dict",
        "options": {"port": {"type": "int", "required": True}, "days": {"type": "list", "elements": "str"}},
    },
}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"enabled": "yes", "count": "4", "name": "a", "names": ["x", 1], "rules": [{"port": 1, "days": None}]},
        {"enabled": False, "count": -4, "names": [], "rules": []},
    ],
)
def test_what_ansible_converts_is_accepted(values: dict[str, t.Any]) -> None:
    assert option_problems(values, SPECIFICATION) == []


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"enabled": "maybe"}, "enabled: 'maybe' is not accepted; accepted are true and false"),
        ({"enabled": [True]}, "enabled: [True] is not accepted; accepted are true and false"),
        ({"count": 1.5}, "count: 1.5 is not accepted; accepted is a whole number"),
        ({"count": True}, "count: True is not accepted; accepted is a whole number"),
        ({"count": None}, "count: is empty; leave it out for the default"),
        ({"name": "c"}, "name: 'c' is not accepted; accepted are a, b"),
        ({"name": ["a"]}, "name: ['a'] is not accepted; accepted is a text"),
        ({"names": "x"}, "names: 'x' is not a list; write one value as [x]"),
        ({"names": ["x", {}]}, "names[1]: {} is not accepted; accepted is a text"),
        ({"rules": [{"port": 1}, 2]}, "rules[1]: 2 is no dictionary; accepted is one with the keys days, port"),
        ({"rules": [{"days": []}]}, "rules[0].port: is missing"),
        ({"rules": [{"port": 1, "ports": 2}]}, "rules[0].ports: there is no such key; accepted are days, port"),
        ({"rules": [{"port": "x"}]}, "rules[0].port: 'x' is not accepted; accepted is a whole number"),
    ],
)
def test_the_path_the_value_and_what_is_accepted(values: dict[str, t.Any], problem: str) -> None:
    assert option_problems(values, SPECIFICATION) == [problem]
