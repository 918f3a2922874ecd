# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a parsed certificate says; pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime, timedelta

from .model import covers


@dataclass(frozen=True)
class Facts:
    """One certificate. Fingerprints are SHA-256 in lower-case hexadecimal; names are DNS names and addresses."""

    fingerprint: str
    serial: str
    subject: str
    issuer: str
    names: tuple[str, ...]
    usages: tuple[str, ...]
    is_authority: bool
    may_sign: bool
    key_type: str
    public_key: str
    key_identifier: str
    authority_key_identifier: str
    not_before: datetime
    not_after: datetime

    @property
    def life(self) -> timedelta:
        return self.not_after - self.not_before

    @property
    def self_issued(self) -> bool:
        return self.subject == self.issuer

    def covers(self, name: str) -> bool:
        return covers(self.names, name)

    def missing(self, names: t.Iterable[str]) -> list[str]:
        return [name for name in names if not self.covers(name)]


@dataclass(frozen=True)
class RequestFacts:
    """A certificate signing request."""

    names: tuple[str, ...]
    key_type: str
    public_key: str
