# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a candidate must not be swapped in; pure. What OpenSSL itself says of it comes from the rehearsal in probe.py."""

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta

from ..transaction.clock import iso
from .facts import Facts
from .model import FILES, LIFE_DAYS_AT_MOST, Authority, Certificate

MAKE_SURE = "see that the clocks of this host and of the CA are right"


def faults(
    wished: Certificate, authority: Authority, chain: t.Sequence[Facts], public_key: str, now: datetime
) -> list[str]:
    """Return one sentence for each reason to refuse a candidate; none if it may be tried.

    chain: the candidate, then the CAs that signed it. public_key: of the private key that goes with it.
    """
    if not chain:
        return ["there is no certificate in it"]
    leaf = chain[0]
    found = []
    if leaf.public_key != public_key:
        found.append("the private key belongs to another certificate; bring key and certificate that belong together")
    missing = leaf.missing(wished.names)
    if missing:
        found.append(f"it does not stand for {', '.join(missing)}, only for {', '.join(leaf.names) or 'no name'}")
    without = [usage for usage in wished.usages if usage not in leaf.usages]
    if without:
        found.append(f"it is not allowed for use as {' and '.join(without)}; its extended key usage must say so")
    if leaf.is_authority:
        found.append("it is the certificate of a CA; bring one that a CA issued for the service")
    if authority.kind != FILES and leaf.life > timedelta(days=LIFE_DAYS_AT_MOST):
        found.append(f"it lives {leaf.life.days} days; accepted are at most {LIFE_DAYS_AT_MOST}")
    found += [fault for entry in chain for fault in time_faults(entry, now, "it" if entry is leaf else entry.subject)]
    return found


def time_faults(facts: Facts, now: datetime, who: str) -> list[str]:
    """Return why a certificate is not valid at this moment."""
    if now < facts.not_before:
        return [f"{who} is not valid before {iso(facts.not_before)}, and it is {iso(now)} here; {MAKE_SURE}"]
    if now >= facts.not_after:
        return [f"{who} expired at {iso(facts.not_after)}, and it is {iso(now)} here; {MAKE_SURE}"]
    return []
