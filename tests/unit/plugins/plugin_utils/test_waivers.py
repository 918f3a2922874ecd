# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad waivers are refused with the path to the value, before any host is touched."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.filter.waiver_problems import waiver_problems
from ansible_collections.bulwark.hardening.plugins.plugin_utils import catalogue
from ansible_collections.bulwark.hardening.plugins.plugin_utils.waivers import problems

KNOWN = {"OS-14", "OS-16", "OS-01", "OS-01.opt"}
TODAY = datetime.date(2026, 11, 26)
GOOD = {"control": "OS-14", "owner": "network team", "reason": "asymmetric routes", "expires": "2027-06-30"}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != key}


@pytest.mark.parametrize(
    "entry",
    [
        GOOD,
        {**GOOD, "expires": "2026-11-26"},
        {**GOOD, "expires": datetime.date(2027, 6, 30)},
        {**GOOD, "control": " OS-14 "},
    ],
)
def test_a_waiver_that_holds(entry: dict[str, Any]) -> None:
    assert problems({"controls_waivers": [entry]}, KNOWN, TODAY) == []


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([{**GOOD, "control": "OS-99"}], "w[0].control: there is no control 'OS-99'; ids look like OS-14"),
        ([{**GOOD, "control": "OS-01.x"}], "w[0].control: there is no control 'OS-01.x'; known are OS-01, OS-01.opt"),
        ([{**GOOD, "control": "os-14"}], "w[0].control: there is no control 'os-14'; known are OS-14"),
        ([without("control")], "w[0].control: is missing"),
        ([without("owner")], "w[0].owner: is missing"),
        ([{**GOOD, "owner": "  "}], "w[0].owner: is missing"),
        ([without("reason")], "w[0].reason: is missing"),
        ([{**GOOD, "reason": None}], "w[0].reason: is missing"),
        ([without("expires")], "w[0].expires: is missing"),
        ([{**GOOD, "expires": "2026-11-25"}], "w[0].expires: the waiver expired on 2026-11-25"),
        ([{**GOOD, "expires": datetime.date(2020, 1, 1)}], "w[0].expires: the waiver expired on 2020-01-01"),
        ([{**GOOD, "expires": "30.06.2027"}], "w[0].expires: '30.06.2027' is no date; accepted is YYYY-MM-DD"),
        ([{**GOOD, "expires": "2027-02-30"}], "w[0].expires: '2027-02-30' is no date"),
        ([{**GOOD, "expires": "20270630"}], "w[0].expires: '20270630' is no date"),
        ([{**GOOD, "expires": "never"}], "w[0].expires: 'never' is no date"),
        ([{**GOOD, "expire": "2027-01-01"}], "w[0].expire: a waiver has no such key; accepted are control, owner"),
        ([GOOD, {**GOOD, "reason": "other"}], "w[1].control: OS-14 is waived already by w[0]; keep one of the two"),
        (["OS-14"], "w[0]: a waiver is a dictionary of control, owner, reason, expires, not 'OS-14'"),
        ("OS-14", "w: takes a list of waivers, not 'OS-14'"),
        ({"control": "OS-14"}, "w: takes a list of waivers"),
    ],
)
def test_a_waiver_that_is_refused(entries: Any, told: str) -> None:
    found = problems({"w": entries}, KNOWN, TODAY)
    assert len(found) == 1
    assert found[0].startswith(told)


def test_of_one_control_there_is_one_waiver_in_all_lists() -> None:
    lists = {"controls_waivers": [GOOD], "controls_host_waivers": [{**GOOD, "control": "OS-16"}, GOOD]}
    assert problems(lists, KNOWN, TODAY) == [
        "controls_host_waivers[1].control: OS-14 is waived already by controls_waivers[0]; keep one of the two"
    ]


def test_all_problems_are_told_at_once() -> None:
    assert len(problems({"w": [{}, {**GOOD, "expires": "x", "control": "y"}]}, KNOWN, TODAY)) == 6


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_nothing_that_a_user_writes_ends_in_a_traceback(value: Any) -> None:
    found = problems({"w": [value]}, KNOWN, TODAY)
    assert found
    assert all(sentence.startswith("w[0]") for sentence in found)


def test_the_filter_knows_the_controls_of_all_roles() -> None:
    row = catalogue.load()[0].id
    entry = {**GOOD, "control": row}
    assert waiver_problems({"w": [entry]}, today="2026-11-26") == []
    assert waiver_problems({"w": [entry]}, today="2027-07-01") != []
    assert "there is no control 'OS-0'" in waiver_problems({"w": [{**entry, "control": "OS-0"}]}, today="2026-11-26")[0]
    assert waiver_problems({"w": [{**entry, "expires": "2020-01-01"}]}) != []
