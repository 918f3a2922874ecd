# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observations, conditions and parameters: the pure part."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.controls import conditions
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import (
    DECIDING,
    Item,
    Observation,
    Verdict,
    combined,
    deciding,
    item,
    listing,
    missing,
    observation,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.parameters import Parameter, complete
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.registry import READERS, prepared

VERDICTS = st.sampled_from(DECIDING)


@pytest.mark.parametrize(
    ("condition", "observed", "expected"),
    [
        (1, "1", True),
        (1, "01", True),
        (1, "1\n", True),
        (1, "2", False),
        (1, None, False),
        (True, "yes", True),
        (True, "1", True),
        (True, "maybe", False),
        (False, "off", True),
        (False, None, False),
        ("4096  87380", "4096\t87380", True),
        ("2", "2", True),
        ({"at_least": 2}, "2", True),
        ({"at_least": 2}, "1", False),
        ({"at_least": 2}, "two", False),
        ({"at_least": 2}, None, False),
        ({"at_least": 1, "at_most": 365}, "99999", False),
        ({"at_least": 1, "at_most": 365}, "365", True),
        ({"at_most": 5}, "5.0", True),
        ({"one_of": ["a", 2]}, "2", True),
        ({"one_of": ["a", 2]}, "b", False),
        ({"contains": "nodev"}, "rw,nodev,noexec", True),
        ({"contains": ["nodev", "nosuid"]}, "rw,nodev,noexec", False),
        ({"contains": "nodev"}, None, False),
        ({"lacks": "nullok"}, "sha512 nullok", False),
        ({"lacks": "nullok"}, None, True),
        ({"not": "off"}, "auto", True),
        ({"not": "off"}, None, True),
        ({"not": "off"}, "off", False),
        ({"not": True}, "true", False),
        ({"matches": "[0-9]+G"}, "10G", True),
        ({"matches": "[0-9]+G"}, "x10G", False),
        ({"set": True}, "", True),
        ({"set": True}, None, False),
        ({"set": False}, None, True),
    ],
)
def test_a_condition_holds_or_not(condition: Any, observed: str | None, expected: bool) -> None:
    assert conditions.problems(condition) == []
    assert conditions.met(condition, observed) is expected
    assert conditions.describe(condition)


@pytest.mark.parametrize(
    "condition", [{}, {"atleast": 1}, {"at_least": "many"}, {"at_most": True}, {"one_of": "a"}, [1], None]
)
def test_what_is_no_condition_is_told(condition: Any) -> None:
    assert conditions.problems(condition) != []


def test_a_place_for_a_variable_is_accepted_where_a_number_is() -> None:
    assert conditions.problems({"at_most": "$baseline_faillock_attempts"}) == []
    values, problems = complete({"n": Parameter("number")}, {"n": "$baseline_x"})
    assert (values, problems) == ({"n": "$baseline_x"}, [])


@given(st.lists(VERDICTS))
def test_the_gravest_verdict_decides(verdicts: list[Verdict]) -> None:
    expected = min(verdicts, key=DECIDING.index, default=Verdict.NOT_APPLICABLE)
    assert deciding(verdicts) is expected
    assert observation([Item("x", verdict, "e", "o") for verdict in verdicts], "").verdict is expected
    if verdicts:
        assert combined([Observation(verdict, "e", "o") for verdict in verdicts]).verdict is expected


def test_a_failure_tells_what_failed_and_nothing_else() -> None:
    seen = observation([item("a", True, "1", "1"), item("b", False, "1", "0"), missing("c", "no such key")], "/proc")
    assert (seen.verdict, seen.expected, seen.observed) == (Verdict.FAIL, "b 1", "b 0")
    assert (seen.reason, seen.source) == ("", "/proc")


def test_a_pass_tells_what_the_host_cannot_have() -> None:
    seen = observation([item("a", True, "1", "1"), missing("c", "no such key")], "/proc")
    assert (seen.verdict, seen.observed, seen.reason) == (Verdict.PASS, "a 1", "c: no such key")


def test_nothing_to_look_at_is_not_applicable_and_says_why() -> None:
    assert observation([], "apt", "this host has no apt") == Observation(
        Verdict.NOT_APPLICABLE, "", "", "this host has no apt", "apt"
    )


@given(st.lists(st.text(max_size=300), max_size=60))
def test_a_listing_is_bounded(texts: list[str]) -> None:
    assert len(listing(texts)) < 1100


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        ("sysctl", "check: takes a dictionary of reader and parameters"),
        ({"reader": "sysctl"}, "check.parameters.keys: is required"),
        ({"reader": "nosuch"}, "check.reader: there is no reader 'nosuch'"),
        ({"reader": "sysctl", "parameters": {"key": {}}}, "check.parameters.key: there is no such parameter"),
        ({"reader": "sysctl", "parameters": {"keys": {"a": {"least": 1}}}}, "check.parameters.keys.a: 'least'"),
        (
            {"reader": "unit", "parameters": {"units": [{"active": True}]}},
            "check.parameters.units[0].name: is required",
        ),
        ({"reader": "unit", "parameters": {"units": {"name": "x"}}}, "check.parameters.units: takes a list"),
        (
            {"reader": "file_mode", "parameters": {"entries": [{"path": "/x", "mode": "rw"}]}},
            "check.parameters.entries[0].mode: takes an octal mode",
        ),
        (
            {"reader": "pam_stack", "parameters": {"services": ["sshd"], "stack": "login"}},
            "check.parameters.stack: 'login' is not accepted; accepted are auth",
        ),
        ({"reader": "sysctl", "parameters": {"keys": {"a": 1}}, "sysctls": 1}, "check.sysctls: there is no such key"),
        (
            {"reader": "systemd_show", "parameters": {"units": {"a": 1}}},
            "check.parameters.units.a: takes a dictionary of conditions",
        ),
        (
            {"reader": "listeners", "parameters": {"allowed": [{"port": 70000}]}},
            'check.parameters.allowed[0].port: takes a port, or "*"',
        ),
    ],
)
def test_a_check_that_is_wrong_is_told_with_its_path(check: Any, problem: str) -> None:
    assert any(found.startswith(problem) for found in prepared(check)[2]), prepared(check)[2]


@pytest.mark.parametrize("name", sorted(READERS))
def test_every_reader_says_what_it_does_and_takes(name: str) -> None:
    text = READERS[name].read.__doc__ or ""
    assert text.strip()
    assert [parameter for parameter in READERS[name].parameters if parameter not in text] == []


def test_the_list_of_readers_is_complete() -> None:
    from ansible_collections.bulwark.hardening.plugins.module_utils.controls import readers

    listed = {line.split()[0] for line in (readers.__doc__ or "").splitlines() if line[:1].isalpha()}
    assert [name for name in READERS if name not in listed] == []
