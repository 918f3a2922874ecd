# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Candidates that must not be swapped in."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import judge
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import FILES, Authority

from .test_planner import AUTHORITY, FACTS, NOW, WISHED

CA = replace(FACTS, subject="CN=CA", is_authority=True, may_sign=True, not_after=NOW + timedelta(days=900))


def faults(authority: Authority = AUTHORITY, **facts: Any) -> list[str]:
    return judge.faults(WISHED, authority, [replace(FACTS, **facts), CA], "p", NOW)


def test_a_good_candidate_is_tried() -> None:
    assert faults() == []
    assert faults(names=("*.example.org", "more.example.org"), usages=("server", "client")) == []


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"public_key": "q"}, "the private key belongs to another certificate"),
        ({"names": ("example.org",)}, "it does not stand for www.example.org, only for example.org"),
        ({"names": ()}, "only for no name"),
        ({"usages": ("client",)}, "not allowed for use as server"),
        ({"is_authority": True}, "the certificate of a CA"),
        ({"not_before": NOW + timedelta(seconds=1)}, "not valid before 2026-11-27T12:00:01Z, and it is"),
        ({"not_after": NOW}, "it expired at 2026-11-27T12:00:00Z"),
        ({"not_after": NOW + timedelta(days=90)}, "91 days; accepted are at most 90"),
    ],
)
def test_a_wrong_candidate_is_refused(values: dict[str, Any], word: str) -> None:
    (fault,) = faults(**values)
    assert word in fault


def test_a_brought_certificate_may_live_longer_but_not_be_expired() -> None:
    brought = Authority("brought", FILES)
    assert faults(authority=brought, not_after=NOW + timedelta(days=300)) == []
    assert faults(authority=brought, not_after=NOW)


def test_an_expired_ca_above_it_is_refused() -> None:
    old = replace(CA, not_after=NOW)
    assert "CN=CA expired" in judge.faults(WISHED, AUTHORITY, [FACTS, old], "p", NOW)[0]


def test_nothing_is_no_certificate() -> None:
    assert judge.faults(WISHED, AUTHORITY, [], "p", NOW) == ["there is no certificate in it"]
