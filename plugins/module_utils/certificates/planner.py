# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a certificate is due: what is wished against what is deployed; pure."""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..transaction.clock import iso
from .facts import Facts
from .model import ACME, FILES, Authority, Certificate, Listener, plain_name

RENEWAL_SHARE = 2 / 3
# Hosts that were set up together do not renew together.
JITTER_SHARE = 0.1


@dataclass(frozen=True)
class Served:
    """What a listener answered: the fingerprint of its certificate, or why there is none."""

    fingerprint: str = ""
    fault: str = ""
    absent: bool = False


@dataclass(frozen=True)
class Deployed:
    """What the store shows of one certificate.

    fault: why what is there cannot be used, empty if it can. issued_by: the URL of the ACME server that issued it.
    """

    version: int = 0
    facts: Facts | None = None
    fault: str = ""
    issued_by: str = ""
    access_faults: tuple[str, ...] = ()
    trust_differs: bool = False
    # The units that were shown to serve this very version with this very trust.
    proven_units: tuple[str, ...] = ()
    # The units that a run took out of use and did not put in again.
    units_out: tuple[str, ...] = ()

    def with_trust_as_it_is(self) -> Deployed:
        """Return the same, to be compared with the trust that is there and not with the one that is wished."""
        return replace(self, trust_differs=False)


def renewal(facts: Facts, host: str, name: str) -> datetime:
    """Return when a certificate is renewed: at two thirds of its life, earlier by a part that host and name decide."""
    digest = hashlib.sha256(f"{host}\0{name}".encode()).digest()
    jitter = int.from_bytes(digest[:8], "big") / 2**64 * JITTER_SHARE
    return facts.not_before + (RENEWAL_SHARE - jitter) * facts.life


def issue_reasons(wished: Certificate, authority: Authority, deployed: Deployed, now: datetime, host: str) -> list[str]:
    """Return one clause for each reason to issue a new certificate; none if the deployed one will do."""
    facts = deployed.facts
    if facts is None or deployed.fault:
        return [deployed.fault or "no certificate is deployed"]
    if authority.kind == FILES:
        same = facts.fingerprint == authority.brought(wished.name)
        return [] if same else ["the certificate that was brought is another one"]
    reasons = []
    wished_names = {plain_name(name) for name in wished.names}
    names = {plain_name(name) for name in facts.names}
    if wished_names - names:
        reasons.append(f"it lacks the name {', '.join(sorted(wished_names - names))}")
    if names - wished_names:
        reasons.append(f"it has the name {', '.join(sorted(names - wished_names))} without need")
    # An ACME server decides itself what else a certificate is good for, and how long.
    chosen = authority.kind != ACME
    if set(wished.usages) - set(facts.usages) or (chosen and set(facts.usages) - set(wished.usages)):
        reasons.append(f"it is for {_listed(facts.usages)} and should be for {_listed(wished.usages)}")
    if wished.key_type != facts.key_type:
        reasons.append(f"its key is {facts.key_type} and should be {wished.key_type}")
    if authority.key_identifier and authority.key_identifier != facts.authority_key_identifier:
        reasons.append(f"another CA than that of {authority.name} signed it")
    if authority.directory and authority.directory.url != deployed.issued_by:
        reasons.append(f"it was not issued by {authority.directory.url}")
    if chosen and facts.life > timedelta(days=wished.life_days):
        reasons.append(f"it lives longer than {wished.life_days} days")
    if now < facts.not_before:
        reasons.append(f"it is not valid before {iso(facts.not_before)}")
    elif now >= facts.not_after:
        reasons.append(f"it expired at {iso(facts.not_after)}")
    elif now >= renewal(facts, host, wished.name):
        reasons.append(f"two thirds of its life are over; it expires at {iso(facts.not_after)}")
    return reasons


def deploy_reasons(wished: Certificate, deployed: Deployed, served: t.Mapping[Listener, Served]) -> list[str]:
    """Return one clause for each difference that needs no new certificate."""
    if deployed.facts is None:
        return []
    reasons = list(deployed.access_faults)
    if deployed.trust_differs:
        reasons.append("the certificates that its consumers trust are others")
    unproven = [service.unit for service in wished.services if service.unit not in deployed.proven_units]
    if unproven:
        reasons.append(f"{', '.join(unproven)} was not shown to use it")
    reasons += [f"{unit} was taken out of use for a restart and not put in again" for unit in deployed.units_out]
    for listener, answer in served.items():
        if not answer.absent and answer.fingerprint != deployed.facts.fingerprint:
            reasons.append(f"{listener} {answer.fault or 'serves another one'}")
    return reasons


def units_behind(wished: Certificate, deployed: Deployed, served: t.Mapping[Listener, Served]) -> set[str]:
    """Return the units that do not use what is deployed, or were not shown to."""
    if deployed.facts is None:
        return set()
    return {
        service.unit
        for service in wished.services
        if deployed.trust_differs
        or service.unit not in deployed.proven_units
        or service.unit in deployed.units_out
        or any(
            not served[listener].absent and served[listener].fingerprint != deployed.facts.fingerprint
            for listener in service.listeners
            if listener in served
        )
    }


def _listed(usages: t.Iterable[str]) -> str:
    return " and ".join(sorted(usages)) or "nothing"
