# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an observation is, and how several become one; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

SHOWN_ITEMS = 10
SHOWN_CHARACTERS = 1000


class Verdict(str, Enum):
    """What is said about a control."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    WAIVED = "waived"
    NOT_APPLICABLE = "not_applicable"
    PENDING = "pending"
    UNKNOWN = "unknown"


# What decides when several things were looked at: the first of these that occurs.
DECIDING = (Verdict.FAIL, Verdict.UNKNOWN, Verdict.PENDING, Verdict.PASS, Verdict.NOT_APPLICABLE)


class Unreadable(Exception):
    """Something cannot be observed; the text says why, and becomes the reason of the verdict ``unknown``."""


@dataclass(frozen=True)
class Observation:
    """What a reader saw. ``source`` names the file or the program that answered."""

    verdict: Verdict
    expected: str
    observed: str
    reason: str = ""
    source: str = ""

    def to_dict(self) -> dict[str, str]:
        return {
            "verdict": self.verdict.value,
            "expected": self.expected,
            "observed": self.observed,
            "reason": self.reason,
            "source": self.source,
        }


@dataclass(frozen=True)
class Item:
    """One thing that a reader looked at, such as one key of many."""

    name: str
    verdict: Verdict
    expected: str
    observed: str
    reason: str = ""


def item(name: str, passed: bool, expected: str, observed: str) -> Item:
    """Return an item that passed or failed."""
    return Item(name, Verdict.PASS if passed else Verdict.FAIL, expected, observed)


def missing(name: str, reason: str) -> Item:
    """Return an item that this host cannot have."""
    return Item(name, Verdict.NOT_APPLICABLE, "", "", reason)


def deciding(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict over all; not applicable if there is none."""
    found = set(verdicts)
    return next((verdict for verdict in DECIDING if verdict in found), Verdict.NOT_APPLICABLE)


def observation(items: Sequence[Item], source: str, nothing: str = "there is nothing of that kind here") -> Observation:
    """Return one observation over all items, telling those that decide; without items it is not applicable."""
    if not items:
        return Observation(Verdict.NOT_APPLICABLE, "", "", nothing, source)
    verdict = deciding(entry.verdict for entry in items)
    told = [entry for entry in items if entry.verdict is verdict]
    if verdict is Verdict.PASS:
        # What this host cannot have is told beside what passed.
        reasons = [entry for entry in items if entry.reason]
    else:
        reasons = [entry for entry in told if entry.reason]
    return Observation(
        verdict,
        listing(dict.fromkeys(f"{entry.name} {entry.expected}".strip() for entry in told if entry.expected)),
        listing(dict.fromkeys(f"{entry.name} {entry.observed}".strip() for entry in told if entry.observed)),
        listing(dict.fromkeys(_reason(entry, verdict) for entry in reasons)),
        source,
    )


def combined(observations: Sequence[Observation]) -> Observation:
    """Return what several readers of one control say together: all must pass."""
    if len(observations) == 1:
        return observations[0]
    verdict = deciding(entry.verdict for entry in observations)
    told = [entry for entry in observations if entry.verdict is verdict]
    return Observation(
        verdict,
        listing(entry.expected for entry in told if entry.expected),
        listing(entry.observed for entry in told if entry.observed),
        listing(dict.fromkeys(entry.reason for entry in told if entry.reason)),
        listing(dict.fromkeys(entry.source for entry in told if entry.source)),
    )


def listing(texts: Iterable[str]) -> str:
    """Return the texts in one line of bounded length."""
    entries = list(texts)
    more = len(entries) - SHOWN_ITEMS
    line = "; ".join(entries[:SHOWN_ITEMS])
    if len(line) > SHOWN_CHARACTERS:
        line = f"{line[:SHOWN_CHARACTERS]}…"
    return f"{line}; and {more} more" if more > 0 else line


def _reason(entry: Item, verdict: Verdict) -> str:
    return f"{entry.name}: {entry.reason}" if entry.verdict is not verdict or entry.name else entry.reason
