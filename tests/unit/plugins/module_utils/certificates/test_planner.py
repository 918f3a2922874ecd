# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a certificate is due, and when it is renewed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.facts import Facts
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import (
    ACME,
    FILES,
    PRIVATE_CA,
    Authority,
    Certificate,
    Directory,
    Listener,
    Service,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.planner import (
    JITTER_SHARE,
    RENEWAL_SHARE,
    Deployed,
    Served,
    deploy_reasons,
    issue_reasons,
    renewal,
)

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=timezone.utc)
LISTENER = Listener("127.0.0.1", 443, "www.example.org")
WISHED = Certificate(
    "web", "internal", ("www.example.org",), services=(Service("nginx.service", listeners=(LISTENER,)),)
)
AUTHORITY = Authority("internal", PRIVATE_CA, key_identifier="aa")
FACTS = Facts(
    fingerprint="f0", serial="1", subject="CN=www.example.org", issuer="CN=CA", names=("www.example.org",),
    usages=("server",), is_authority=False, may_sign=False, key_type="ecdsa_p256", public_key="p",
    key_identifier="bb", authority_key_identifier="aa", not_before=NOW - timedelta(days=1),
    not_after=NOW + timedelta(days=29),
)  # fmt: skip
DEPLOYED = Deployed(version=1, facts=FACTS, proven_units=("nginx.service",))


def reasons(wished: Certificate = WISHED, authority: Authority = AUTHORITY, **facts: Any) -> list[str]:
    return issue_reasons(wished, authority, replace(DEPLOYED, facts=replace(FACTS, **facts)), NOW, "host")


def test_what_is_as_wished_is_left() -> None:
    assert reasons() == []
    assert reasons(names=("WWW.example.org",)) == []


def test_nothing_deployed_and_nothing_usable_are_due() -> None:
    assert issue_reasons(WISHED, AUTHORITY, Deployed(), NOW, "host") == ["no certificate is deployed"]
    assert issue_reasons(WISHED, AUTHORITY, replace(DEPLOYED, fault="its key is gone"), NOW, "host") == [
        "its key is gone"
    ]


def test_an_acme_server_decides_how_long_and_for_what_else() -> None:
    authority = Authority("public", ACME, directory=Directory("https://acme.example.org/dir"))
    deployed = replace(DEPLOYED, issued_by="https://acme.example.org/dir")
    long = replace(FACTS, usages=("server", "client"), not_after=NOW + timedelta(days=89))
    assert issue_reasons(WISHED, authority, replace(deployed, facts=long), NOW, "host") == []
    for_clients = replace(WISHED, usages=("server", "client"))
    assert "should be for client and server" in issue_reasons(for_clients, authority, deployed, NOW, "host")[0]
    elsewhere = replace(deployed, issued_by="https://staging.example.org/dir")
    assert issue_reasons(WISHED, authority, elsewhere, NOW, "host") == [
        "it was not issued by https://acme.example.org/dir"
    ]


def test_a_life_of_seconds_is_renewed_at_two_thirds_too() -> None:
    short = replace(FACTS, not_before=NOW, not_after=NOW + timedelta(seconds=60))
    after = (renewal(short, "host", "web") - NOW).total_seconds()
    assert (RENEWAL_SHARE - JITTER_SHARE) * 60 <= after <= RENEWAL_SHARE * 60


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"names": ()}, "lacks the name www.example.org"),
        ({"names": ("www.example.org", "old.example.org")}, "has the name old.example.org without need"),
        ({"names": ("*.example.org",)}, "lacks the name www.example.org"),
        ({"usages": ("server", "client")}, "client and server and should be for server"),
        ({"key_type": "rsa_2048"}, "rsa_2048 and should be ecdsa_p256"),
        ({"authority_key_identifier": "cc"}, "another CA"),
        ({"not_before": NOW - timedelta(days=62), "not_after": NOW + timedelta(days=62)}, "longer than 30 days"),
        ({"not_before": NOW + timedelta(seconds=1)}, "is not valid before 2026-11-27T12:00:01Z"),
        ({"not_before": NOW - timedelta(days=30), "not_after": NOW}, "it expired at"),
        ({"not_before": NOW - timedelta(days=20), "not_after": NOW + timedelta(days=10)}, "two thirds"),
    ],
)
def test_each_difference_is_a_reason(facts: dict[str, Any], word: str) -> None:
    assert any(word in reason for reason in reasons(**facts)), reasons(**facts)


def test_what_the_user_brings_is_due_when_it_is_another_one_and_only_then() -> None:
    brought = Authority("brought", FILES, fingerprints=(("web", "f0"),))
    assert reasons(authority=brought, not_after=NOW + timedelta(days=1), key_type="rsa_2048") == []
    other = Authority("brought", FILES, fingerprints=(("web", "f1"),))
    assert "brought is another one" in reasons(authority=other)[0]


@given(host=st.text(), name=st.text(), days=st.integers(1, 90))
def test_renewal_is_near_two_thirds_and_never_later(host: str, name: str, days: int) -> None:
    facts = replace(FACTS, not_before=NOW, not_after=NOW + timedelta(days=days))
    share = (renewal(facts, host, name) - NOW) / facts.life
    assert RENEWAL_SHARE - JITTER_SHARE - 1e-9 <= share <= RENEWAL_SHARE + 1e-9
    assert renewal(facts, host, name) == renewal(facts, host, name)


def test_hosts_do_not_renew_together() -> None:
    moments = {renewal(FACTS, f"host{number}", "web") for number in range(100)}
    assert len(moments) == 100
    assert max(moments) - min(moments) > FACTS.life * JITTER_SHARE / 2


@given(seconds=st.integers(-40 * 86400, 40 * 86400))
def test_a_certificate_is_due_long_before_it_expires(seconds: int) -> None:
    now = NOW + timedelta(seconds=seconds)
    due = bool(issue_reasons(WISHED, AUTHORITY, DEPLOYED, now, "host"))
    assert due is not (FACTS.not_before <= now < renewal(FACTS, "host", "web"))


def test_a_listener_that_serves_another_certificate_is_a_difference() -> None:
    def found(served: Served, **deployed: Any) -> list[str]:
        return deploy_reasons(WISHED, replace(DEPLOYED, **deployed), {LISTENER: served})

    assert found(Served("f0")) == []
    assert found(Served(fault="is closed", absent=True)) == []
    assert found(Served("f1")) == ["127.0.0.1:443 (www.example.org) serves another one"]
    assert found(Served(fault="does not offer TLS")) == ["127.0.0.1:443 (www.example.org) does not offer TLS"]
    assert found(Served("f0"), proven_units=()) == ["nginx.service was not shown to use it"]
    assert found(Served("f0"), trust_differs=True) == ["the certificates that its consumers trust are others"]
    assert found(Served("f0"), access_faults=("its key is open",)) == ["its key is open"]
    assert found(Served("f0"), units_out=("nginx.service",)) == [
        "nginx.service was taken out of use for a restart and not put in again"
    ]
    assert found(Served("f1"), facts=None) == []
