# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Key revocation lists: what goes into one, and whether the one on the host is still it. Pure.

A KRL holds the time of its making, so two of the same content differ. The specification it was made from is kept
beside it, with the digest of the file that came out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .keys import parse_public_key


@dataclass(frozen=True)
class Section:
    """Lines for one run of ssh-keygen -k; ca is empty for lines that concern plain keys."""

    ca: str
    lines: tuple[str, ...]


def sections(revoked: Sequence[Mapping[str, Any]]) -> tuple[Section, ...]:
    """Return the KRL specification (ssh-keygen(1), KEY REVOCATION LISTS), one section per CA, in a stable order."""
    by_ca: dict[str, set[str]] = {}
    for entry in revoked:
        ca = parse_public_key(entry["ca"]).text if entry.get("ca") else ""
        by_ca.setdefault(ca, set()).add(_line(entry))
    return tuple(Section(ca, tuple(sorted(by_ca[ca]))) for ca in sorted(by_ca))


def _line(entry: Mapping[str, Any]) -> str:
    if entry.get("public_key"):
        return f"key: {parse_public_key(entry['public_key']).text}"
    if entry.get("fingerprint"):
        return f"hash: {entry['fingerprint']}"
    if entry.get("serial") is not None:
        return f"serial: {int(entry['serial'])}"
    return f"id: {entry['key_id']}"


def record(wanted: Sequence[Section], digest: str) -> str:
    """Return the text that is kept beside a KRL whose SHA-256 is digest."""
    return (
        json.dumps(
            {"krl_sha256": digest, "sections": [{"ca": section.ca, "lines": section.lines} for section in wanted]},
            indent=2,
            sort_keys=True,
        )
        + "\n"
    )


def is_current(wanted: Sequence[Section], kept: str, digest: str) -> bool:
    """Return whether the KRL with this digest was made from the wanted specification."""
    return bool(digest) and kept == record(wanted, digest)


def revokes(revoked: Sequence[Mapping[str, Any]], key_text: str) -> bool:
    """Return whether a plain public key is revoked by itself (a certificate is revoked by serial or key id)."""
    key = parse_public_key(key_text)
    for entry in revoked:
        if entry.get("public_key") and parse_public_key(entry["public_key"]).blob == key.blob:
            return True
        if entry.get("fingerprint") == key.fingerprint:
            return True
    return False
