# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a host tells, what it says, and that Prometheus understands it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import report
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.facts import Facts
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import FILES, PRIVATE_CA
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.observe import State
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.planner import (
    Deployed,
    Served,
    renewal,
)

from .exposition import parse
from .test_planner import AUTHORITY, DEPLOYED, FACTS, LISTENER, WISHED

BEGIN = FACTS.not_before
CA = replace(FACTS, fingerprint="ca", subject="CN=CA", is_authority=True, not_after=BEGIN + timedelta(days=1000))


def sight(days: float = 1, kind: str = PRIVATE_CA, served: Served | None = None, **values: Any) -> report.Sight:
    """Return what is seen so many days after a certificate of 30 days began; renewal is due after 17 to 20."""
    facts = values.pop("facts", FACTS)
    state = State(
        replace(WISHED, name=values.pop("name", "web")),
        replace(AUTHORITY, kind=kind),
        values.pop("deployed", replace(DEPLOYED, facts=facts)),
        other=values.pop("other", []),
    )
    state.served = {LISTENER: served or Served(facts.fingerprint)} if facts else {}
    seen: dict[str, Any] = {"authorities": {state.name: [CA]}, "trust_reasons": (), "host": "host", **values}
    return report.Sight(states=[state], now=BEGIN + timedelta(days=days), **seen)


@pytest.mark.parametrize("days", [1, 17, 20, 24.9])
def test_what_is_as_it_should_be_needs_nobody(days: float) -> None:
    assert report.findings(sight(days)) == []


def test_a_certificate_that_was_not_renewed_is_told_while_there_is_time() -> None:
    (finding,) = report.findings(sight(25.5))
    assert finding.startswith("web: it expires at 2026-12-26T12:00:00Z, in 4 days, and was not renewed; run the role")
    assert "in one day" in report.findings(sight(28.5))[0]
    assert "in less than a day" in report.findings(sight(29.5))[0]
    (finding,) = report.findings(sight(30))
    assert finding.startswith("web: it expired at 2026-12-26T12:00:00Z; run the role")
    (finding,) = report.findings(sight(-0.5))
    assert "not valid before" in finding
    assert "clock" in finding


def test_who_must_do_something_depends_on_who_issues() -> None:
    assert "bring a new certificate" in report.findings(sight(26, FILES))[0]
    assert "journalctl -u bulwark-certificates-renew.service" in report.findings(sight(26, "acme"))[0]


@pytest.mark.parametrize(
    ("life", "days", "expected"),
    [
        (30, None, 25),
        (10, None, 10 * 5 / 6),
        (90, None, 75),
        (365, None, 335),
        (30, 2, 28),
        (30, 20, 20),
        (365, 60, 305),
    ],
)
def test_the_alarm_comes_with_a_sixth_of_the_life_left(life: int, days: int | None, expected: float) -> None:
    facts = replace(FACTS, not_after=BEGIN + timedelta(days=life))
    moment = report.alarm_time(facts, days)
    assert abs(moment - (BEGIN + timedelta(days=expected))) < timedelta(seconds=1)


@given(life=st.integers(1, 400), days=st.none() | st.integers(1, 90), host=st.text(max_size=5))
def test_no_alarm_comes_before_a_renewal_is_due_or_after_the_end(life: int, days: int | None, host: str) -> None:
    facts = replace(FACTS, not_after=BEGIN + timedelta(days=life))
    assert renewal(facts, host, "web") <= report.alarm_time(facts, days) <= facts.not_after


def test_what_the_host_can_mend_is_told_with_the_way_to_it() -> None:
    (finding,) = report.findings(sight(other=["127.0.0.1:443 (www.example.org) serves another one"]))
    assert finding.startswith("web: 127.0.0.1:443 (www.example.org) serves another one; systemctl start bulwark-")
    (finding,) = report.findings(sight(trust_reasons=["the system does not trust CN=root"]))
    assert "systemctl start bulwark-certificates-renew.service" in finding


def test_what_is_not_there_or_is_another_one_is_told() -> None:
    assert "web: no certificate is deployed; run the role" in report.findings(sight(deployed=Deployed()))[0]
    broken = replace(DEPLOYED, fault="its key does not belong to it")
    assert "its key does not belong to it" in report.findings(sight(deployed=broken))[0]
    (finding,) = report.findings(sight(facts=replace(FACTS, names=("mail.example.org", "www.example.org"))))
    assert "it has the name mail.example.org without need" in finding


def test_the_end_of_a_ca_is_told_two_lives_before_it() -> None:
    soon = replace(CA, not_after=BEGIN + timedelta(days=65))
    assert report.findings(sight(4, authorities={"web": [soon]})) == []
    (finding,) = report.findings(sight(6, authorities={"web": [soon]}))
    assert "the CA CN=CA ends at 2027-01-30T12:00:00Z, in 59 days; let the next CA sign" in finding
    assert report.findings(sight(6, "acme", authorities={"web": [soon]})) == []


def test_people_read_all_of_it() -> None:
    text = report.describe(sight())
    for word in (
        "web: version 1 of internal for www.example.org expires at 2026-12-26T12:00:00Z, in 29 days",
        "renewal from 2026-12-1", "alarm from 2026-12-21T12:00:00Z", "fingerprint f0",
        "127.0.0.1:443 (www.example.org) of nginx.service serves it", "signed by CN=CA",
    ):  # fmt: skip
        assert word in text
    assert "serves another one, f1" in report.describe(sight(served=Served("f1")))
    assert "is closed" in report.describe(sight(served=Served(fault="is closed", absent=True)))
    assert report.describe(replace(sight(), states=[])) == "this host has no certificates\n"


def moment(found: dict[Any, float]) -> datetime:
    (value,) = found.values()
    return datetime.fromtimestamp(value, BEGIN.tzinfo)


def test_prometheus_reads_all_of_it() -> None:
    now = sight()
    found = parse(report.metrics(now, ["one thing"]))
    labels = (("name", "web"), ("issuer", "internal"))
    assert list(found["bulwark_certificate_not_after_timestamp_seconds"]) == [labels]
    assert moment(found["bulwark_certificate_not_after_timestamp_seconds"]) == FACTS.not_after
    assert moment(found["bulwark_certificate_not_before_timestamp_seconds"]) == FACTS.not_before
    assert moment(found["bulwark_certificate_alarm_timestamp_seconds"]) == BEGIN + timedelta(days=25)
    due = renewal(FACTS, "host", "web")
    assert abs(moment(found["bulwark_certificate_renewal_timestamp_seconds"]) - due) < timedelta(seconds=1)
    (served,) = found["bulwark_certificate_served"].items()
    assert dict(served[0]) == {
        "name": "web", "unit": "nginx.service", "address": "127.0.0.1", "port": "443",
        "server_name": "www.example.org", "protocol": "tls",
    }  # fmt: skip
    assert served[1] == 1
    assert found["bulwark_certificates_findings"] == {(): 1}
    assert moment(found["bulwark_certificates_report_timestamp_seconds"]) == now.now
    for name in found:
        assert name.endswith(("_seconds", "_served", "_findings"))


def test_metrics_tell_what_is_served_only_of_who_answers() -> None:
    other = parse(report.metrics(sight(served=Served("f1")), []))
    assert list(other["bulwark_certificate_served"].values()) == [0]
    closed = parse(report.metrics(sight(served=Served(fault="is closed", absent=True)), []))
    assert "bulwark_certificate_served" not in closed
    assert set(parse(report.metrics(sight(deployed=Deployed()), ["x"]))) >= {"bulwark_certificates_findings"}


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Zl", "Zp", "Cc"]), max_size=20), st.sampled_from('"\\\n')
)
def test_no_name_breaks_the_format(text: str, sign: str) -> None:
    subject = f"CN={text}{sign}"
    odd: Facts = replace(CA, subject=subject)
    found = parse(report.metrics(sight(authorities={"web": [odd]}), []))
    (labels,) = found["bulwark_certificate_authority_not_after_timestamp_seconds"]
    assert dict(labels)["subject"] == subject
