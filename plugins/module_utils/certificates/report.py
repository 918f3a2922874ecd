# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host tells of its certificates: to people, as metrics, and as an alarm; pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..transaction.clock import iso
from .facts import Facts
from .model import FILES, PRIVATE_CA, Listener
from .observe import State
from .planner import RENEWAL_SHARE, Served, issue_reasons, renewal
from .timers import RENEW, service_name

# Half of what is left when a renewal is due: time for some more runs before the alarm, and for people after it.
ALARM_SHARE = 1 / 6
ALARM_DAYS_AT_MOST = 30
# A CA gives no certificate a longer life than its own, so its last weeks make all of them shorter.
CA_LIVES = 2
REMEDIES = {
    PRIVATE_CA: "run the role tls from the controller, and see why it did not run or what it said",
    FILES: "bring a new certificate, and run the role tls from the controller",
}
REMEDY = f"see what journalctl -u {service_name(RENEW)} says"
MEND = f"systemctl start {service_name(RENEW)} puts it right, or says why it cannot"
METRIC = "bulwark_certificate"


@dataclass(frozen=True)
class Sight:
    """All that a host sees of its certificates at one moment. authorities: by certificate, the CAs it depends on."""

    states: t.Sequence[State]
    authorities: t.Mapping[str, t.Sequence[Facts]]
    trust_reasons: t.Sequence[str]
    now: datetime
    host: str
    alarm_days: int | None = None


def alarm_time(facts: Facts, days: int | None) -> datetime:
    """Return from when on a certificate that was not renewed needs a person; never before its renewal is due."""
    before = timedelta(days=days) if days is not None else _usual(facts)
    return max(facts.not_before + RENEWAL_SHARE * facts.life, facts.not_after - before)


def _usual(facts: Facts) -> timedelta:
    return min(ALARM_SHARE * facts.life, timedelta(days=ALARM_DAYS_AT_MOST))


def findings(sight: Sight) -> list[str]:
    """Return one sentence for each thing that needs a person; each says what to do."""
    found = []
    for state in sight.states:
        found += [f"{state.name}: {text}" for text in certificate_findings(state, sight)]
    return found + [f"{reason}; {MEND}" for reason in sight.trust_reasons]


def certificate_findings(state: State, sight: Sight) -> list[str]:
    facts, now = state.deployed.facts, sight.now
    remedy = REMEDIES.get(state.authority.kind, REMEDY)
    if facts is None or state.deployed.fault:
        return [f"{state.deployed.fault or 'no certificate is deployed'}; {remedy}"]
    found = []
    if now < facts.not_before:
        found.append(f"it is not valid before {iso(facts.not_before)}; see that the clock of this host is right")
    elif now >= facts.not_after:
        found.append(f"it expired at {iso(facts.not_after)}; {remedy}")
    elif now >= alarm_time(facts, sight.alarm_days):
        found.append(f"it expires at {iso(facts.not_after)}, {left(facts, now)}, and was not renewed; {remedy}")
    # All the other reasons are there at the beginning of its life too.
    wrong = issue_reasons(state.wished, state.authority, state.deployed, facts.not_before, sight.host)
    found += [f"{reason}; {remedy}" for reason in wrong]
    found += [f"{reason}; {MEND}" for reason in state.other]
    if state.authority.kind == PRIVATE_CA:
        found += [
            f"the CA {ca.subject} ends at {iso(ca.not_after)}, {left(ca, now)}; let the next CA sign"
            for ca in sight.authorities.get(state.name, ())
            if now >= ca.not_after - CA_LIVES * timedelta(days=state.wished.life_days)
        ]
    return found


def left(facts: Facts, now: datetime) -> str:
    days = (facts.not_after - now) // timedelta(days=1)
    if days < 0:
        return "which is over"
    return "in one day" if days == 1 else f"in {days} days" if days else "in less than a day"


def describe(sight: Sight) -> str:
    """Return the report for people."""
    lines = []
    for state in sight.states:
        facts = state.deployed.facts
        if facts is None:
            lines.append(f"{state.name}: nothing is deployed")
            continue
        due = iso(renewal(facts, sight.host, state.name))
        lines.append(
            f"{state.name}: version {state.deployed.version} of {state.wished.issuer} for {', '.join(facts.names)} "
            f"expires at {iso(facts.not_after)}, {left(facts, sight.now)}"
        )
        lines.append(f"  fingerprint {facts.fingerprint}")
        if state.authority.kind != FILES:
            lines.append(f"  renewal from {due}")
        lines.append(f"  alarm from {iso(alarm_time(facts, sight.alarm_days))}")
        for service in state.wished.services:
            for listener in service.listeners:
                lines.append(f"  {listener} of {service.unit} {seen(state, listener, facts)}")
        trusted = sight.authorities.get(state.name, ())
        lines += [f"  signed by {ca.subject}, which ends at {iso(ca.not_after)}" for ca in trusted]
    return "".join(f"{line}\n" for line in lines) or "this host has no certificates\n"


def seen(state: State, listener: Listener, facts: Facts) -> str:
    answer = state.served.get(listener)
    if answer is None:
        return "is not asked, because the unit does not run"
    if answer.fault:
        return answer.fault
    return "serves it" if answer.fingerprint == facts.fingerprint else f"serves another one, {answer.fingerprint}"


# Metrics

Labels = t.Mapping[str, t.Union[str, int]]
Sample = tuple[Labels, float]


def metrics(sight: Sight, found: t.Sequence[str]) -> str:
    """Return what the node exporter's textfile collector reads."""
    known = [(state, state.deployed.facts) for state in sight.states if state.deployed.facts]
    every = [({"name": state.name, "issuer": state.wished.issuer}, facts) for state, facts in known]
    authorities = {ca.fingerprint: ca for _name, cas in sorted(sight.authorities.items()) for ca in cas}
    families: list[tuple[str, str, list[Sample]]] = [
        (
            f"{METRIC}_not_before_timestamp_seconds", "Time from which the deployed certificate is valid.",
            [(labels, facts.not_before.timestamp()) for labels, facts in every],
        ),
        (
            f"{METRIC}_not_after_timestamp_seconds", "Time at which the deployed certificate expires.",
            [(labels, facts.not_after.timestamp()) for labels, facts in every],
        ),
        (
            f"{METRIC}_renewal_timestamp_seconds", "Time at which the deployed certificate is due for renewal.",
            [
                (labels, renewal(facts, sight.host, state.name).timestamp())
                for (labels, facts), (state, _facts) in zip(every, known)
                if state.authority.kind != FILES
            ],
        ),
        (
            f"{METRIC}_alarm_timestamp_seconds",
            "Time from which the deployed certificate needs a person, if it is not renewed before.",
            [(labels, alarm_time(facts, sight.alarm_days).timestamp()) for labels, facts in every],
        ),
        (
            f"{METRIC}_served",
            "Whether a listener serves the deployed certificate; of listeners that answer.",
            [sample for state, facts in known for sample in served_samples(state, facts)],
        ),
        (
            f"{METRIC}_authority_not_after_timestamp_seconds",
            "Time at which a CA that signed a deployed certificate expires.",
            [
                ({"subject": ca.subject, "fingerprint": ca.fingerprint}, ca.not_after.timestamp())
                for ca in authorities.values()
            ],
        ),
        (f"{METRIC}s_findings", "Things about certificates that need a person.", [({}, len(found))]),
        (
            f"{METRIC}s_report_timestamp_seconds", "Time of the last report on certificates.",
            [({}, sight.now.timestamp())],
        ),
    ]  # fmt: skip
    return "".join(family(*entry) for entry in families if entry[2])


def served_samples(state: State, facts: Facts) -> list[Sample]:
    return [
        (
            {
                "name": state.name, "unit": service.unit, "address": listener.address, "port": listener.port,
                "server_name": listener.server_name, "protocol": listener.protocol,
            },
            float(answer.fingerprint == facts.fingerprint),
        )
        for service in state.wished.services
        for listener in dict.fromkeys(service.listeners)
        for answer in [state.served.get(listener, Served(absent=True))]
        if not answer.absent
    ]  # fmt: skip


def family(name: str, explanation: str, samples: t.Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {explanation}", f"# TYPE {name} gauge"]
    for labels, value in samples:
        inner = ",".join(f'{key}="{escape(str(text))}"' for key, text in labels.items())
        lines.append(f"{name}{{{inner}}} {value:.0f}" if inner else f"{name} {value:.0f}")
    return "".join(f"{line}\n" for line in lines)


def escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
